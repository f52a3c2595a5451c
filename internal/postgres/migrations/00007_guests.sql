-- +goose Up

-- A guest's account was made without a name, password or address of their own; it
-- can be given them once, without the password that nobody knows.
alter table users add column guest boolean not null default false;
