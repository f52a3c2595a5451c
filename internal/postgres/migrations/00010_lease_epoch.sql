-- +goose Up

-- Counts the claims of a destination: what one holder of its lease reports late is told
-- from what the present one does.
alter table destinations add column lease_epoch bigint not null default 0;
