package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// BridgeSilence is how long after its last heartbeat a bridge is gone, and its sessions with it.
const BridgeSilence = 30 * time.Second

// Bridge is a row of fairlead_bridge.
type Bridge struct {
	Name    string
	Version string
	Started int64
	// Milliseconds since its last heartbeat.
	Age int64
}

// Session is a row of fairlead_session: an agent that serves an account at a bridge.
type Session struct {
	Account string
	Session string
	Bridge  string
	// Address is where other bridges reach its bridge; empty: not at all.
	Address  string
	Agent    string
	Instance string
	// Version and Capability of the agent.
	Version    string
	Capability uint32
	// Since is when it began, in milliseconds since 1970.
	Since int64
	// Milliseconds since its bridge's last heartbeat: long when the bridge is gone.
	Age int64
}

// StartBridge announces a bridge and where others reach it. Sessions that an earlier process of the same name left behind end.
func (s *Store) StartBridge(ctx context.Context, name, version, address string) error {
	return s.inTransaction(ctx, func(tx *sql.Tx) error {
		if err := endSessions(ctx, tx, `s.bridge = ?`, name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO fairlead_bridge (name, version, address, started, heartbeat) VALUES (?, ?, ?, `+now+`, `+now+`)
 ON DUPLICATE KEY UPDATE version = VALUES(version), address = VALUES(address), started = VALUES(started), heartbeat = VALUES(heartbeat)`, name, version, address)
		return err
	})
}

// Heartbeat says that the bridge lives. It touches one row that nobody else locks.
func (s *Store) Heartbeat(ctx context.Context, name, version, address string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO fairlead_bridge (name, version, address, started, heartbeat) VALUES (?, ?, ?, `+now+`, `+now+`)
 ON DUPLICATE KEY UPDATE heartbeat = VALUES(heartbeat)`, name, version, address)
	return err
}

// StopBridge takes a bridge out, with its sessions.
func (s *Store) StopBridge(ctx context.Context, name string) error {
	return s.inTransaction(ctx, func(tx *sql.Tx) error {
		if err := endSessions(ctx, tx, `s.bridge = ?`, name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM fairlead_bridge WHERE name = ?`, name)
		return err
	})
}

// Bridges lists the bridges that announced themselves.
func (s *Store) Bridges(ctx context.Context) ([]Bridge, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, version, started, CAST(`+now+` AS SIGNED) - heartbeat FROM fairlead_bridge ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list bridges: %w", err)
	}
	defer rows.Close()
	var list []Bridge
	for rows.Next() {
		var b Bridge
		if err := rows.Scan(&b.Name, &b.Version, &b.Started, &b.Age); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, rows.Err()
}

// PutSessions notes which accounts sessions of this bridge serve.
func (s *Store) PutSessions(ctx context.Context, sessions []Session) error {
	for len(sessions) > 0 {
		n := min(len(sessions), statementRows)
		args := make([]any, 0, 7*n)
		for _, v := range sessions[:n] {
			args = append(args, v.Account, v.Session, v.Bridge, v.Agent, v.Instance, v.Version, v.Capability)
		}
		if _, err := s.db.ExecContext(ctx, statement{text: `INSERT INTO {table} (account, session, bridge, agent, instance, version, capability, since) VALUES {list}
 ON DUPLICATE KEY UPDATE bridge = VALUES(bridge), agent = VALUES(agent), instance = VALUES(instance), version = VALUES(version), capability = VALUES(capability)`}.
			sql("fairlead_session", "(?,?,?,?,?,?,?,"+now+")", n), args...); err != nil {
			return fmt.Errorf("store sessions: %w", err)
		}
		sessions = sessions[n:]
	}
	return nil
}

// EndSession takes a session's accounts out and notes when they were seen last.
func (s *Store) EndSession(ctx context.Context, session string, accounts []string) error {
	for part := range slices.Chunk(accounts, statementRows) {
		err := s.inTransaction(ctx, func(tx *sql.Tx) error {
			list := strings.Repeat(",?", len(part))[1:]
			return endSessions(ctx, tx, `s.session = ? AND s.account IN (`+list+`)`, append([]any{session}, anys(part)...)...)
		})
		if err != nil {
			return fmt.Errorf("end session %s: %w", session, err)
		}
	}
	return nil
}

// endSessions ends the sessions that a condition on alias s selects. An account was seen last when its bridge gave its
// last heartbeat, which is now unless that bridge is gone.
func endSessions(ctx context.Context, tx *sql.Tx, condition string, args ...any) error {
	if _, err := tx.ExecContext(ctx, `UPDATE fairlead_account a JOIN fairlead_session s ON s.account = a.name JOIN fairlead_bridge b ON b.name = s.bridge
 SET a.last_seen = GREATEST(a.last_seen, b.heartbeat), a.revision = GREATEST(a.revision + 1, `+now+`) WHERE `+condition, args...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE s FROM fairlead_session s WHERE `+condition, args...)
	return err
}

const sessionColumns = `SELECT s.account, s.session, s.bridge, b.address, s.agent, s.instance, s.version, s.capability, s.since, CAST(` + now + ` AS SIGNED) - b.heartbeat
 FROM fairlead_session s JOIN fairlead_bridge b ON b.name = s.bridge`

// Sessions lists the sessions of all bridges.
func (s *Store) Sessions(ctx context.Context) ([]Session, error) {
	return s.sessions(ctx, sessionColumns)
}

// SessionsOf lists the sessions that serve some accounts (primary key), those of each account by the session's id.
func (s *Store) SessionsOf(ctx context.Context, accounts []string) ([]Session, error) {
	var list []Session
	for part := range slices.Chunk(accounts, statementRows) {
		found, err := s.sessions(ctx, sessionColumns+` WHERE s.account IN (`+strings.Repeat(",?", len(part))[1:]+`) ORDER BY s.account, s.session`, anys(part)...)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

func (s *Store) sessions(ctx context.Context, query string, args ...any) ([]Session, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	defer rows.Close()
	var list []Session
	for rows.Next() {
		var v Session
		if err := rows.Scan(&v.Account, &v.Session, &v.Bridge, &v.Address, &v.Agent, &v.Instance, &v.Version, &v.Capability, &v.Since, &v.Age); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
