// Package storetest gives tests of the bridge a database of their own on a real server.
package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/testenv"
)

// Server is a running server on which tests make databases.
type Server struct {
	// PID of the server's process.
	PID int

	dsn  string
	made atomic.Int64
}

// Start starts a server that lives as long as the test; its subtests share it.
func Start(t testing.TB) *Server {
	t.Helper()
	running := testenv.MySQL(t)
	return &Server{PID: running.PID, dsn: running.DSN}
}

// DB is one test's database.
type DB struct {
	// Name of the database, and how to reach it.
	Name string
	DSN  string
	// SQL is for what a test wants to see or break behind the store's back.
	SQL *sql.DB
}

// Database makes a database with the templates of Clouddriver's cache and nothing else.
func (s *Server) Database(t testing.TB) *DB {
	t.Helper()
	cfg, err := mysql.ParseDSN(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	from := cfg.DBName
	cfg.DBName, cfg.MultiStatements = fmt.Sprintf("test_%d", s.made.Add(1)), true
	d := &DB{Name: cfg.DBName, DSN: cfg.FormatDSN()}
	cfg.DBName = from
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	if _, err := admin.ExecContext(t.Context(), fmt.Sprintf(`CREATE DATABASE %[1]s CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE TABLE %[1]s.cats_v1_resource_template LIKE cats_v1_resource_template;
CREATE TABLE %[1]s.cats_v1_rel_template LIKE cats_v1_rel_template`, d.Name)); err != nil {
		t.Fatal(err)
	}
	if d.SQL, err = sql.Open("mysql", d.DSN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.SQL.Close() })
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
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
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

// Changed returns how many rows were ever written in the database's cache tables.
func (d *DB) Changed(t testing.TB) int {
	t.Helper()
	var n sql.NullInt64
	if err := d.SQL.QueryRowContext(t.Context(), `SELECT SUM(ROWS_CHANGED) FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE 'cats\_v1%'`, d.Name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return int(n.Int64)
}
