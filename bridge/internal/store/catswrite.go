package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Row is a row of a table of Clouddriver's cache.
type Row struct {
	ID    string
	Agent string
	// Lower-case hex of the body's SHA-256.
	Hash string
	Body string
}

// Link is a row of a _rel table of Clouddriver's cache.
type Link struct {
	UUID     string
	ID       string
	RelID    string
	RelAgent string
	RelType  string
}

// TableChange is what a transaction does to one table of rows and to its table of links.
type TableChange struct {
	// Names of the two tables; a table that is not needed may be "".
	Rows  string
	Links string

	Put         []Row
	Delete      []Row // ID and Agent
	PutLinks    []Link
	DeleteLinks []string // UUIDs
	// Folds says that ids of this type may be equal under the collation although they differ. Rows that could not be
	// stored for that reason are then reported.
	Folds bool
	// Shared says that Clouddriver's own accounts delete rows of the type whoever wrote them.
	Shared bool
}

// CacheResult is what a committed cache transaction did.
type CacheResult struct {
	// Accounts that were left out, because their fence has another epoch.
	Fenced map[string]bool
	// Rows that were not stored: another id that is equal under the collation is there.
	Collided []Row
	// Rows and links that were deleted.
	Deleted int
}

// Statements stay below these, far from any max_allowed_packet.
const (
	statementRows  = 200
	statementBytes = 2 << 20
	overhead       = 256 // bytes of a row besides its body, about
)

// WriteCache writes to Clouddriver's tables in one transaction. The fences, sorted by account, are held until the
// commit. changes is called with the accounts that are fenced out and returns what to do for the others.
//
// Tables must exist: IsNoTable tells that one has gone, EnsureTables brings it back.
func (s *Store) WriteCache(ctx context.Context, fences []Fence, changes func(fenced map[string]bool) []TableChange) (CacheResult, error) {
	var result CacheResult
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		fenced, err := holdFences(ctx, tx, fences)
		if err != nil {
			return err
		}
		result = CacheResult{Fenced: fenced}
		tables := changes(fenced)
		slices.SortFunc(tables, func(a, b TableChange) int { return strings.Compare(a.Rows+a.Links, b.Rows+b.Links) })
		for i := range tables {
			if err := applyTable(ctx, tx, &tables[i], &result); err != nil {
				return err
			}
		}
		return nil
	})
	return result, err
}

func applyTable(ctx context.Context, tx *sql.Tx, t *TableChange, result *CacheResult) error {
	if err := applyRows(ctx, tx, t, result); err != nil {
		return fmt.Errorf("write %s: %w", t.Rows, err)
	}
	if err := deleteCacheLinks(ctx, tx, t, result); err != nil {
		return fmt.Errorf("delete from %s: %w", t.Links, err)
	}
	if err := putCacheLinks(ctx, tx, t); err != nil {
		return fmt.Errorf("write %s: %w", t.Links, err)
	}
	return nil
}

// applyRows deletes and puts rows in the order of the primary key.
//
// A row of a shared table may be waited for by Clouddriver's eviction (SqlCache.evictAll), which walks the primary key and holds what it has
// passed, rows that were deleted and not purged yet among them. There, deletions and puts are one pass in that same order: in any other one,
// it and a transaction of ours would wait for each other, and its statement would be the one to fail.
func applyRows(ctx context.Context, tx *sql.Tx, t *TableChange, result *CacheResult) error {
	slices.SortFunc(t.Put, compareRows)
	slices.SortFunc(t.Delete, compareRows)
	put, gone := t.Put, t.Delete
	for len(put)+len(gone) > 0 {
		deletes, puts := len(gone), len(put)
		if t.Shared {
			deletes, puts = nextRuns(gone, put)
		}
		// Deletions first: an id that goes may make room for one that is equal under the collation.
		if err := deleteCacheRows(ctx, tx, t.Rows, gone[:deletes], result); err != nil {
			return err
		}
		if err := putCacheRows(ctx, tx, t.Rows, put[:puts]); err != nil {
			return err
		}
		gone, put = gone[deletes:], put[puts:]
	}
	if !t.Folds {
		return nil
	}
	return byAgent(t.Put, func(agent string, rows []Row) error {
		collided, err := absentRows(ctx, tx, t.Rows, agent, rows)
		result.Collided = append(result.Collided, collided...)
		return err
	})
}

// nextRuns tells how many deletions come before the first put, and then how many puts before the next deletion. A row that goes to make
// room for one that is equal under the collation goes first, whatever their order in bytes: put first, the new one would become the old one.
func nextRuns(gone, put []Row) (deletes, puts int) {
	for deletes < len(gone) && (len(put) == 0 || compareKeys(gone[deletes], put[0]) <= 0) {
		deletes++
	}
	for puts < len(put) && (deletes == len(gone) || compareKeys(put[puts], gone[deletes]) < 0) {
		puts++
	}
	return deletes, puts
}

