-- +goose Up

-- Addresses that mail was asked for, in lower case, and the confirmation mails that
-- went to each since its owner last confirmed something.
create table mail_addresses (
  address   text primary key,
  mails     integer not null default 0,
  mailed_at timestamptz, -- the last of them
  wanted_at timestamptz  -- one is to be sent
);
create index mail_addresses_wanted on mail_addresses (wanted_at) where wanted_at is not null;

-- Whose mail an address' owner accepts: nothing is mailed before confirmed_at.
create table mail_consents (
  user_id      text not null,
  address      text not null, -- in lower case
  created_at   timestamptz not null,
  confirmed_at timestamptz,
  primary key (user_id, address)
);
create index mail_consents_address on mail_consents (address);
create index mail_consents_unconfirmed on mail_consents (created_at) where confirmed_at is null;

-- Mails of a day, by the user whose notifications they are and by recipient.
create table mail_counts (
  subject text primary key,
  day     date not null,
  mails   integer not null
);

-- Several accounts may claim an address; one can confirm it as its own.
alter table users add column email_confirmed boolean not null default false;
update users set email_confirmed = true where email is not null;
drop index users_email;
create index users_email on users (lower(email)) where email is not null;
create unique index users_email_confirmed on users (lower(email)) where email_confirmed;

-- What was stored before counts as confirmed, so that no mail stops with the upgrade.
insert into mail_consents (user_id, address, created_at, confirmed_at)
  select id::text, lower(email), created_at, now() from users where email is not null
  union
  select user_id, lower(email), min(created_at), now() from alerts where email <> '' and state <> 'deleted' group by user_id, lower(email)
  on conflict do nothing;
insert into mail_addresses (address) select distinct address from mail_consents;
