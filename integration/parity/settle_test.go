package parity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/testenv"
)

// Seconds. Stock Clouddriver's polls are far apart; the suite asks for them. How long a lock lasts tells what became of the poll.
const (
	pollInterval      = 1200
	pollErrorInterval = 1500
	pollTimeout       = 1800
)

// state is the resource version of each object that some account may cache, by type and key.
type state map[cats.Key]string

// settle waits until the cluster rests and all accounts' rows show it as it is: a whole poll of each stock account has begun and ended
// while no object changed, and each account has exactly the objects' rows. Unless strict, a stock account may have more: see
// TestStockKeeps….
func (s *suite) settle(t *testing.T, strict bool) {
	t.Helper()
	began, cycles := time.Now(), 0
	ctx := within(t, 3*time.Minute)
	var why error // what kept it from settling last, whatever the end of ctx makes of the next try
	err := testenv.Wait(ctx, func(ctx context.Context) (err error) {
		defer func() {
			if ctx.Err() == nil && err != nil {
				why = err
			}
		}()
		before, custom, err := s.state(ctx)
		if err != nil {
			return err
		}
		for _, p := range s.pairs {
			if err := s.shows(ctx, p.agent, p.rows(before, custom), true); err != nil {
				return err
			}
		}
		cycles++
		if err := s.cycle(ctx, s.pairs[0].stock, s.pairs[1].stock); err != nil {
			return err
		}
		for _, p := range s.pairs {
			if err := s.shows(ctx, p.stock, p.rows(before, custom), strict); err != nil {
				return err
			}
		}
		for _, p := range s.pairs {
			if err := s.sameApplications(ctx, p); err != nil {
				return err
			}
		}
		after, _, err := s.state(ctx)
		if err != nil {
			return err
		}
		if !maps.Equal(before, after) {
			return errors.New("the cluster does not rest yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("not settled after %d polls: %v; before that: %v", cycles, err, why)
	}
	t.Logf("settled after %s and %d polls", time.Since(began).Round(time.Millisecond), cycles)
}

// state lists the cluster. custom are the types of custom resources.
func (s *suite) state(ctx context.Context) (all state, custom map[cats.Type]bool, err error) {
	objects, err := s.cluster.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, custom = state{}, map[cats.Type]bool{}
	for _, o := range objects {
		key, err := cats.KeyOf(o)
		if err != nil {
			return nil, nil, err
		}
		metadata := o["metadata"].(map[string]any)
		if key.Type == "customResourceDefinition" {
			spec := o["spec"].(map[string]any)
			custom[cats.Type(fmt.Sprint(spec["names"].(map[string]any)["kind"], ".", spec["group"]))] = true
		}
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations["caching.spinnaker.io/ignore"] == "true" || restless(key.Type) {
			continue
		}
		all[key] = fmt.Sprint(metadata["resourceVersion"])
	}
	return all, custom, nil
}

// restless kinds change all the time, and no account caches them.
func restless(t cats.Type) bool {
	return slices.Contains([]cats.Type{"event", "Lease.coordination.k8s.io", "Node"}, t)
}

// rows are the ids of the rows that a pair's accounts shall have, ACCOUNT in the account's place, with the resource version in each.
func (p pair) rows(all state, custom map[cats.Type]bool) map[string]string {
	want := map[string]string{}
	for key, version := range all {
		cached := slices.Contains(cats.DefaultTypes(), key.Type)
		if p.everything {
			cached = (slices.Contains(cats.NativeTypes(), key.Type) || custom[key.Type]) && !slices.Contains(omitted, string(key.Type))
		}
		// Neither writes an id that is too long for its column.
		if id, err := key.ID(masked); cached && err == nil {
			want[id] = version
		}
	}
	return want
}

// versionsOf reads the ids of an account's rows, ACCOUNT in the account's place, with the resource version in each.
func (s *suite) versionsOf(ctx context.Context, account string) (map[string]string, error) {
	have := map[string]string{}
	tables, err := s.tables(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		if strings.HasSuffix(table, "_applications") || strings.HasSuffix(table, "_clusters") {
			continue
		}
		query := "SELECT id, JSON_UNQUOTE(JSON_EXTRACT(body, '$.attributes.manifest.metadata.resourceVersion')) FROM `" + table + "` WHERE agent LIKE ?" //nolint:gosec // a table's name
		if err := s.versions(ctx, query, account, have); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// shows tells whether an account has these rows, and if strict, no others.
func (s *suite) shows(ctx context.Context, account string, want map[string]string, strict bool) error {
	have, err := s.versionsOf(ctx, account)
	if err != nil {
		return err
	}
	for id, version := range want {
		if have[id] != version {
			return fmt.Errorf("account %s: %s is at version %q in the rows and %s in the cluster", account, id, have[id], version)
		}
	}
	for id := range have {
		if strict && want[id] == "" {
			return fmt.Errorf("account %s: the rows have %s and the cluster does not", account, id)
		}
	}
	return nil
}

// versions reads ids and resource versions of an account's rows.
func (s *suite) versions(ctx context.Context, query, account string, have map[string]string) error {
	rows, err := s.db.QueryContext(ctx, query, account+"/%")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	for rows.Next() {
		var id string
		var version sql.NullString
		if err := rows.Scan(&id, &version); err != nil {
			return err
		}
		have[maskText(id, account)] = version.String
	}
	return rows.Err()
}

// sameApplications tells whether both accounts of a pair have the same rows of applications. When an application is gone from one stock
// account, Clouddriver deletes its rows of all accounts (SqlCache.evictAll goes by id): those of stock accounts that still have it come
// back with their next poll, an agent's with the bridge's next look.
func (s *suite) sameApplications(ctx context.Context, p pair) error {
	var differs sql.NullString
	err := s.db.QueryRowContext(ctx, `SELECT GROUP_CONCAT(rows_ SEPARATOR '; ') FROM (SELECT GROUP_CONCAT(id, ' of ', agent) AS rows_ FROM cats_v1_applications
		WHERE agent LIKE CONCAT(?, '/%') OR agent LIKE CONCAT(?, '/%') GROUP BY id HAVING COUNT(*) <> 2) AS lonely`, p.stock, p.agent).Scan(&differs)
	if err != nil {
		return err
	}
	if differs.Valid {
		return fmt.Errorf("%s and %s do not have the same applications: %s", p.stock, p.agent, differs.String)
	}
	return nil
}

// tables are those of rows, or those of links.
func (s *suite) tables(ctx context.Context, links bool) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'cats\_v1\_%'
		AND table_name NOT LIKE '%\_template' AND (table_name LIKE '%\_rel') = ?`, links)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// cycle has stock Clouddriver poll accounts now, and waits for the ends of polls that began after the call.
//
// SqlClusteredAgentScheduler runs an agent when its row of cats_agent_locks is gone: it makes the row anew, to last for the time-out, before
// the run, and shortens it to the interval (or that after an error) at the end. A run that was under way when the row was taken out finds
// none to shorten.
func (s *suite) cycle(ctx context.Context, accounts ...string) error {
	agents := map[string]progress{}
	for _, account := range accounts {
		names, err := s.locks(ctx, account)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("account %s has no caching agent of Clouddriver's yet", account)
		}
		maps.Copy(agents, names)
		if _, err := s.db.ExecContext(ctx, "DELETE FROM cats_agent_locks WHERE agent_name LIKE ?", account+"/%"); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var failure error
	err := testenv.Wait(limited, func(ctx context.Context) error {
		failure = nil
		for _, account := range accounts {
			now, err := s.locks(ctx, account)
			if err != nil {
				return err
			}
			for name := range agents {
				switch {
				case !strings.HasPrefix(name, account+"/") || now[name] == polled:
				case now[name] == failed:
					failure = fmt.Errorf("%s: %s", name, failed)
				default:
					return fmt.Errorf("%s: %s", name, now[name])
				}
			}
		}
		return nil
	})
	return errors.Join(err, failure)
}

// progress is where a poll is.
type progress int

const (
	waits progress = iota
	polls
	polled
	failed
)

func (p progress) String() string {
	return [...]string{"its poll has not begun", "its poll is under way", "it has polled", "its poll failed, Clouddriver's log says why"}[p]
}

// locks are an account's caching agents that have a lock, and how far they are.
func (s *suite) locks(ctx context.Context, account string) (map[string]progress, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT agent_name, (lock_expiry - lock_acquired) DIV 1000 FROM cats_agent_locks WHERE agent_name LIKE ?", account+"/%")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names := map[string]progress{}
	for rows.Next() {
		var name string
		var seconds int
		if err := rows.Scan(&name, &seconds); err != nil {
			return nil, err
		}
		switch {
		case seconds < (pollInterval+pollErrorInterval)/2:
			names[name] = polled
		case seconds < (pollErrorInterval+pollTimeout)/2:
			names[name] = failed
		default:
			names[name] = polls
		}
	}
	return names, rows.Err()
}
