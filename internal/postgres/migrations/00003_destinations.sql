-- +goose Up

-- Who data is pushed in for, and who owns the destinations that it goes to.
create table accounts (
  id          bigint generated always as identity primary key,
  owner       text, -- the user who made it signed in; null: who has the token
  name        text not null,
  email       text not null,
  website     text not null,
  secret_hash bytea not null, -- SHA-256 of a random token
  created_at  timestamptz not null
);
create unique index accounts_email on accounts (lower(email));
create index accounts_owner on accounts (owner, id) where owner is not null;

create table destinations (
  id              bigint generated always as identity primary key,
  account_id      bigint not null references accounts on delete cascade,
  url             text not null,
  http_method     text not null,
  headers         text not null, -- JSON object
  ordered         boolean not null,
  rate            double precision not null, -- deliveries a second at most; 0: as fast as it answers
  secret          bytea not null, -- what its deliveries are signed with
  old_secret      bytea, -- and this one, until its end
  old_secret_ends timestamptz,
  enabled         boolean not null default true,
  disabled_reason text not null default '', -- owner, gone, failing
  untold          boolean not null default false, -- its owner must yet be told of that
  failing_since   timestamptz, -- nothing but failures since; null: the last attempt went well
  created_at      timestamptz not null,
  -- Its work: when something is due, until when it wants to be left alone, and
  -- which process is at it. By the database's clock.
  due_at          timestamptz,
  hold_until      timestamptz,
  leased_by       text,
  leased_until    timestamptz
) with (fillfactor = 70);
create index destinations_account on destinations (account_id, id);
create index destinations_due on destinations (due_at) where enabled and due_at is not null;
create index destinations_untold on destinations (id) where untold;

-- What was pushed in: each item once, however many destinations it goes to.
create table incoming_items (
  id               bigint generated always as identity primary key, -- in the order of the partition
  account_id       bigint not null,
  event_id         text not null,
  data             text not null, -- JSON as it was sent
  idempotency_key  text,
  content_hash     bytea,
  origin_topic     uuid, -- the record it came from; null: made here, to try a destination
  origin_partition integer,
  origin_offset    bigint,
  created_at       timestamptz not null
);
create unique index incoming_items_origin on incoming_items (origin_topic, origin_partition, origin_offset) where origin_topic is not null;
create index incoming_items_event on incoming_items (event_id);
create unique index incoming_items_key on incoming_items (account_id, idempotency_key) where idempotency_key is not null;

-- What is yet to be delivered (due_at), or was given up (failed_at). What was
-- delivered has no row here, only its attempts.
create table pushes (
  destination_id bigint not null,
  item_id        bigint not null,
  attempts       integer not null default 0, -- since it was queued, or replayed
  test           boolean not null default false, -- tried once, and out of turn
  due_at         timestamptz,
  failed_at      timestamptz,
  primary key (destination_id, item_id)
);
create index pushes_due on pushes (destination_id, due_at, item_id) where due_at is not null;
create index pushes_failed on pushes (destination_id, failed_at) where failed_at is not null;

-- Every attempt, as long as CRIER_WEBHOOK_RETENTION.
create table push_attempts (
  id             bigint generated always as identity primary key,
  destination_id bigint not null,
  item_id        bigint not null,
  attempt        integer not null,
  request        text not null, -- method and URL
  status         integer not null, -- 0: there was no answer
  error          text not null, -- '' where it went well
  answer         text not null, -- its first KB
  began_at       timestamptz not null,
  took_ms        integer not null
);
create index push_attempts_destination on push_attempts (destination_id, id);

-- Destinations that are gone and whose rows above are yet to be removed.
create table removed_destinations (
  id bigint primary key
);
