package postgres

import "context"

// MigrateTo brings the schema to a version of the past.
func (db *DB) MigrateTo(ctx context.Context, version int64) error {
	p, closeFunc, err := db.provider()
	if err != nil {
		return err
	}
	defer closeFunc()
	_, err = p.UpTo(ctx, version)
	return err
}
