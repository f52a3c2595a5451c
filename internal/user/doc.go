// Package user keeps people and what lets them in: accounts, sessions with
// their rotating refresh tokens, stream tickets, and services' API keys.
//
// Secrets are stored only as hashes: passwords by argon2id, tokens and keys,
// which are random, by SHA-256. Postgres is authoritative; nothing is cached
// here.
package user
