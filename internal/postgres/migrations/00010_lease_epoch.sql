-- +goose Up

-- Counts the claims of a destination: late results of an earlier holder of its lease are
-- recognised by it.
alter table destinations add column lease_epoch bigint not null default 0;
