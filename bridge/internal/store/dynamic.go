package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Dynamic is a row of fairlead_dynamic without its kubeconfig. Times are milliseconds since 1970 by the database's clock.
type Dynamic struct {
	Name, State                string
	Zone, Place, Agent, Source string
	Labels                     map[string]string
	Definition                 string
	Revision, Version          uint64
	Attempt, Failures          int
	Tried                      []string
	Reason                     string
	Due, Created, Changed      int64
}

// ErrExists says that a name is held already.
var ErrExists = errors.New("the name exists")

// SecretPrefix stands before the names of dynamic accounts where their kubeconfigs are among everything that is sealed.
const SecretPrefix = "kubeconfig/"

// DynamicVersions returns the version of every dynamic account (version_idx), and what the database's clock says.
func (s *Store) DynamicVersions(ctx context.Context) (versions map[string]uint64, clock int64, err error) {
	if err := s.db.QueryRowContext(ctx, `SELECT `+now).Scan(&clock); err != nil {
		return nil, 0, fmt.Errorf("the database's clock: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT name, version FROM fairlead_dynamic`)
	if err != nil {
		return nil, 0, fmt.Errorf("versions of dynamic accounts: %w", err)
	}
	defer rows.Close()
	versions = map[string]uint64{}
	for rows.Next() {
		var name string
		var version uint64
		if err := rows.Scan(&name, &version); err != nil {
			return nil, 0, err
		}
		versions[name] = version
	}
	return versions, clock, rows.Err()
}

const dynamicColumns = "name, state, zone, place, agent, source, labels, definition, revision, version, attempt, failures, tried, reason, due, created, changed"

// Dynamics returns the dynamic accounts of some names (primary key), in the order of names.
func (s *Store) Dynamics(ctx context.Context, names []string) ([]Dynamic, error) {
	var list []Dynamic
	for part := range slices.Chunk(names, statementRows) {
		err := s.eachRow(ctx, `SELECT `+dynamicColumns+` FROM fairlead_dynamic WHERE name IN (`+strings.Repeat(",?", len(part))[1:]+`) ORDER BY name`, anys(part),
			func(rows *sql.Rows) error {
				d, err := scanDynamic(rows)
				list = append(list, d)
				return err
			})
		if err != nil {
			return nil, fmt.Errorf("dynamic accounts: %w", err)
		}
	}
	return list, nil
}

func scanDynamic(row interface{ Scan(...any) error }) (Dynamic, error) {
	var d Dynamic
	var labels, tried string
	if err := row.Scan(&d.Name, &d.State, &d.Zone, &d.Place, &d.Agent, &d.Source, &labels, &d.Definition, &d.Revision, &d.Version, &d.Attempt, &d.Failures, &tried, &d.Reason,
		&d.Due, &d.Created, &d.Changed); err != nil {
		return d, err
	}
	return d, errors.Join(json.Unmarshal([]byte(labels), &d.Labels), json.Unmarshal([]byte(tried), &d.Tried))
}

// Kubeconfigs returns the sealed kubeconfigs of dynamic accounts, with the revision that each belongs to.
func (s *Store) Kubeconfigs(ctx context.Context, names []string) (sealed map[string][]byte, revisions map[string]uint64, err error) {
	sealed, revisions = map[string][]byte{}, map[string]uint64{}
	for part := range slices.Chunk(names, 100) { // they may be large
		err := s.eachRow(ctx, `SELECT name, revision, sealed FROM fairlead_dynamic WHERE name IN (`+strings.Repeat(",?", len(part))[1:]+`)`, anys(part), func(rows *sql.Rows) error {
			var name string
			var revision uint64
			var content []byte
			err := rows.Scan(&name, &revision, &content)
			sealed[name], revisions[name] = content, revision
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("kubeconfigs: %w", err)
		}
	}
	return sealed, revisions, nil
}

func (s *Store) eachRow(ctx context.Context, query string, args []any, each func(*sql.Rows) error) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// dueExpression is a time so many milliseconds from now; a negative number: none.
const dueExpression = "IF(? < 0, 0, " + now + " + ?)"

// AddDynamic stores a new dynamic account that is due after so many milliseconds, negative: never. Its times, version and revision are made here. ErrExists: the
// name is there; ErrTaken: one that differs only in case is.
func (s *Store) AddDynamic(ctx context.Context, d Dynamic, sealed []byte, due int64) (version uint64, err error) {
	labels, tried, err := dynamicJSON(d)
	if err != nil {
		return 0, err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO fairlead_dynamic (name, folded, state, zone, place, agent, source, labels, definition, sealed, revision, version, attempt, failures, tried, reason, due, created, changed)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, `+now+`, `+now+`, ?, ?, ?, ?, `+dueExpression+`, `+now+`, `+now+`)`,
		d.Name, Folded(d.Name), d.State, d.Zone, d.Place, d.Agent, d.Source, labels, d.Definition, sealed, d.Attempt, d.Failures, tried, d.Reason, due, due)
	if number(err) == errDuplicateEntry {
		found, failed := s.Dynamics(ctx, []string{d.Name})
		if failed != nil {
			return 0, failed
		}
		if len(found) == 0 {
			return 0, ErrTaken
		}
		return 0, ErrExists
	}
	if err != nil {
		return 0, fmt.Errorf("store dynamic account %q: %w", d.Name, err)
	}
	err = s.db.QueryRowContext(ctx, `SELECT version FROM fairlead_dynamic WHERE name = ?`, d.Name).Scan(&version)
	return version, err
}

func dynamicJSON(d Dynamic) (labels, tried string, err error) {
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	if d.Tried == nil {
		d.Tried = []string{}
	}
	l, err := json.Marshal(d.Labels)
	if err != nil {
		return "", "", err
	}
	t, err := json.Marshal(d.Tried)
	return string(l), string(t), err
}

// PutDynamic replaces a row of the version that d has, and tells whether it did: otherwise somebody else was first. sealed nil: the kubeconfig stays.
func (s *Store) PutDynamic(ctx context.Context, d Dynamic, sealed []byte, due int64, stateChanged bool) (bool, error) {
	labels, tried, err := dynamicJSON(d)
	if err != nil {
		return false, err
	}
	set := `state = ?, zone = ?, place = ?, agent = ?, source = ?, labels = ?, definition = ?, revision = ?, version = version + 1, attempt = ?, failures = ?, tried = ?, reason = ?, due = ` + dueExpression
	args := []any{d.State, d.Zone, d.Place, d.Agent, d.Source, labels, d.Definition, d.Revision, d.Attempt, d.Failures, tried, d.Reason, due, due}
	if stateChanged {
		set += `, changed = ` + now
	}
	if sealed != nil {
		set, args = set+`, sealed = ?`, append(args, sealed)
	}
	done, err := s.db.ExecContext(ctx, `UPDATE fairlead_dynamic SET `+set+` WHERE name = ? AND version = ?`, append(args, d.Name, d.Version)...)
	if err != nil {
		return false, fmt.Errorf("store dynamic account %q: %w", d.Name, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// DeleteDynamic deletes a row of that version, and tells whether it did.
func (s *Store) DeleteDynamic(ctx context.Context, name string, version uint64) (bool, error) {
	done, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_dynamic WHERE name = ? AND version = ?`, name, version)
	if err != nil {
		return false, fmt.Errorf("delete dynamic account %q: %w", name, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// Agent is a row of fairlead_agent.
type Agent struct {
	Session, Bridge, Agent, Instance string
	Zone, Place, Version             string
	Dynamic                          bool
	Patterns                         []string
	Since                            int64
	Closing                          bool
}

// ConnectedAgents lists the agents of the bridges that gave a heartbeat within silence milliseconds, by session.
func (s *Store) ConnectedAgents(ctx context.Context, silence int64) ([]Agent, error) {
	var list []Agent
	err := s.eachRow(ctx, `SELECT a.session, a.bridge, a.agent, a.instance, a.zone, a.place, a.version, a.dynamic, a.patterns, a.since, a.closing
 FROM fairlead_agent a JOIN fairlead_bridge b ON b.name = a.bridge WHERE CAST(`+now+` AS SIGNED) - b.heartbeat < ? ORDER BY a.session`, []any{silence}, func(rows *sql.Rows) error {
		var a Agent
		var patterns string
		if err := rows.Scan(&a.Session, &a.Bridge, &a.Agent, &a.Instance, &a.Zone, &a.Place, &a.Version, &a.Dynamic, &patterns, &a.Since, &a.Closing); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(patterns), &a.Patterns)
		list = append(list, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	return list, nil
}

// PutAgent notes that an agent is connected.
func (s *Store) PutAgent(ctx context.Context, a Agent) error {
	patterns, err := json.Marshal(a.Patterns)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO fairlead_agent (session, bridge, agent, instance, zone, place, version, dynamic, patterns, since, closing) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, `+now+`, FALSE)
 ON DUPLICATE KEY UPDATE bridge = VALUES(bridge)`, a.Session, a.Bridge, a.Agent, a.Instance, a.Zone, a.Place, a.Version, a.Dynamic, string(patterns))
	if err != nil {
		return fmt.Errorf("store agent: %w", err)
	}
	return nil
}

// EndAgents forgets sessions.
func (s *Store) EndAgents(ctx context.Context, sessions []string) error {
	for part := range slices.Chunk(sessions, statementRows) {
		if _, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_agent WHERE session IN (`+strings.Repeat(",?", len(part))[1:]+`)`, anys(part)...); err != nil {
			return fmt.Errorf("end agents: %w", err)
		}
	}
	return nil
}

// CloseAgent asks for the end of an agent's sessions, at whichever bridge. It returns how many there are.
func (s *Store) CloseAgent(ctx context.Context, agent string) (int64, error) {
	done, err := s.db.ExecContext(ctx, `UPDATE fairlead_agent SET closing = TRUE WHERE (agent = ? OR instance = ?) AND NOT closing`, agent, agent)
	if err != nil {
		return 0, fmt.Errorf("close agent %q: %w", agent, err)
	}
	return done.RowsAffected()
}
