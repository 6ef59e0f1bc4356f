package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable is where goose keeps which migrations ran. Its own name: Clouddriver's database may see other users of goose.
const schemaTable = "fairlead_schema"

// Migrate brings the fairlead_* tables to this version. Bridges that start together take turns.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return s.migrate(ctx, files)
}

func (s *Store) migrate(ctx context.Context, files fs.FS) (err error) {
	provider, err := goose.NewProvider(goose.DialectMySQL, s.db, files,
		goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		// It has not spoken to the database yet: two files of one number, for example.
		return permanentError{fmt.Errorf("this program's own migrations cannot be used, install another version: %w", err)}
	}
	// Not goose's own locker: goose v3.29 looks for pending migrations before it takes it, and then fails when another process is
	// just making the version table.
	unlock, err := s.lockMigrations(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	results, err := provider.Up(ctx)
	switch {
	case err != nil && (isSchema(err) || strings.Contains(err.Error(), "missing (out-of-order) migration")):
		return permanentError{fmt.Errorf("migrate the fairlead_* tables: %w: they are not as this version's migrations left them; "+
			"undo what was changed by hand, or restore them and %s", err, schemaTable)}
	case err != nil:
		return fmt.Errorf("migrate the fairlead_* tables: %w", err)
	}
	for _, r := range results {
		s.log.Info("migration applied", "migration", r.Source.Path, "duration", r.Duration)
	}
	return nil
}

// migrationLock names a lock of the server, which goes when its connection goes. The name holds the database's, because such locks are the
// whole server's.
const migrationLock = "CONCAT('fairlead_schema.', LEFT(SHA2(DATABASE(), 256), 16))"

func (s *Store) lockMigrations(ctx context.Context) (unlock func() error, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK("+migrationLock+", 30)").Scan(&got); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if got.Int64 != 1 {
		return nil, errors.Join(errors.New("another bridge is migrating the tables and has not finished yet"), conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK("+migrationLock+")")
		return errors.Join(err, conn.Close())
	}, nil
}

// Prepare waits until the database answers and brings our tables up to date. It tries until ctx ends, and says what it
// waits for: at once, and then less and less often. An error that no waiting cures ends it.
func (s *Store) Prepare(ctx context.Context) error {
	return s.persist(ctx, "database", s.Migrate)
}

// The templates that Clouddriver's own migrations make; every table of the cache is made like one of them.
const (
	rowTemplate  = "cats_v1_resource_template"
	linkTemplate = "cats_v1_rel_template"
	// lastIndex is what the last of these migrations adds, to rowTemplate (change set application-index of 20181120-cats.yml, in
	// every Clouddriver since 1.28). A table made like a template before that would never get the columns that are added after:
	// Clouddriver's inserts into it would fail for good.
	lastIndex = "application_idx"
)

// WaitForTemplates waits until Clouddriver has made the templates of its cache tables, and has done everything to them that its
// migrations do.
func (s *Store) WaitForTemplates(ctx context.Context) error {
	return s.persist(ctx, "Clouddriver's cats_v1 template tables (Clouddriver makes them when it starts for the first time)", s.templatesDone)
}

// templatesDone returns ErrNoTable while tables of the cache cannot be made.
func (s *Store) templatesDone(ctx context.Context) error {
	for _, name := range []string{rowTemplate, linkTemplate} {
		found, err := s.tableExists(ctx, name)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("table %s: %w", name, ErrNoTable)
		}
	}
	done, err := s.indexExists(ctx, rowTemplate, lastIndex)
	if err == nil && !done {
		err = fmt.Errorf("table %s is not as Clouddriver needs it yet, its migrations are under way: %w", rowTemplate, ErrNoTable)
	}
	return err
}

// permanentError is one that another try meets again.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// persist calls f until it succeeds, fails for good, or ctx ends.
func (s *Store) persist(ctx context.Context, what string, f func(context.Context) error) error {
	const (
		firstPause = 250 * time.Millisecond
		lastPause  = 5 * time.Second
		quiet      = 30 * time.Second
	)
	pause, said, began := firstPause, time.Time{}, time.Now()
	for {
		err := f(ctx)
		if err == nil {
			if !said.IsZero() {
				s.log.Info("no longer waiting", "for", what, "database", s.address, "waited", time.Since(began).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if permanent := (permanentError{}); errors.As(err, &permanent) {
			return permanent
		}
		if time.Since(said) >= quiet {
			s.log.Warn("waiting", "for", what, "database", s.address, "waited", time.Since(began).Round(time.Second), "error", err)
			said = time.Now()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}

func (s *Store) indexExists(ctx context.Context, table, index string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ?",
		table, index).Scan(&n)
	return n > 0, err
}

func (s *Store) tableExists(ctx context.Context, name string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?", name).Scan(&n)
	return n > 0, err
}