func putCacheRows(ctx context.Context, tx *sql.Tx, table string, rows []Row) error {
	for len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && n < statementRows && (n == 0 || size+len(rows[n].Body) <= statementBytes) {
			size += len(rows[n].Body)
			n++
		}
		text := putRows.with(table, n, size+n*overhead, func(text *strings.Builder, i int) {
			writeTuple(text, rows[i].ID, rows[i].Agent, rows[i].Hash, rows[i].Body)
		})
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// absentRows returns the rows of an agent whose exact id and agent the table does not hold.
func absentRows(ctx context.Context, tx *sql.Tx, table, agent string, rows []Row) ([]Row, error) {
	args := make([]any, 0, len(rows)+2)
	args = append(args, agent, agent)
	for _, r := range rows {
		args = append(args, r.ID)
	}
	ids, err := collectStrings(tx.QueryContext(ctx, presentRows.sql(table, "?", len(rows)), args...))
	if err != nil {
		return nil, err
	}
	present := make(map[string]bool, len(ids))
	for _, id := range ids {
		present[id] = true
	}
	var absent []Row
	for _, r := range rows {
		if !present[r.ID] {
			absent = append(absent, r)
		}
	}
	return absent, nil
}

func deleteCacheRows(ctx context.Context, tx *sql.Tx, table string, rows []Row, result *CacheResult) error {
	for part := range slices.Chunk(rows, statementRows) {
		args := make([]any, 0, 2*len(part))
		for _, r := range part {
			args = append(args, r.ID, r.Agent)
		}
		done, err := tx.ExecContext(ctx, deleteRows.sql(table, "SELECT ?,?", len(part)), args...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		result.Deleted += int(n)
	}
	return nil
}

// byAgent calls f with runs of rows of one agent, each small enough for one statement.
func byAgent(rows []Row, f func(agent string, rows []Row) error) error {
	sorted := slices.SortedFunc(slices.Values(rows), func(a, b Row) int {
		if c := strings.Compare(a.Agent, b.Agent); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && n < statementRows && sorted[n].Agent == sorted[0].Agent {
			n++
		}
		if err := f(sorted[0].Agent, sorted[:n]); err != nil {
			return err
		}
		sorted = sorted[n:]
	}
	return nil
}

func putCacheLinks(ctx context.Context, tx *sql.Tx, t *TableChange) error {
	slices.SortFunc(t.PutLinks, func(a, b Link) int { return strings.Compare(a.UUID, b.UUID) })
	for part := range slices.Chunk(t.PutLinks, statementRows) {
		text := putLinks.with(t.Links, len(part), 2*len(part)*overhead, func(text *strings.Builder, i int) {
			writeTuple(text, part[i].UUID, part[i].ID, part[i].RelID, part[i].RelAgent, part[i].RelType)
		})
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func deleteCacheLinks(ctx context.Context, tx *sql.Tx, t *TableChange, result *CacheResult) error {
	slices.Sort(t.DeleteLinks)
	for part := range slices.Chunk(t.DeleteLinks, statementRows) {
		done, err := tx.ExecContext(ctx, deleteLinks.sql(t.Links, "SELECT ?", len(part)), anys(part)...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		result.Deleted += int(n)
	}
	return nil
}

// EnsureTables makes tables that are missing like Clouddriver's templates. Names that end in "_rel" are tables of links. Before
// Clouddriver has finished its templates the error is ErrNoTable.
func (s *Store) EnsureTables(ctx context.Context, names ...string) error {
	for _, name := range names {
		template := rowTemplate
		if strings.HasSuffix(name, "_rel") {
			template = linkTemplate
		}
		// Asked first, so that a user without the right to create tables can write to those that are there.
		_, err := s.db.ExecContext(ctx, "SELECT 1 FROM "+quote(name)+" LIMIT 0")
		if IsNoTable(err) {
			if err = s.templatesDone(ctx); err != nil {
				return fmt.Errorf("make table %s: %w", name, err)
			}
			_, err = s.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+quote(name)+" LIKE "+quote(template))
		}
		if err != nil {
			return fmt.Errorf("make table %s: %w", name, err)
		}
	}
	return nil
}

// HasTable tells whether one of the tables is there.
func (s *Store) HasTable(ctx context.Context, names ...string) (bool, error) {
	for _, name := range names {
		_, err := s.db.ExecContext(ctx, "SELECT 1 FROM "+quote(name)+" LIMIT 0")
		if err == nil {
			return true, nil
		}
		if !IsNoTable(err) {
			return false, fmt.Errorf("look for table %s: %w", name, err)
		}
	}
	return false, nil
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// collectStrings reads a result of one column. It takes the outcome of a query as it is.
func collectStrings(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
