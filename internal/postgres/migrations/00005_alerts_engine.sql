-- +goose Up

-- What an alert may ask besides one price. target is the percentage of percent_up,
-- percent_down and trailing_stop, and the lower end of a band.
alter table alerts
  add column high          numeric,
  add column window_ms     bigint not null default 0,
  add column confirm_ms    bigint not null default 0,
  add column confirm_ticks integer not null default 0,
  add column hysteresis    numeric not null default 0,
  add column max_firings   integer not null default 0, -- 0: no limit
  add column message       text not null default '',
  add column snoozed_until timestamptz; -- by the timestamp of ticks in Kafka

-- What is known of a firing beside the tick that met it.
alter table firings
  add column before_price numeric,     -- the tick before it that counts for the alert
  add column before_time  timestamptz,
  add column before_place bigint,
  add column reference    numeric,     -- what change is measured from
  add column change       text not null default '',
  add column alert        jsonb;       -- as it was

-- A source's clock: times of ticks never run backwards, and ticks are counted.
alter table prices
  add column stream_ns bigint, -- nanoseconds since 1970; null: the tick's own time
  add column ticks     bigint not null default 0;

-- How far each partition of `ticks` is matched. Candles, prices and states are as
-- of it: all are written in one transaction, by its owner alone.
create table matcher_progress (
  partition integer primary key,
  topic_id  uuid not null,
  next      bigint not null,
  owner     uuid not null
);

-- Where alerts stand that the last tick and the candles do not tell.
create table matcher_states (
  alert_id  bigint not null, -- negative: a best price that trailing stops share
  symbol    text not null,
  source    text not null,
  partition integer not null,
  revision  bigint not null,
  armed     boolean not null,
  streak    boolean not null,
  since_ns  bigint not null,
  first     bigint not null,
  best      numeric not null,
  shared    bigint not null,
  primary key (alert_id, symbol, source)
);
create index matcher_states_partition on matcher_states (partition);

-- Candles of each source of a symbol, by the source's own time.
create table candles (
  symbol       text not null,
  source       text not null,
  seconds      integer not null, -- 1, 60 or 3600
  start        timestamptz not null,
  open         numeric not null,
  high         numeric not null,
  low          numeric not null,
  close        numeric not null,
  volume       numeric not null,
  ticks        bigint not null,
  topic_id     uuid not null,
  first_offset bigint not null,
  last_offset  bigint not null, -- a tick at or before it is in
  primary key (symbol, source, seconds, start)
);
