-- +goose Up

-- What a key may do, until when, and when it was last used. Keys of before have no
-- list of scopes: they may do everything.
alter table api_keys
  add column id           bigint generated always as identity, -- names one of an owner's keys
  add column scopes       text[],       -- null: all
  add column kinds        text[],       -- of what it sends, names and prefixes with *; null: any
  add column expires_at   timestamptz,
  add column replaced_at  timestamptz,  -- by a rotation; it is good until expires_at
  add column last_used_at timestamptz;  -- within minutes
create unique index api_keys_id on api_keys (id);
