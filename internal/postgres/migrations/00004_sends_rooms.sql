-- +goose Up

-- What was collapsed, expired or deleted stays as a tombstone for as long as
-- the inbox keeps anything: a record that is read again must find that it was
-- stored before. Readers pass over it.
alter table notifications
  add column gone_at      timestamptz,
  add column expires_at   timestamptz,
  add column collapse_key text,
  add column replaces     bigint, -- the id of the one that it collapsed
  add column author       text;   -- of a room's message: who said it
create index notifications_collapse on notifications (user_id, collapse_key)
  where collapse_key is not null and read_at is null and gone_at is null;
create index notifications_author on notifications (author) where author is not null;
create index notifications_expiry on notifications (expires_at)
  where expires_at is not null and gone_at is null;

-- What is to be delivered later, or to everyone page by page. A row stays after
-- it is done, so that its record, read again, is not delivered again.
create table pending_sends (
  sender       text not null,
  event_id     text not null,
  target       text not null, -- the user or topic, 'everyone', or '' for several users
  content_hash bytea not null,
  value        text not null,  -- the record as it came
  key          bytea,
  headers      text not null,  -- JSON, echoed in results
  origin_topic uuid not null,
  origin_partition integer not null,
  origin_offset    bigint not null,
  due_at       timestamptz not null,
  created_at   timestamptz not null,
  taken_until  timestamptz not null, -- by the process that works at it
  stored_at    timestamptz, -- the first inbox has it: too late to cancel
  reached      text not null default '', -- everyone: the last user who has it
  done_at      timestamptz,
  cancelled_at timestamptz,
  primary key (sender, event_id)
);
create index pending_sends_due on pending_sends (due_at) where done_at is null and cancelled_at is null;
create index pending_sends_age on pending_sends (created_at);

-- Chat rooms. A room's messages are notifications of owner `room:NAME`, placed
-- under the lock of that owner's row in inboxes.
create table rooms (
  name       text primary key,
  created_at timestamptz not null
);

-- A gateway holds its presence as long as its lease lives.
create table gateway_leases (
  gateway     uuid primary key,
  lease_until timestamptz not null
);

-- Who is in which room, by connection: a person is there while one of their
-- connections is.
create table room_members (
  room       text not null,
  connection uuid not null,
  gateway    uuid not null,
  user_id    text not null,
  username   text not null,
  place      bigint not null, -- of the room, when they joined
  primary key (room, connection)
);
create index room_members_user on room_members (room, user_id);
create index room_members_gateway on room_members (gateway);

-- One connection a person to the older chat protocol.
create table chatters (
  user_id    text primary key,
  connection uuid not null,
  gateway    uuid not null
);
create index chatters_gateway on chatters (gateway);

-- How far a person has read a room.
create table room_reads (
  user_id text not null,
  room    text not null,
  read_to bigint not null,
  primary key (user_id, room)
);

-- Requests for a new password. The link's token is signed from the id, so no
-- secret stands here.
create table password_resets (
  id         uuid primary key,
  user_id    text not null,
  address    text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  queued_at  timestamptz,
  used_at    timestamptz
);
create index password_resets_new on password_resets (created_at) where queued_at is null;
