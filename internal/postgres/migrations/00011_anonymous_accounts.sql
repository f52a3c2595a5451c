-- +goose Up

-- An account of the data pusher that was made by nobody who is known: it gets no
-- destinations, unless a service adds them. Accounts of before stay as they are.
alter table accounts add column anonymous boolean not null default false;

create index destinations_leased on destinations (leased_by) where leased_by is not null;
