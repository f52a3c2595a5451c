package postgres_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/user"
)

// Addresses that were stored before they had to be confirmed count as confirmed, so
// that an upgrade ends no mail.
func TestMigrateConfirmsAddresses(t *testing.T) {
	t.Parallel()
	db := open(t, criertest.Postgres(t))
	if err := db.MigrateTo(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`insert into users (username, email, password_hash, created_at) values ('ann', 'Ann@example.org', 'h', now()), ('bob', null, 'h', now())`,
		`insert into alerts (user_id, symbol, condition, target, email, state, created_at, topic_id, partition, place) values
			('1', 'GOLD', 'above', 1, 'ann@example.org', 'created', now(), gen_random_uuid(), 0, 0),
			('2', 'GOLD', 'above', 1, 'Team@example.org', 'triggered', now(), gen_random_uuid(), 0, 0),
			('2', 'GOLD', 'above', 1, 'team@example.org', 'paused', now(), gen_random_uuid(), 0, 0),
			('2', 'GOLD', 'above', 1, 'gone@example.org', 'deleted', now(), gen_random_uuid(), 0, 0),
			('2', 'GOLD', 'above', 1, '', 'created', now(), gen_random_uuid(), 0, 0)`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), `select user_id || ' ' || address || ' ' || (confirmed_at is not null) from mail_consents order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(got) != 2 || got[0] != "1 ann@example.org true" || got[1] != "2 team@example.org true" {
		t.Errorf("claims %q, %v", got, err)
	}
	var confirmed, wanted int
	err = db.QueryRow(t.Context(), `select (select count(*) from users where email_confirmed), (select count(*) from mail_addresses where wanted_at is not null)`).Scan(&confirmed, &wanted)
	if err != nil || confirmed != 1 || wanted != 0 {
		t.Errorf("%d accounts with a confirmed address, %d mails wanted, %v; want 1 and 0", confirmed, wanted, err)
	}
}

// Keys that were made before scopes may do everything as before, and so may one that a
// command of the version before makes after the migration.
func TestMigrateKeepsKeys(t *testing.T) {
	t.Parallel()
	db := open(t, criertest.Postgres(t))
	if err := db.MigrateTo(t.Context(), 14); err != nil {
		t.Fatal(err)
	}
	insert := func(secret, owner string, revoked *time.Time) {
		t.Helper()
		hash := sha256.Sum256([]byte(secret))
		if _, err := db.Exec(t.Context(), `insert into api_keys (hash, owner, created_at, revoked_at) values ($1, $2, now(), $3)`, hash[:], owner, revoked); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	insert("old", "shop", nil)
	insert("gone", "shop", &now)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert("late", "bank", nil)
	store := user.New(db)
	found, err := store.KeysOf(t.Context(), []string{"old", "gone", "late"})
	if err != nil || len(found) != 2 {
		t.Fatalf("found %+v, %v", found, err)
	}
	for secret, owner := range map[string]string{"old": "shop", "late": "bank"} {
		k := found[secret]
		if k.Owner != owner || !k.Grant.All || k.Grant.Kinds != nil || k.ExpiresAt != nil || k.LastUsedAt != nil || k.ID == 0 {
			t.Errorf("%s is %+v", secret, k)
		}
	}
	if _, made, old, err := store.RotateKey(t.Context(), "shop", user.Rotation{Overlap: time.Hour, Renew: true}, now); err != nil || !made.Grant.All || made.ExpiresAt != nil || old.ID != found["old"].ID {
		t.Errorf("rotated %+v to %+v, %v", old, made, err)
	}
}
