package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrReleased says that an account was handed back to Clouddriver's own polling.
var ErrReleased = errors.New("the account is released to Clouddriver's own polling")

// Release lets nobody attach an account from now on. Whoever has it keeps it until the fence is taken from them.
func (s *Store) Release(ctx context.Context, account string) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_release (account, since) VALUES (?, `+now+`) ON DUPLICATE KEY UPDATE since = since`, account); err != nil {
		return fmt.Errorf("release account %q: %w", account, err)
	}
	return nil
}

// Resume ends a release. It tells whether there was one.
func (s *Store) Resume(ctx context.Context, account string) (bool, error) {
	done, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_release WHERE account = ?`, account)
	if err != nil {
		return false, fmt.Errorf("resume account %q: %w", account, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// Released returns the accounts that are released, with the time in milliseconds since 1970.
func (s *Store) Released(ctx context.Context) (map[string]int64, error) {
	return s.moments(ctx, "released accounts", `SELECT account, since FROM fairlead_release`)
}
