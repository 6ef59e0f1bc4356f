package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrHeld: the account was never attached before, and has to wait until Clouddriver's cleanup of unknown agents' rows has ended.
var ErrHeld = errors.New("a cleanup of unknown agents' rows runs in Clouddriver at this moment; a new account waits for its end")

// Hold keeps accounts that were never attached from being attached, at any bridge, for so long. An account that is attached afterwards, or whose
// attach is under way, has been declared before: whoever reads the accounts after Hold knows every account that may have rows.
func (s *Store) Hold(ctx context.Context, bridge string, d time.Duration) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_hold (bridge, held_until) VALUES (?, `+now+` + ?) ON DUPLICATE KEY UPDATE held_until = VALUES(held_until)`,
		bridge, d.Milliseconds())
	if err != nil {
		return fmt.Errorf("hold new accounts: %w", err)
	}
	return nil
}

// EndHold ends a bridge's Hold.
func (s *Store) EndHold(ctx context.Context, bridge string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_hold WHERE bridge = ?`, bridge); err != nil {
		return fmt.Errorf("let new accounts go: %w", err)
	}
	return nil
}

// refuseHeld keeps out an account that was never attached while somebody holds such. It reads what is committed now, not what the transaction
// saw first: a Hold that it misses was made after it, and finds the account.
func refuseHeld(ctx context.Context, tx *sql.Tx, epoch uint64) error {
	if epoch > 0 {
		return nil
	}
	var held int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM fairlead_hold WHERE held_until > `+now+` LOCK IN SHARE MODE`).Scan(&held); err != nil {
		return err
	}
	if held > 0 {
		return ErrHeld
	}
	return nil
}
