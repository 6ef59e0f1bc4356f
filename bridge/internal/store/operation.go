package store

import (
	"context"
	"fmt"
	"time"
)

// Operation is a row of fairlead_operation.
type Operation struct {
	ID       string
	Account  string
	Verb     string
	Target   string
	Mutation bool
	User     string
	// Execution is Orca's.
	Execution string
	Bridge    string
	Agent     string
	// Age is how long ago it began when it is stored; Started is what the database made of it, in milliseconds since 1970.
	Age      time.Duration
	Started  int64
	Waited   time.Duration
	Duration time.Duration
	Server   time.Duration
	Outcome  string
	Reason   string
}

// PutOperations stores ended operations. One that is there already stays as it is.
func (s *Store) PutOperations(ctx context.Context, list []Operation) error {
	for len(list) > 0 {
		n := min(len(list), statementRows)
		args := make([]any, 0, 15*n)
		for _, o := range list[:n] {
			args = append(args, o.ID, clip(o.Account, 90), clip(o.Verb, 32), clip(o.Target, 512), o.Mutation, clip(o.User, 255), clip(o.Execution, 64), clip(o.Bridge, 190),
				clip(o.Agent, 255), o.Age.Milliseconds(), o.Waited.Milliseconds(), o.Duration.Milliseconds(), o.Server.Milliseconds(), clip(o.Outcome, 32), clip(o.Reason, 1024))
		}
		if _, err := s.db.ExecContext(ctx, statement{text: `INSERT INTO {table}
 (id, account, verb, target, mutation, user, execution, bridge, agent, started, waited_ms, duration_ms, server_ms, outcome, reason) VALUES {list}
 ON DUPLICATE KEY UPDATE id = VALUES(id)`}.sql("fairlead_operation", "(?,?,?,?,?,?,?,?,?,"+now+"-?,?,?,?,?,?)", n), args...); err != nil {
			return fmt.Errorf("store operations: %w", err)
		}
		list = list[n:]
	}
	return nil
}

// clip keeps the first n characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count == n {
			return s[:i]
		}
		count++
	}
	return s
}

// Operations lists the latest operations, newest first, of one account or, with "", of all.
func (s *Store) Operations(ctx context.Context, account string, limit int) ([]Operation, error) {
	query, args := `SELECT id, account, verb, target, mutation, user, execution, bridge, agent, started, waited_ms, duration_ms, server_ms, outcome, reason FROM fairlead_operation`, []any{}
	if account != "" {
		query, args = query+` WHERE account = ?`, append(args, account)
	}
	rows, err := s.db.QueryContext(ctx, query+` ORDER BY started DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	defer rows.Close()
	var list []Operation
	for rows.Next() {
		var o Operation
		var waited, duration, server int64
		if err := rows.Scan(&o.ID, &o.Account, &o.Verb, &o.Target, &o.Mutation, &o.User, &o.Execution, &o.Bridge, &o.Agent, &o.Started, &waited, &duration, &server, &o.Outcome, &o.Reason); err != nil {
			return nil, err
		}
		o.Waited, o.Duration, o.Server = time.Duration(waited)*time.Millisecond, time.Duration(duration)*time.Millisecond, time.Duration(server)*time.Millisecond
		list = append(list, o)
	}
	return list, rows.Err()
}

// ForgetOperations deletes up to limit operations that began longer ago than age, and returns how many.
func (s *Store) ForgetOperations(ctx context.Context, age time.Duration, limit int) (int, error) {
	done, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_operation WHERE started < `+now+` - ? ORDER BY started LIMIT ?`, age.Milliseconds(), limit)
	if err != nil {
		return 0, fmt.Errorf("forget operations: %w", err)
	}
	n, err := done.RowsAffected()
	return int(n), err
}
