-- +goose Up

-- Accounts of the data pusher that are gone and whose items are yet to be removed.
create table removed_accounts (
  id bigint primary key
);
