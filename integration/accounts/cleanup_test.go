package accounts

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/fairlead/fairlead/testenv"
)

// ghost is a row of a caching agent that nobody has. When it goes, the cleanup has been there.
const ghost = "kubernetes.v2:infrastructure:pod:ghost:nowhere:ghost"

// cleanupEnabled gives Clouddriver its cleanup of rows whose caching agent it does not know.
func cleanupEnabled(config map[string]any) {
	config["sql"].(map[string]any)["unknown-agent-cleanup-agent"] = map[string]any{"enabled": true}
}

// cleanAgain takes the cleanup's lock out, so that it need not wait two minutes until it comes again. Before its first run there is none.
func cleanAgain(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "DELETE FROM cats_agent_locks WHERE agent_name LIKE '%UnknownAgentCleanup%'")
	return err
}

// watchDeletions has the database write down what is deleted from the cache's tables, and by whom.
func (s *site) watchDeletions() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("mysql", s.MySQL.DSN)
	must(s.t, err)
	s.t.Cleanup(func() { _ = db.Close() })
	ctx := within(s.t, time.Minute)
	_, err = db.ExecContext(ctx, "CREATE TABLE deletions (cache varchar(200), agent varchar(500), who varchar(200))")
	must(s.t, err)
	for table, column := range cacheTables(ctx, s.t, db) {
		_, err := db.ExecContext(ctx, fmt.Sprintf("CREATE TRIGGER deletions_of_%s AFTER DELETE ON `%s` FOR EACH ROW INSERT INTO deletions VALUES ('%s', OLD.%s, USER())", table, table, table, column))
		must(s.t, err)
	}
	return db
}

// deletedByClouddriver fails the test if Clouddriver deleted anything but the ghost's row.
func deletedByClouddriver(ctx context.Context, t *testing.T, db *sql.DB) {
	t.Helper()
	found, err := db.QueryContext(ctx, "SELECT cache, agent, COUNT(*) FROM deletions WHERE who LIKE 'clouddriver@%' AND agent NOT LIKE 'ghost/%' GROUP BY cache, agent")
	must(t, err)
	defer func() { _ = found.Close() }()
	for found.Next() {
		var table, agent string
		var n int
		must(t, found.Scan(&table, &agent, &n))
		t.Errorf("Clouddriver deleted %d rows of %s in %s", n, agent, table)
	}
	must(t, found.Err())
}

// cleanupWithoutBridge starts the first Clouddriver without a bridge, and without an agent, that could heal what is deleted.
func (s *site) cleanupWithoutBridge(t *testing.T, db *sql.DB) {
	ctx := within(t, 5*time.Minute)
	for n := range s.Agents {
		must(t, s.Stop(ctx, "agent", n, false))
	}
	for n, b := range s.Bridges {
		if alive(b.PID) {
			must(t, s.Stop(ctx, "bridge", n, true))
		}
	}
	if alive(s.Clouddriver.PID) {
		must(t, s.Stop(ctx, "clouddriver", 0, false))
	}
	_, err := db.ExecContext(ctx, "INSERT INTO cats_v1_pod (id, agent, application, body_hash, body, last_updated) VALUES (?, 'ghost/KubernetesCoreCachingAgent[1/1]', 'ghost', 'x', '{}', ?)",
		ghost, time.Now().Add(-time.Hour).UnixMilli())
	must(t, err)
	before := rows(ctx, t, db)
	if before["cats_v1_deployment"] < 1 {
		t.Fatalf("rows before: %v", before)
	}
	said := len(logOf(t, s.Clouddriver.Log))
	must(t, s.Start(ctx, "clouddriver", 0))
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		if strings.Contains(logOf(t, s.Clouddriver.Log)[said:], "the cleanup of unknown agents' rows is held back") {
			return nil
		}
		if err := cleanAgain(ctx, db); err != nil {
			return err
		}
		return fmt.Errorf("the cleanup has not come yet")
	}))
	same(t, "while the bridge is away", before, rows(ctx, t, db))
	names, err := s.REST().Accounts(ctx)
	must(t, err)
	if len(names) == 0 {
		t.Error("Clouddriver knows no account without its bridge")
	}

	must(t, s.Start(ctx, "bridge", 0))
	began := time.Now()
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM cats_v1_pod WHERE id = ?", ghost).Scan(&n); err != nil || n == 0 {
			return err
		}
		if err := cleanAgain(ctx, db); err != nil {
			return err
		}
		return fmt.Errorf("the ghost is still there")
	}))
	t.Logf("the cleanup came %s after the bridge", time.Since(began).Round(time.Second))
	before["cats_v1_pod"]--
	same(t, "after the cleanup", before, rows(ctx, t, db))
	deletedByClouddriver(ctx, t, db)
}

func alive(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

func logOf(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	return string(content)
}

// rows counts the rows of every cache table that has any.
func rows(ctx context.Context, t *testing.T, db *sql.DB) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for name := range cacheTables(ctx, t, db) {
		var n int
		must(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+name).Scan(&n)) //nolint:gosec // a name that the database gave
		if n > 0 {
			counts[name] = n
		}
	}
	return counts
}

// cacheTables are those whose rows have a caching agent, and the column that names it.
func cacheTables(ctx context.Context, t *testing.T, db *sql.DB) map[string]string {
	t.Helper()
	columns, err := db.QueryContext(ctx, "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'cats\\_v1\\_%' AND COLUMN_NAME IN ('agent', 'rel_agent')")
	must(t, err)
	defer func() { _ = columns.Close() }()
	tables := map[string]string{}
	for columns.Next() {
		var name, column string
		must(t, columns.Scan(&name, &column))
		tables[name] = column
	}
	must(t, columns.Err())
	return tables
}

func same(t *testing.T, when string, want, got map[string]int) {
	t.Helper()
	for table, n := range want {
		if got[table] < n {
			t.Errorf("%s %s has %d rows, before %d", when, table, got[table], n)
		}
	}
}
