package postgres

import (
	"context"
	"fmt"
)

// Durability is how Postgres keeps what is committed, as this pool's sessions see
// it; a figure of speed says nothing without it.
type Durability struct {
	ServerVersion     string `json:"server_version"`
	SynchronousCommit string `json:"synchronous_commit"`
	Fsync             string `json:"fsync"`
	FullPageWrites    string `json:"full_page_writes"`
	WALSyncMethod     string `json:"wal_sync_method"`

	Backend int `json:"-"` // the process id of one of its sessions
}

// Durability asks for the settings.
func (db *DB) Durability(ctx context.Context) (Durability, error) {
	var d Durability
	err := db.QueryRow(ctx, `
		select current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync'),
			current_setting('full_page_writes'), current_setting('wal_sync_method'), pg_backend_pid()`).
		Scan(&d.ServerVersion, &d.SynchronousCommit, &d.Fsync, &d.FullPageWrites, &d.WALSyncMethod, &d.Backend)
	if err != nil {
		return d, fmt.Errorf("asking Postgres how it keeps what is committed: %w", err)
	}
	return d, nil
}
