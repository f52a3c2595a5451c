-- +goose Up
create index stream_tickets_user on stream_tickets (user_id, expires_at);
