package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Stored is an account in Clouddriver's own table `accounts` (SqlAccountDefinitionRepository). Nothing of ours ever writes there.
type Stored struct {
	Name string
	// Body is the account as JSON, with its credentials.
	Body []byte
	// Modified is its last_modified_at, in milliseconds since 1970.
	Modified int64
}

// StoredAccounts lists at most limit Kubernetes accounts that Clouddriver has stored, those of names after one, in the order of names (primary key).
// Without that table there are none.
func (s *Store) StoredAccounts(ctx context.Context, after string, limit int) ([]Stored, error) {
	var list []Stored
	err := s.eachRow(ctx, `SELECT id, body, last_modified_at FROM accounts WHERE id > ? AND type = 'kubernetes' ORDER BY id LIMIT ?`, []any{after, limit}, func(rows *sql.Rows) error {
		var a Stored
		err := rows.Scan(&a.Name, &a.Body, &a.Modified)
		list = append(list, a)
		return err
	})
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("accounts that Clouddriver has stored: %w", err)
	}
	return list, nil
}

// StoredAccount returns one of them.
func (s *Store) StoredAccount(ctx context.Context, name string) (a Stored, found bool, err error) {
	// The collation of Clouddriver's table does not tell upper from lower case.
	err = s.db.QueryRowContext(ctx, `SELECT id, body, last_modified_at FROM accounts WHERE id = ? AND BINARY id = ? AND type = 'kubernetes'`, name, name).Scan(&a.Name, &a.Body, &a.Modified)
	if errors.Is(err, sql.ErrNoRows) || IsNoTable(err) {
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("account %q in Clouddriver's storage: %w", name, err)
	}
	return a, true, nil
}

// Pool tells how the connections to the database are used.
func (s *Store) Pool() map[string]any {
	p := s.db.Stats()
	return map[string]any{"name": "fairlead", "database": s.address, "maximumPoolSize": p.MaxOpenConnections, "totalConnections": p.OpenConnections, "activeConnections": p.InUse,
		"idleConnections": p.Idle, "waits": p.WaitCount, "waitedMs": p.WaitDuration.Milliseconds()}
}
