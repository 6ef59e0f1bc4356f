package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Fence is who may write for an account, as a writer knows it: the holder and its epoch. The epoch alone would do, but for a database
// that was restored to an older state: then an epoch may come up again for another process.
type Fence struct {
	Account string
	// Holder is the instance that attached; "" while nobody has the account.
	Holder string
	Epoch  uint64
}

// Attach raises an account's epoch, which keeps out everybody who wrote for it before, and returns the new one. It waits
// for writes under way.
//
// The new epoch is above resumeEpoch too, so that a database restored to an older state never gives an epoch twice.
// continues tells that instance attached last and that the database remembers it: what was committed for resumeEpoch is
// there. An empty instance holds nothing and never continues.
func (s *Store) Attach(ctx context.Context, account, instance string, resumeEpoch uint64) (epoch uint64, continues bool, err error) {
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		// Not INSERT IGNORE: that would share-lock a row that is there, and two attaches would deadlock.
		if _, err := tx.ExecContext(ctx, `INSERT INTO fairlead_fence (account, epoch, holder) VALUES (?, 0, '') ON DUPLICATE KEY UPDATE holder = holder`, account); err != nil {
			return err
		}
		var stored uint64
		var holder string
		if err := tx.QueryRowContext(ctx, `SELECT epoch, holder FROM fairlead_fence WHERE account = ? FOR UPDATE`, account).Scan(&stored, &holder); err != nil {
			return err
		}
		if err := refuseReleased(ctx, tx, account, instance); err != nil {
			return err
		}
		if err := refuseHeld(ctx, tx, max(stored, resumeEpoch)); err != nil {
			return err
		}
		continues = instance != "" && holder == instance && resumeEpoch > 0 && stored == resumeEpoch
		epoch = max(stored, resumeEpoch) + 1
		_, err := tx.ExecContext(ctx, `UPDATE fairlead_fence SET epoch = ?, holder = ? WHERE account = ?`, epoch, instance, account)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("attach account %q: %w", account, err)
	}
	return epoch, continues, nil
}

// refuseReleased keeps everybody out of an account that was released; who only takes the fence away holds nothing.
func refuseReleased(ctx context.Context, tx *sql.Tx, account, instance string) error {
	if instance == "" {
		return nil
	}
	var released int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM fairlead_release WHERE account = ?`, account).Scan(&released); err != nil {
		return err
	}
	if released > 0 {
		return ErrReleased
	}
	return nil
}

// Fences returns the fences of all accounts.
func (s *Store) Fences(ctx context.Context) (map[string]Fence, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT account, epoch, holder FROM fairlead_fence`)
	if err != nil {
		return nil, fmt.Errorf("fences: %w", err)
	}
	return collectFences(rows)
}

// Epochs returns the epochs of all accounts.
func (s *Store) Epochs(ctx context.Context) (map[string]uint64, error) {
	held, err := s.Fences(ctx)
	if err != nil {
		return nil, err
	}
	epochs := map[string]uint64{}
	for account, f := range held {
		epochs[account] = f.Epoch
	}
	return epochs, nil
}

// holdFences share-locks the fences in sorted order, so that no attach happens before the transaction ends, and returns
// the accounts whose fence has another holder or epoch, or which have none. The list must be sorted and hold no account twice.
func holdFences(ctx context.Context, tx *sql.Tx, fences []Fence) (fenced map[string]bool, err error) {
	args := make([]any, len(fences))
	for i, f := range fences {
		args[i] = f.Account
	}
	rows, err := tx.QueryContext(ctx, fenceCheck.sql("fairlead_fence", "?", len(fences)), args...)
	if err != nil {
		return nil, err
	}
	held, err := collectFences(rows)
	if err != nil {
		return nil, err
	}
	fenced = map[string]bool{}
	for _, f := range fences {
		if held[f.Account] != f {
			fenced[f.Account] = true
		}
	}
	return fenced, nil
}

func collectFences(rows *sql.Rows) (map[string]Fence, error) {
	defer rows.Close()
	held := map[string]Fence{}
	for rows.Next() {
		var f Fence
		if err := rows.Scan(&f.Account, &f.Epoch, &f.Holder); err != nil {
			return nil, err
		}
		held[f.Account] = f
	}
	return held, rows.Err()
}
