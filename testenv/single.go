package testenv

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
)

// Database is a MariaDB server of one test.
type Database struct {
	// DSN is how a user with all rights reaches database clouddriver, as go-sql-driver writes it.
	DSN string
	// PID is the server's process; Log its log.
	PID int
	Log string
}

// MySQL starts a MariaDB for one test: an empty database clouddriver with the templates of Clouddriver's cache tables. It
// takes about a second; tests that can share one should be subtests. The test is skipped where MariaDB cannot be had.
func MySQL(t testing.TB) *Database {
	t.Helper()
	ctx := t.Context()
	cache := openCache(t)
	dir := t.TempDir()
	server, err := newMariaDB(filepath.Join(dir, "mysql"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.removeData(); err != nil {
			t.Error(err)
		}
	})
	spec, err := server.install(ctx, cache)
	SkipMissing(t, "a database", err)
	p := startForTest(t, filepath.Join(dir, "processes"), spec)
	if err := server.ready(ctx, p); err != nil {
		t.Fatal(err)
	}
	return &Database{DSN: server.dsn(allUser), PID: p.PID, Log: p.Log}
}

// RowsChanged returns how many rows were written (inserted, updated to something else, or deleted) in each table of the
// database since the server started. Tables never written to are not in it.
func (d *Database) RowsChanged(ctx context.Context) (map[string]int64, error) {
	return rowsChanged(ctx, d.DSN)
}

func rowsChanged(ctx context.Context, dsn string) (map[string]int64, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, "SELECT TABLE_NAME, ROWS_CHANGED FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = ? AND ROWS_CHANGED > 0", databaseName)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	changed := map[string]int64{}
	for rows.Next() {
		var table string
		var count int64
		if err := rows.Scan(&table, &count); err != nil {
			return nil, err
		}
		changed[table] = count
	}
	return changed, rows.Err()
}

// Cluster is a running control plane.
type Cluster struct {
	// Kubeconfig is the file of an administrator.
	Kubeconfig string
	// Etcd is the URL of its etcd, which asks for no credentials.
	Etcd string
	// PID is its process; Log its log.
	PID int
	Log string
}

// sharedCluster is the control plane that all tests of a process use.
var sharedCluster struct {
	sync.Mutex

	cluster *Cluster
	err     error
}

// Kube gives a test the control plane (API server and controllers, no nodes) that all tests of its process share: the
// first call starts it, which takes five seconds, and it ends with the process. Tests keep apart by namespaces of their
// own. The test is skipped where no control plane can be had.
func Kube(t testing.TB) *Cluster {
	t.Helper()
	sharedCluster.Lock()
	defer sharedCluster.Unlock()
	if sharedCluster.cluster == nil && sharedCluster.err == nil {
		sharedCluster.cluster, sharedCluster.err = startSharedCluster(t)
	}
	SkipMissing(t, "a cluster", sharedCluster.err)
	return sharedCluster.cluster
}

func startSharedCluster(t testing.TB) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // a first build takes minutes
	defer cancel()
	cache := openCache(t)
	program, err := cache.Go(ctx, build.Kube())
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairlead-kube-")
	if err != nil {
		return nil, err
	}
	plane, err := newKube(filepath.Join(dir, "kube"))
	if err != nil {
		return nil, err
	}
	spec := plane.spec(program, filepath.Join(dir, "kube.log"))
	// Nobody is left to remove it when the tests' process has ended.
	spec.Args = append(spec.Args, "--remove="+dir)
	spec.DiesWithParent = true
	table, err := process.OpenTable(filepath.Join(dir, "processes"))
	if err != nil {
		return nil, err
	}
	p, err := table.Start(spec)
	if err != nil {
		return nil, err
	}
	if err := plane.ready(ctx, p); err != nil {
		return nil, errors.Join(err, p.Kill(ctx))
	}
	return &Cluster{Kubeconfig: plane.kubeconfig(), Etcd: "http://" + loopback(plane.etcdPort), PID: p.PID, Log: p.Log}, nil
}

// startForTest starts a process that ends with the test.
func startForTest(t testing.TB, dir string, spec process.Spec) *process.Process {
	t.Helper()
	table, err := process.OpenTable(dir)
	if err != nil {
		t.Fatal(err)
	}
	spec.DiesWithParent = true
	p, err := table.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.End(context.Background(), 10*time.Second); err != nil {
			t.Error(err)
		}
	})
	return p
}

func openCache(t testing.TB) *build.Cache {
	t.Helper()
	cache, err := build.Open()
	if err != nil {
		t.Fatal(err)
	}
	cache.Tell = func(text string) { t.Log(text) }
	return cache
}
