package accounts

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// versions of Clouddriver whose cleanup is tried. It comes every two minutes, so that each costs four: the older one deletes without asking for a
// row's age, and is the one that `make test` tries.
var versions = flag.String("versions", "1.38", "versions of Clouddriver whose cleanup of unknown agents' rows is tried, with commas")

// ghost is a row of a caching agent that nobody has. When it goes, the cleanup has been there.
const ghost = "kubernetes.v2:infrastructure:pod:ghost:nowhere:ghost"

func TestClouddriversCleanupOfUnknownAgentsLeavesOurRows(t *testing.T) {
	t.Parallel() // most of it is waiting
	for version := range strings.SplitSeq(*versions, ",") {
		t.Run(version, func(t *testing.T) { cleanup(t, version) })
	}
}

func cleanup(t *testing.T, version string) {
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: version, Configure: func(config map[string]any) {
		config["sql"].(map[string]any)["unknown-agent-cleanup-agent"] = map[string]any{"enabled": true}
	}})
	ctx := within(t, 8*time.Minute)
	kube, err := env.Kube(0)
	must(t, err)
	told := &story.Story{REST: env.REST(), Kube: kube, Account: env.Clusters[0].Account, App: "kept", Namespace: "kept"}
	must(t, told.MakeNamespace(ctx))
	_, err = told.Deploy(ctx, told.Manifests(2, "one")...)
	must(t, err)
	_, _, err = told.AwaitViews(ctx, story.Running(2))
	must(t, err)

	// Clouddriver starts without a bridge. Without the agent nothing could heal what is deleted.
	must(t, env.Stop(ctx, "agent", 0, false))
	must(t, env.Stop(ctx, "bridge", 0, true))
	must(t, env.Stop(ctx, "clouddriver", 0, false))
	db, err := sql.Open("mysql", env.MySQL.DSN)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(ctx, "INSERT INTO cats_v1_pod (id, agent, application, body_hash, body, last_updated) VALUES (?, 'ghost/KubernetesCoreCachingAgent[1/1]', 'ghost', 'x', '{}', ?)",
		ghost, time.Now().Add(-time.Hour).UnixMilli())
	must(t, err)
	before := rows(ctx, t, db)
	if before["cats_v1_pod"] < 3 || before["cats_v1_deployment"] < 1 {
		t.Fatalf("rows before: %v", before)
	}
	log, err := os.Stat(env.Clouddriver.Log)
	must(t, err)
	must(t, env.Start(ctx, "clouddriver", 0))
	must(t, testenv.Wait(ctx, func(context.Context) error {
		content, err := os.ReadFile(env.Clouddriver.Log)
		if err == nil && !strings.Contains(string(content[log.Size():]), "the cleanup of unknown agents' rows is held back") {
			err = fmt.Errorf("the cleanup has not come yet")
		}
		return err
	}))
	same(t, "while the bridge is away", before, rows(ctx, t, db))
	names, err := env.REST().Accounts(ctx)
	must(t, err)
	if len(names) == 0 {
		t.Error("Clouddriver knows no account without its bridge")
	}

	must(t, env.Start(ctx, "bridge", 0))
	began := time.Now()
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM cats_v1_pod WHERE id = ?", ghost).Scan(&n); err != nil || n == 0 {
			return err
		}
		return fmt.Errorf("the ghost is still there")
	}))
	t.Logf("the cleanup came %s after the bridge", time.Since(began).Round(time.Second))
	before["cats_v1_pod"]--
	same(t, "after the cleanup", before, rows(ctx, t, db))
}

// rows counts the rows of every cache table that has any.
func rows(ctx context.Context, t *testing.T, db *sql.DB) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, name := range cacheTables(ctx, t, db) {
		var n int
		must(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+name).Scan(&n)) //nolint:gosec // a name that the database gave
		if n > 0 {
			counts[name] = n
		}
	}
	return counts
}

func cacheTables(ctx context.Context, t *testing.T, db *sql.DB) []string {
	t.Helper()
	tables, err := db.QueryContext(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'cats\\_v1\\_%'")
	must(t, err)
	defer func() { _ = tables.Close() }()
	var names []string
	for tables.Next() {
		var name string
		must(t, tables.Scan(&name))
		names = append(names, name)
	}
	must(t, tables.Err())
	return names
}

func same(t *testing.T, when string, want, got map[string]int) {
	t.Helper()
	for table, n := range want {
		if got[table] < n {
			t.Errorf("%s %s has %d rows, before %d", when, table, got[table], n)
		}
	}
}
