-- +goose Up

-- A session that was begun on an older system's path lasts: its clients keep their
-- first refresh token, or a token without an end, so the refresh token is not
-- replaced when it is used, and any use moves the session's end on.
alter table sessions add column lasting boolean not null default false;
