package store

import (
	"context"
	"errors"
	"fmt"
)

// OwnTables lists the tables that are ours, fairlead_*.
func (s *Store) OwnTables(ctx context.Context) ([]string, error) {
	names, err := collectStrings(s.db.QueryContext(ctx,
		`SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'fairlead\_%' ORDER BY table_name`))
	if err != nil {
		return nil, fmt.Errorf("list our tables: %w", err)
	}
	return names, nil
}

// DropOwnTables drops them. No bridge migrates meanwhile; one that runs can write nothing of the cache any more, because its fences are gone.
func (s *Store) DropOwnTables(ctx context.Context) (err error) {
	unlock, err := s.lockMigrations(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	names, err := s.OwnTables(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := s.db.ExecContext(ctx, "DROP TABLE IF EXISTS "+quote(name)); err != nil {
			return fmt.Errorf("drop table %s: %w", name, err)
		}
	}
	return nil
}
