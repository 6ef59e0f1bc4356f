package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
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

// Secrets returns all that is sealed by name: the secrets, and the kubeconfigs of dynamic accounts, whose names begin with SecretPrefix.
func (s *Store) Secrets(ctx context.Context) (map[string][]byte, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, sealed FROM fairlead_secret UNION ALL SELECT CONCAT('`+SecretPrefix+`', name), sealed FROM fairlead_dynamic WHERE sealed <> ''`)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	defer rows.Close()
	all := map[string][]byte{}
	for rows.Next() {
		var name string
		var sealed []byte
		if err := rows.Scan(&name, &sealed); err != nil {
			return nil, err
		}
		all[name] = sealed
	}
	return all, rows.Err()
}

// ReplaceSecret stores a secret that was sealed anew, unless it has changed meanwhile.
func (s *Store) ReplaceSecret(ctx context.Context, name string, before, sealed []byte) (done bool, err error) {
	statement := `UPDATE fairlead_secret SET sealed = ? WHERE name = ? AND sealed = ?`
	key, isKubeconfig := strings.CutPrefix(name, SecretPrefix)
	if isKubeconfig {
		statement = `UPDATE fairlead_dynamic SET sealed = ? WHERE name = ? AND sealed = ?`
	}
	result, err := s.db.ExecContext(ctx, statement, sealed, key, before)
	if err != nil {
		return false, fmt.Errorf("replace secret %s: %w", name, err)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// SetKeyIDs tells other bridges which keys this one's key file holds.
func (s *Store) SetKeyIDs(ctx context.Context, bridge, ids string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE fairlead_bridge SET key_ids = ? WHERE name = ? AND key_ids <> ?`, ids, bridge, ids)
	return err
}

// KeyIDs returns which keys the running bridges hold, by bridge; "": it has not said yet.
func (s *Store) KeyIDs(ctx context.Context) (map[string]string, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, key_ids FROM fairlead_bridge`)
	if err != nil {
		return nil, fmt.Errorf("list bridges' keys: %w", err)
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var name, ids string
		if err := rows.Scan(&name, &ids); err != nil {
			return nil, err
		}
		all[name] = ids
	}
	return all, rows.Err()
}
