// Package storetest gives tests of the bridge a database of their own on a real server: a MariaDB that they start or, where
// FAIRLEAD_TEST_MYSQL_DSN names one, a MySQL server on which they may do everything (CONTRIBUTING.md).
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/testenv"
)

// mysqlVariable names the server that tests use in place of a MariaDB of their own.
const mysqlVariable = "FAIRLEAD_TEST_MYSQL_DSN"

// Server is a running server on which tests make databases.
type Server struct {
	// PID of the server's process; 0: it is not ours to stop.
	PID int
	// MariaDB tells the two kinds apart.
	MariaDB bool

	dsn string
}

// Start starts a server that lives as long as the test; its subtests share it.
func Start(t testing.TB) *Server {
	t.Helper()
	if dsn := os.Getenv(mysqlVariable); dsn != "" {
		return &Server{dsn: dsn}
	}
	running := testenv.MySQL(t)
	return &Server{PID: running.PID, MariaDB: true, dsn: running.DSN}
}

// DB is one test's database.
type DB struct {
	// Name of the database, and how to reach it.
	Name string
	DSN  string
	// SQL is for what a test wants to see or break behind the store's back.
	SQL     *sql.DB
	MariaDB bool
}

// Database makes a database with the templates of Clouddriver's cache and nothing else.
func (s *Server) Database(t testing.TB) *DB {
	t.Helper()
	cfg, err := mysql.ParseDSN(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DBName, cfg.MultiStatements = "", true
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	d := &DB{Name: "test_" + strings.ToLower(rand.Text()[:12]), MariaDB: s.MariaDB}
	if _, err := admin.ExecContext(t.Context(), fmt.Sprintf("CREATE DATABASE %s CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", d.Name)); err != nil {
		t.Fatal(err)
	}
	if !s.MariaDB {
		t.Cleanup(func() { _, _ = admin.ExecContext(context.WithoutCancel(t.Context()), "DROP DATABASE "+d.Name) })
	}
	cfg.DBName = d.Name
	d.DSN = cfg.FormatDSN()
	if d.SQL, err = sql.Open("mysql", d.DSN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.SQL.Close() })
	for _, table := range testenv.CacheTemplates() {
		d.Exec(t, table)
	}
	return d
}

// Open opens a store on the database; the tables are migrated.
func (d *DB) Open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{DSN: d.DSN, Log: slog.New(slog.DiscardHandler), MaxConnections: 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	// A server that is there migrates at once; what fails is tried again for ever otherwise.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// Restricted is how a user reaches the database who may do everything in it and nothing else, as an install grants it.
func (d *DB) Restricted(t testing.TB) (dsn string) {
	t.Helper()
	cfg, err := mysql.ParseDSN(d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Passwd = d.Name, rand.Text()
	d.Exec(t, fmt.Sprintf("CREATE USER %s@'127.0.0.1' IDENTIFIED BY '%s'; GRANT ALL ON %s.* TO %[1]s@'127.0.0.1'", cfg.User, cfg.Passwd, d.Name))
	t.Cleanup(func() { d.Exec(t, fmt.Sprintf("DROP USER %s@'127.0.0.1'", cfg.User)) })
	return cfg.FormatDSN()
}

// Exec runs a statement behind the store's back.
func (d *DB) Exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := d.SQL.ExecContext(context.WithoutCancel(t.Context()), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Strings reads one column.
func (d *DB) Strings(t testing.TB, query string, args ...any) []string {
	t.Helper()
	rows, err := d.SQL.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// Count counts the rows of a table that a condition selects.
func (d *DB) Count(t testing.TB, table, condition string, args ...any) int {
	t.Helper()
	var n int
	if err := d.SQL.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE "+condition, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Changed returns how many rows were ever written in the database's cache tables. A MySQL server counts those of all its tables.
func (d *DB) Changed(t testing.TB) int {
	t.Helper()
	query := `SELECT SUM(ROWS_CHANGED) FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = '` + d.Name + `' AND TABLE_NAME LIKE 'cats\_v1%'`
	if !d.MariaDB {
		query = `SELECT SUM(COUNT) FROM information_schema.INNODB_METRICS WHERE NAME IN ('dml_inserts', 'dml_updates', 'dml_deletes')`
	}
	var n sql.NullInt64
	if err := d.SQL.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return int(n.Int64)
}

// Deadlocks returns how many deadlocks the server has broken.
func (d *DB) Deadlocks(t testing.TB) int {
	t.Helper()
	query := `SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'`
	if !d.MariaDB {
		query = `SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'`
	}
	var n int
	if err := d.SQL.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// PrintDeadlock logs what the server knows of its latest deadlock.
func (d *DB) PrintDeadlock(t testing.TB) {
	t.Helper()
	var kind, name, text string
	if err := d.SQL.QueryRowContext(t.Context(), "SHOW ENGINE INNODB STATUS").Scan(&kind, &name, &text); err != nil {
		t.Fatal(err)
	}
	_, text, _ = strings.Cut(text, "LATEST DETECTED DEADLOCK")
	text, _, _ = strings.Cut(text, "\nTRANSACTIONS\n")
	t.Log(text)
}
