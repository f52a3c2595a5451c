-- +goose Up

-- People. Ids are positive integers; elsewhere a user is the id's decimal text,
-- because with an outside identity provider it is any `sub`.
create table users (
  id            bigint generated always as identity primary key,
  username      text not null,
  email         text,
  password_hash text not null,
  created_at    timestamptz not null
);
create unique index users_username on users (lower(username));
create unique index users_email on users (lower(email)) where email is not null;

create table sessions (
  id         uuid primary key,
  user_id    text not null,
  user_agent text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at   timestamptz
);
create index sessions_live on sessions (user_id) where ended_at is null;
create index sessions_expiry on sessions (expires_at);

-- A refresh token is used once; a second use ends its session (its family).
create table refresh_tokens (
  hash       bytea primary key,
  session_id uuid not null references sessions on delete cascade,
  used_at    timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);

-- A ticket opens one stream: it is deleted as it is used.
create table stream_tickets (
  hash       bytea primary key,
  user_id    text not null,
  session_id uuid,
  token_ends timestamptz not null,
  expires_at timestamptz not null
);
create index stream_tickets_expiry on stream_tickets (expires_at);

create table api_keys (
  hash       bytea primary key,
  owner      text not null,
  created_at timestamptz not null,
  revoked_at timestamptz
);

-- The head of each inbox: the lock under which places are given.
create table inboxes (
  user_id   text primary key,
  last_id   bigint not null default 0,
  unread    integer not null default 0,
  unseen    integer not null default 0,
  seen_to   bigint not null default 0,
  version   bigint not null default 0,
  pruned_to bigint not null default 0
) with (fillfactor = 70);

create table notifications (
  user_id          text not null,
  id               bigint not null,
  event_id         text not null,
  kind             text not null,
  title            text not null,
  body             text not null,
  url              text not null,
  payload          text not null, -- JSON as it was sent, on one line; '' for none
  priority         smallint not null,
  unread           integer not null, -- the count after this one arrived
  created_at       timestamptz not null,
  read_at          timestamptz,
  archived_at      timestamptz,
  sender           text,
  idempotency_key  text,
  content_hash     bytea,
  origin_topic     uuid not null, -- the record it came from
  origin_partition integer not null,
  origin_offset    bigint not null,
  primary key (user_id, id)
);
create unique index notifications_key on notifications (user_id, sender, idempotency_key) where idempotency_key is not null;
create unique index notifications_origin on notifications (origin_topic, origin_partition, origin_offset, user_id);
create index notifications_age on notifications using brin (created_at);

-- Answers to sends with an Idempotency-Key: the same for 24 h.
create table idempotent_sends (
  sender       text not null,
  key          text not null,
  content_hash bytea not null,
  answer       text, -- null while the first send has not been acknowledged
  created_at   timestamptz not null,
  primary key (sender, key)
);
create index idempotent_sends_age on idempotent_sends (created_at);

create table alerts (
  id            bigint generated always as identity primary key,
  user_id       text not null,
  symbol        text not null,
  condition     text not null,
  source        text not null default '',
  target        numeric not null,
  email         text not null default '',
  note          text not null default '',
  repeat        text not null default 'once',
  cooldown_ms   bigint not null default 0,
  expires_at    timestamptz,
  state         text not null default 'created',
  revision      bigint not null default 1,
  firings       integer not null default 0,
  created_at    timestamptz not null,
  triggered_at  timestamptz,
  last_fired_at timestamptz, -- timestamp in Kafka of the tick that fired it last
  -- from here on it holds: see docs/alerts.md
  topic_id      uuid not null,
  partition     integer not null,
  place         bigint not null,
  taken         boolean not null default false,
  -- the transaction that last changed the row: the matcher reads what changed
  -- since a snapshot by it, so that a late commit is not missed
  changed       xid8 not null default pg_current_xact_id()
);
create index alerts_user on alerts (user_id, id);
create index alerts_changed on alerts (changed);
create index alerts_active on alerts (id) where state = 'created';
create index alerts_untaken on alerts (partition, place) where not taken and state = 'created';

create table firings (
  alert_id        bigint not null,
  firing          integer not null, -- 1, 2, 3 … within the alert
  revision        bigint not null,  -- of the alert: set again, it may fire on the same tick again
  user_id         text not null,
  symbol          text not null,
  price           numeric not null,
  tick_time       timestamptz not null,
  source          text not null,
  topic_id        uuid not null,
  partition       integer not null,
  place           bigint not null,
  notification_id bigint not null,
  created_at      timestamptz not null,
  primary key (alert_id, firing)
);
create unique index firings_tick on firings (alert_id, revision, topic_id, partition, place);

-- The last tick of each symbol and source before the matcher's committed offset.
create table prices (
  symbol      text not null,
  price       numeric not null,
  tick_time   timestamptz not null,
  source      text not null,
  tick_id     text not null,
  topic_id    uuid not null,
  partition   integer not null,
  place       bigint not null,
  recorded_at timestamptz not null,
  primary key (symbol, source)
) with (fillfactor = 50);

-- What this installation must remember about itself.
create table installation (
  name  text primary key,
  value text not null
);
