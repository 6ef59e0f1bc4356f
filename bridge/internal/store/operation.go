package store

import (
	"context"
	"fmt"
	"strings"
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
	Age     time.Duration
	Started int64
	// Since it began: Waited until it was sent to an agent, Begun until the agent began, Ended until that had done it, Duration until the
	// caller had its answer. Negative: not known.
	Waited, Begun, Ended, Duration time.Duration
	// Server is the time inside the API server.
	Server  time.Duration
	Outcome string
	Reason  string
}

// PutOperations stores operations. One that is there already is replaced, but for when it began.
func (s *Store) PutOperations(ctx context.Context, list []Operation) error {
	for len(list) > 0 {
		n := min(len(list), statementRows)
		args := make([]any, 0, 17*n)
		for _, o := range list[:n] {
			args = append(args, o.ID, clip(o.Account, 90), clip(o.Verb, 32), clip(o.Target, 512), o.Mutation, clip(o.User, 255), clip(o.Execution, 64), clip(o.Bridge, 190),
				clip(o.Agent, 255), o.Age.Milliseconds(), milliseconds(o.Waited), milliseconds(o.Begun), milliseconds(o.Ended), milliseconds(o.Duration),
				o.Server.Milliseconds(), clip(o.Outcome, 32), clip(o.Reason, 1024))
		}
		if _, err := s.db.ExecContext(ctx, statement{text: `INSERT INTO {table}
 (id, account, verb, target, mutation, user, execution, bridge, agent, started, waited_ms, begun_ms, ended_ms, duration_ms, server_ms, outcome, reason) VALUES {list}
 ON DUPLICATE KEY UPDATE agent = VALUES(agent), waited_ms = VALUES(waited_ms), begun_ms = VALUES(begun_ms), ended_ms = VALUES(ended_ms),
 duration_ms = VALUES(duration_ms), server_ms = VALUES(server_ms), outcome = VALUES(outcome), reason = VALUES(reason)`}.
			sql("fairlead_operation", "(?,?,?,?,?,?,?,?,?,"+now+"-?,?,?,?,?,?,?,?)", n), args...); err != nil {
			return fmt.Errorf("store operations: %w", err)
		}
		list = list[n:]
	}
	return nil
}

func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

func fromMilliseconds(ms int64) time.Duration {
	if ms < 0 {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
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

// OperationFilter says which operations are asked for. Empty fields: all.
type OperationFilter struct {
	ID, Account, Verb, Outcome, User, Execution string
	Mutations                                   bool
	// Within is how long ago it may have begun.
	Within        time.Duration
	Limit, Offset int
}

// where is the condition of a filter. It reads along started_idx, account_started_idx, execution_idx or the primary key.
func (f OperationFilter) where() (string, []any) {
	var conditions []string
	var args []any
	for _, c := range []struct{ column, value string }{{"id", f.ID}, {"account", f.Account}, {"verb", f.Verb}, {"outcome", f.Outcome}, {"user", f.User}, {"execution", f.Execution}} {
		if c.value != "" {
			conditions, args = append(conditions, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Mutations {
		conditions = append(conditions, "mutation")
	}
	if f.Within > 0 {
		conditions, args = append(conditions, "started >= "+now+" - ?"), append(args, f.Within.Milliseconds())
	}
	if len(conditions) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), args
}

// Operations lists operations, newest first.
func (s *Store) Operations(ctx context.Context, f OperationFilter) ([]Operation, error) {
	where, args := f.where()
	rows, err := s.db.QueryContext(ctx, `SELECT id, account, verb, target, mutation, user, execution, bridge, agent, started, waited_ms, begun_ms, ended_ms, duration_ms, server_ms, outcome, reason
 FROM fairlead_operation`+where+` ORDER BY started DESC, id DESC LIMIT ? OFFSET ?`, append(args, f.Limit, f.Offset)...)
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	defer rows.Close()
	var list []Operation
	for rows.Next() {
		var o Operation
		var waited, begun, ended, duration, server int64
		if err := rows.Scan(&o.ID, &o.Account, &o.Verb, &o.Target, &o.Mutation, &o.User, &o.Execution, &o.Bridge, &o.Agent, &o.Started, &waited, &begun, &ended, &duration, &server, &o.Outcome, &o.Reason); err != nil {
			return nil, err
		}
		o.Waited, o.Begun, o.Ended, o.Duration, o.Server = fromMilliseconds(waited), fromMilliseconds(begun), fromMilliseconds(ended), fromMilliseconds(duration), fromMilliseconds(server)
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

// Mode is a row of fairlead_mode.
type Mode struct {
	Pattern, Mode string
	// Since in milliseconds since 1970.
	Since int64
}

// Modes lists which agents have the operations of which accounts, where it is not the default.
func (s *Store) Modes(ctx context.Context) ([]Mode, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT pattern, mode, since FROM fairlead_mode ORDER BY pattern`)
	if err != nil {
		return nil, fmt.Errorf("list modes of operations: %w", err)
	}
	defer rows.Close()
	var list []Mode
	for rows.Next() {
		var m Mode
		if err := rows.Scan(&m.Pattern, &m.Mode, &m.Since); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// SetMode sets the mode of a pattern; "" takes it away.
func (s *Store) SetMode(ctx context.Context, pattern, mode string) error {
	var err error
	if mode == "" {
		_, err = s.db.ExecContext(ctx, `DELETE FROM fairlead_mode WHERE pattern = ?`, pattern)
	} else {
		_, err = s.db.ExecContext(ctx, `INSERT INTO fairlead_mode (pattern, mode, since) VALUES (?, ?, `+now+`)
 ON DUPLICATE KEY UPDATE since = IF(mode = VALUES(mode), since, VALUES(since)), mode = VALUES(mode)`, pattern, mode)
	}
	if err != nil {
		return fmt.Errorf("set mode of operations: %w", err)
	}
	return nil
}
