package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrPaused says that somebody has an account's caching stand still.
var ErrPaused = errors.New("the account's caching is paused")

// Pause lets nobody attach an account until Unpause, and takes its fence from whoever has it: what is cached stays as it is.
func (s *Store) Pause(ctx context.Context, account string) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_pause (account, since) VALUES (?, `+now+`) ON DUPLICATE KEY UPDATE since = since`, account); err != nil {
		return fmt.Errorf("pause account %q: %w", account, err)
	}
	_, _, err := s.Attach(ctx, account, "", 0)
	return err
}

// Unpause ends a pause. It tells whether there was one.
func (s *Store) Unpause(ctx context.Context, account string) (bool, error) {
	done, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_pause WHERE account = ?`, account)
	if err != nil {
		return false, fmt.Errorf("resume account %q: %w", account, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// Paused returns the accounts that are paused, with the time in milliseconds since 1970.
func (s *Store) Paused(ctx context.Context) (map[string]int64, error) {
	return s.moments(ctx, "paused accounts", `SELECT account, since FROM fairlead_pause`)
}

// moments reads accounts with a time each.
func (s *Store) moments(ctx context.Context, what, query string) (map[string]int64, error) {
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	list := map[string]int64{}
	for rows.Next() {
		var account string
		var since int64
		if err := rows.Scan(&account, &since); err != nil {
			return nil, err
		}
		list[account] = since
	}
	return list, rows.Err()
}
