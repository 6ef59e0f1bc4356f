package store

import (
	"context"
	"fmt"
)

// Audit is a row of fairlead_audit.
type Audit struct {
	ID uint64
	// At is milliseconds since 1970 by the database's clock.
	At                                                           int64
	Actor, Role, Remote, Bridge, Action, Target, Detail, Outcome string
}

// PutAudit adds an entry; its id and time are the database's.
func (s *Store) PutAudit(ctx context.Context, a Audit) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_audit (at, actor, role, remote, bridge, action, target, detail, outcome) VALUES (`+now+`, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.Actor, a.Role, a.Remote, a.Bridge, a.Action, a.Target, a.Detail, a.Outcome)
	if err != nil {
		return fmt.Errorf("store audit entry: %w", err)
	}
	return nil
}

// Audits lists at most limit entries, latest first, of those before an id; 0: from the latest. It goes by the primary key.
func (s *Store) Audits(ctx context.Context, before uint64, limit int) ([]Audit, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, at, actor, role, remote, bridge, action, target, detail, outcome FROM fairlead_audit
 WHERE ? = 0 OR id < ? ORDER BY id DESC LIMIT ?`, before, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	defer rows.Close()
	var list []Audit
	for rows.Next() {
		var a Audit
		if err := rows.Scan(&a.ID, &a.At, &a.Actor, &a.Role, &a.Remote, &a.Bridge, &a.Action, &a.Target, &a.Detail, &a.Outcome); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// ForgetAudit deletes at most limit entries that are older than age milliseconds (at_idx).
func (s *Store) ForgetAudit(ctx context.Context, age int64, limit int) (deleted int64, err error) {
	result, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_audit WHERE at < `+now+` - ? ORDER BY at LIMIT ?`, age, limit)
	if err != nil {
		return 0, fmt.Errorf("forget audit: %w", err)
	}
	return result.RowsAffected()
}
