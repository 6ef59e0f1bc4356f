package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/proto/cats"
)

// kinds are what is cached of each cluster, with their plurals.
var kinds = map[cats.Type]string{"deployment": "deployments", "replicaSet": "replicasets", "pod": "pods", "service": "services"}

// connected counts the accounts with a session at a bridge that lives, the given one left out.
func (b *bench) connected(ctx context.Context, without string) (n int, err error) {
	err = b.db.QueryRowContext(ctx, "SELECT COUNT(DISTINCT account) FROM fairlead_session WHERE bridge <> ? AND account LIKE 'fleet-%'", without).Scan(&n)
	return n, err
}

// tellMissing says which accounts have no session.
func (b *bench) tellMissing(ctx context.Context) error {
	for _, c := range b.clusters {
		var n int
		if err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM fairlead_session WHERE account = ?", c.Name).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			b.Tell("account %s has no session now", c.Name)
		}
	}
	return nil
}

// agree changes an object of each cluster, and waits until the tables have all of these changes, and for each account as many rows of each kind as
// there are objects.
func (b *bench) agree(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	marks := map[string]int64{}
	for i, c := range b.clusters {
		a := b.applications[2*i]
		c.Touch("deployments", a.Namespace, a.Name)
		marks[c.Name] = c.Version()
	}
	var last error
	for {
		if last = b.agrees(ctx, marks); last == nil {
			return nil
		}
		if sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("no agreement after %s: %w", within, last)
		}
	}
}

func (b *bench) agrees(ctx context.Context, marks map[string]int64) error {
	for kind, plural := range kinds {
		counts, versions, err := b.rows(ctx, kind)
		if err != nil {
			return err
		}
		for _, c := range b.clusters {
			if want := c.Count(plural); counts[c.Name] != want {
				return fmt.Errorf("account %s has %d rows of %s, want %d", c.Name, counts[c.Name], kind, want)
			}
			if kind == "deployment" && versions[c.Name] < marks[c.Name] {
				return fmt.Errorf("account %s has deployments up to version %d, want %d", c.Name, versions[c.Name], marks[c.Name])
			}
		}
	}
	return nil
}

// rows counts an account's rows of a kind, and finds the newest version among them.
func (b *bench) rows(ctx context.Context, kind cats.Type) (counts map[string]int, versions map[string]int64, err error) {
	rows, err := b.db.QueryContext(ctx, "SELECT agent, COUNT(*), MAX(CAST(JSON_VALUE(body, '$.attributes.manifest.metadata.resourceVersion') AS UNSIGNED)) FROM "+cats.TableName("", kind, false)+" GROUP BY agent")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	counts, versions = map[string]int{}, map[string]int64{}
	for rows.Next() {
		var agent string
		var n int
		var version int64
		if err := rows.Scan(&agent, &n, &version); err != nil {
			return nil, nil, err
		}
		account, _, _ := strings.Cut(agent, "/")
		counts[account], versions[account] = n, version
	}
	return counts, versions, rows.Err()
}

// guard has the database note rows that are deleted of services, of which none ever is, and remembers when they were written.
func (b *bench) guard(ctx context.Context) error {
	for _, statement := range []string{
		"CREATE TABLE bench_deleted (id VARCHAR(352))",
		"CREATE TRIGGER bench_noted AFTER DELETE ON cats_v1_service FOR EACH ROW INSERT INTO bench_deleted VALUES (OLD.id)",
		"CREATE TABLE bench_steady (PRIMARY KEY (id)) AS SELECT id, last_updated FROM cats_v1_service",
	} {
		if _, err := b.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// untouched notes how many rows of services, which never change, were deleted or written again.
func (b *bench) untouched(ctx context.Context) error {
	var deleted, written float64
	if err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM bench_deleted").Scan(&deleted); err != nil {
		return err
	}
	if err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM bench_steady b LEFT JOIN cats_v1_service s ON s.id = b.id WHERE s.last_updated IS NULL OR s.last_updated <> b.last_updated").Scan(&written); err != nil {
		return err
	}
	b.Note(figure.Line{What: "rows deleted, or written again, of objects that did not change", Value: deleted + written, Wanted: "0", Met: figure.AtMost(deleted+written, 0)})
	return nil
}

// fresh changes an object of a cluster that nothing else changes, again and again until ctx ends, and returns how long each change took to be in the
// table.
func (b *bench) fresh(ctx context.Context) (took []float64) {
	for ctx.Err() == nil {
		i := rand.IntN(b.quiet) //nolint:gosec // which one is no secret
		c, a := b.clusters[i], b.applications[2*i]
		began := time.Now()
		c.Touch("replicasets", a.Namespace, a.ReplicaSet())
		version := strconv.FormatInt(c.Version(), 10)
		for ctx.Err() == nil {
			var there int
			err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+cats.TableName("", "replicaSet", false)+" WHERE id = ? AND JSON_VALUE(body, '$.attributes.manifest.metadata.resourceVersion') = ?",
				"kubernetes.v2:infrastructure:replicaSet:"+c.Name+":"+a.Namespace+":"+a.ReplicaSet(), version).Scan(&there)
			if err == nil && there == 1 {
				took = append(took, time.Since(began).Seconds())
				break
			}
			_ = sleep(ctx, 10*time.Millisecond)
		}
		_ = sleep(ctx, 100*time.Millisecond)
	}
	return took
}

// percentile of durations and the like; 0 of none.
func percentile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
