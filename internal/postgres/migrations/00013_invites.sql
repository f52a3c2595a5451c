-- +goose Up

-- Invitations to sign up, where that needs one (CRIER_SIGNUP=invite).
create table invites (
  hash       bytea primary key, -- of the code
  uses_left  integer not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
