package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Secret returns a sealed secret; found is false when there is none.
func (s *Store) Secret(ctx context.Context, name string) (sealed []byte, found bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT sealed FROM fairlead_secret WHERE name = ?`, name).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read secret %s: %w", name, err)
	}
	return sealed, true, nil
}

// OfferSecret stores a sealed secret unless there is one already, and returns the one that is there: of several bridges
// that make it at the same time one wins, and all go on with its secret.
func (s *Store) OfferSecret(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_secret (name, sealed, created) VALUES (?, ?, `+now+`) ON DUPLICATE KEY UPDATE name = VALUES(name)`, name, sealed); err != nil {
		return nil, fmt.Errorf("store secret %s: %w", name, err)
	}
	kept, found, err := s.Secret(ctx, name)
	if err == nil && !found {
		err = fmt.Errorf("secret %s went away", name)
	}
	return kept, err
}
