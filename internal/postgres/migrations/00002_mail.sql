-- +goose Up

-- The fate of each notification on each way out besides the inbox.
create table deliveries (
  user_id         text not null,
  notification_id bigint not null,
  channel         text not null, -- email
  address         text not null,
  state           text not null, -- queued, sent, retrying, failed, suppressed
  attempts        integer not null default 0,
  error           text not null default '', -- of the last attempt
  created_at      timestamptz not null,
  updated_at      timestamptz not null,
  primary key (user_id, notification_id, channel, address)
);
create index deliveries_age on deliveries using brin (created_at);

-- Addresses whose owners want no more mail, in small letters.
create table unsubscribed (
  address text primary key,
  at      timestamptz not null
);
