package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

const (
	// rawStatement is how many rows one statement has, rawConnections how many connections write: the bridge's own limits.
	rawStatement, rawConnections = 200, 4
)

// rawTable is a table's content.
type rawTable struct {
	name    string
	columns int
	rows    [][]any
}

// contents reads the cache's tables into memory.
func contents(ctx context.Context, db *sql.DB) (tables []rawTable, err error) {
	names, err := db.QueryContext(ctx, `SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'cats\_v1\_%' AND TABLE_NAME NOT LIKE '%template'`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = names.Close() }()
	for names.Next() {
		t := rawTable{columns: 6}
		if err := names.Scan(&t.name); err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	if err := names.Err(); err != nil {
		return nil, err
	}
	for i := range tables {
		if err := tables[i].read(ctx, db); err != nil {
			return nil, err
		}
	}
	return tables, nil
}

func (t *rawTable) read(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT * FROM `"+t.name+"` ORDER BY 1") //nolint:gosec // a table's name
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		values := make([]sql.NullString, t.columns)
		targets := make([]any, t.columns)
		row := make([]any, t.columns)
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, v := range values {
			if v.Valid {
				row[i] = v.String
			}
		}
		t.rows = append(t.rows, row)
	}
	return rows.Err()
}

// upsertRaw writes the same rows to empty tables of the same kind, as fast as multi-row upserts without any check do, and returns how
// long that took.
func upsertRaw(ctx context.Context, dsn string, tables []rawTable) (time.Duration, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return 0, err
	}
	config.InterpolateParams = true
	db, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(rawConnections)
	db.SetMaxIdleConns(rawConnections)
	for _, t := range tables {
		for _, statement := range []string{"DROP TABLE IF EXISTS `raw_%s`", "CREATE TABLE `raw_%[1]s` LIKE `%[1]s`"} {
			if _, err := db.ExecContext(ctx, fmt.Sprintf(statement, t.name)); err != nil {
				return 0, err
			}
		}
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rawConnections)
	for _, t := range tables {
		for first := 0; first < len(t.rows); first += rawStatement {
			g.Go(func() error { return t.upsert(ctx, db, t.rows[first:min(first+rawStatement, len(t.rows))]) })
		}
	}
	err = g.Wait()
	return time.Since(began), err
}

func (t *rawTable) upsert(ctx context.Context, db *sql.DB, rows [][]any) error {
	update := "application = VALUES(application), body_hash = VALUES(body_hash), body = VALUES(body), last_updated = VALUES(last_updated)"
	if strings.HasSuffix(t.name, "_rel") {
		update = "last_updated = VALUES(last_updated)"
	}
	tuple := ",(" + strings.Repeat(",?", t.columns)[1:] + ")"
	args := make([]any, 0, len(rows)*t.columns)
	for _, r := range rows {
		args = append(args, r...)
	}
	_, err := db.ExecContext(ctx, "INSERT INTO `raw_"+t.name+"` VALUES "+strings.Repeat(tuple, len(rows))[1:]+" ON DUPLICATE KEY UPDATE "+update, args...)
	return err
}
