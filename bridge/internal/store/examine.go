package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Examination is what can be seen of a database without changing anything that is there.
type Examination struct {
	// Server is its version, as it says it.
	Server string
	// ReadOnly servers take no writes: a replica's or a reader's address was given.
	ReadOnly bool
	// Denied are the rights that the user lacks, in the words of GRANT.
	Denied []string
	// Templates is why tables of the cache cannot be made yet; nil: they can.
	Templates error
	// Ahead is how far the server's clock is before this host's, Within how well that is known.
	Ahead, Within time.Duration
	// MaximumPacket is max_allowed_packet in bytes.
	MaximumPacket int64
	// Collation of the database.
	Collation string
	// OldPlugin are tables of the replaced plugin that were written within the last ten minutes.
	OldPlugin []string
	// Newer is the version of the fairlead_* tables, if a newer bridge made them than this program knows; 0: none did.
	Newer int64
	// Namespaces are the table namespaces that caches of Clouddriver in this database have; "": none.
	Namespaces []string
}

// Examine looks at the database. It makes a table fairlead_doctor_… of its own and drops it again, which shows what the user may do.
func (s *Store) Examine(ctx context.Context) (Examination, error) {
	e := Examination{}
	before := time.Now()
	var clock int64
	if err := s.db.QueryRowContext(ctx, "SELECT "+now).Scan(&clock); err != nil {
		return e, err
	}
	e.Within = time.Since(before)
	e.Ahead = time.UnixMilli(clock).Sub(before.Add(e.Within / 2))
	var readOnly, innodbReadOnly int
	if err := s.db.QueryRowContext(ctx, "SELECT VERSION(), @@global.read_only, @@innodb_read_only, @@max_allowed_packet, @@collation_database").
		Scan(&e.Server, &readOnly, &innodbReadOnly, &e.MaximumPacket, &e.Collation); err != nil {
		return e, err
	}
	e.ReadOnly = readOnly != 0 || innodbReadOnly != 0
	var err error
	if !e.ReadOnly {
		if e.Denied, err = s.tryRights(ctx); err != nil {
			return e, err
		}
	}
	if e.Templates = s.templatesDone(ctx); e.Templates != nil && !IsNoTable(e.Templates) {
		return e, e.Templates
	}
	if e.OldPlugin, err = s.oldPlugin(ctx); err != nil {
		return e, err
	}
	if e.Namespaces, err = s.namespaces(ctx); err != nil {
		return e, err
	}
	e.Newer, err = s.newerSchema(ctx)
	return e, err
}

// What a server says when a user may not.
const (
	errDatabaseDenied = 1044 // ER_DBACCESS_DENIED_ERROR
	errTableDenied    = 1142 // ER_TABLEACCESS_DENIED_ERROR
	errSpecificDenied = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
)

func denied(err error) bool {
	n := number(err)
	return n == errDatabaseDenied || n == errTableDenied || n == errSpecificDenied
}

// tryRights does what bridges do, to a table of its own, and returns the rights that were missing.
func (s *Store) tryRights(ctx context.Context) (lacks []string, err error) {
	table := "fairlead_doctor_" + strings.ToLower(rand.Text()[:8])
	for _, try := range []struct{ right, statement string }{
		{"CREATE", "CREATE TABLE {t} (id int NOT NULL, v int NOT NULL, PRIMARY KEY (id))"},
		{"ALTER", "ALTER TABLE {t} ADD COLUMN w int NOT NULL DEFAULT 0"},
		{"INDEX", "CREATE INDEX v_idx ON {t} (v)"},
		{"INSERT", "INSERT INTO {t} (id, v) VALUES (1, 1)"},
		{"SELECT", "SELECT COUNT(*) FROM {t}"},
		{"UPDATE", "UPDATE {t} SET v = 2"},
		{"DELETE", "DELETE FROM {t}"},
		{"DROP", "DROP TABLE {t}"},
	} {
		_, err := s.db.ExecContext(ctx, strings.ReplaceAll(try.statement, "{t}", table))
		switch {
		case denied(err):
			if lacks = append(lacks, try.right); try.right == "CREATE" {
				return lacks, nil // without a table there is nothing to try the others on
			}
		case err != nil:
			return lacks, fmt.Errorf("try the right %s: %w", try.right, err)
		}
	}
	return lacks, nil
}

// oldPlugin finds tables of the replaced plugin that are still written. The server forgets the times when it starts, so an old installation
// whose tables merely are there is not found.
func (s *Store) oldPlugin(ctx context.Context) ([]string, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	// MySQL 8 answers from a copy that is up to a day old otherwise; MariaDB has no such variable, and no such copy.
	_, _ = conn.ExecContext(ctx, "SET SESSION information_schema_stats_expiry = 0")
	return collectStrings(conn.QueryContext(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
 AND table_name LIKE 'kubesvc\_%' AND update_time > NOW() - INTERVAL 10 MINUTE ORDER BY table_name`))
}

// namespaces finds what stands between cats_v1_ and the name of the table that every Clouddriver makes.
func (s *Store) namespaces(ctx context.Context) ([]string, error) {
	names, err := collectStrings(s.db.QueryContext(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
 AND table_name LIKE 'cats\_v1\_%applications' ORDER BY table_name`))
	for i, name := range names {
		names[i] = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "cats_v1_"), "applications"), "_")
	}
	return names, err
}

// newerSchema is the version of the fairlead_* tables if this program does not know it.
func (s *Store) newerSchema(ctx context.Context) (int64, error) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, err
	}
	var known, stored int64
	if _, err := fmt.Sscanf(files[len(files)-1].Name(), "%d_", &known); err != nil {
		return 0, err
	}
	err = s.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+schemaTable).Scan(&stored)
	switch {
	case IsNoTable(err) || errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil || stored <= known:
		return 0, err
	}
	return stored, nil
}

// IsDenied tells whether the server does not know the user, or its password is wrong.
func IsDenied(err error) bool {
	return number(err) == errAccessDenied || number(err) == errDatabaseDenied
}

const errAccessDenied = 1045 // ER_ACCESS_DENIED_ERROR
