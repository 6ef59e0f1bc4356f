package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Digest is the count of a set of rows or links and the XOR of their hashes.
type Digest struct {
	Count uint64
	XOR   uint64
}

// RowDigests returns the digests of the rows of the given agents in a table. An agent without rows has the zero digest.
// A missing table has no rows.
func (s *Store) RowDigests(ctx context.Context, table string, agents []string) (map[string]Digest, error) {
	return s.digests(ctx, rowDigests, table, agents)
}

// LinkDigests is RowDigests for a table of links; rel agents are "TYPE:AGENT".
func (s *Store) LinkDigests(ctx context.Context, table string, relAgents []string) (map[string]Digest, error) {
	return s.digests(ctx, linkDigests, table, relAgents)
}

func (s *Store) digests(ctx context.Context, st statement, table string, agents []string) (map[string]Digest, error) {
	found := make(map[string]Digest, len(agents))
	rows, err := s.db.QueryContext(ctx, st.sql(table, "?", len(agents)), anys(agents)...)
	if IsNoTable(err) {
		return found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("digest of %s: %w", table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var agent string
		var d Digest
		if err := rows.Scan(&agent, &d.Count, &d.XOR); err != nil {
			return nil, err
		}
		found[agent] = d
	}
	return found, rows.Err()
}

// Entry is a row's id and the first 64 bits of its body's hash; 0 where body and hash do not fit each other.
type Entry struct {
	ID   string
	Hash uint64
}

// RowEntries lists the rows of an agent in a table, in no order. It reads their bodies.
func (s *Store) RowEntries(ctx context.Context, table, agent string) ([]Entry, error) {
	rows, err := s.db.QueryContext(ctx, rowEntries.sql(table, "", 0), agent, agent)
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("entries of %s: %w", table, err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var e Entry
		var hash string
		if err := rows.Scan(&e.ID, &hash); err != nil {
			return nil, err
		}
		// A row that somebody else wrote or edited may hold anything; a hash of 0 makes it differ.
		e.Hash, _ = strconv.ParseUint(hash, 16, 64)
		list = append(list, e)
	}
	return list, rows.Err()
}

// LinkEntries lists the links of a rel agent in a table, in no order, without RelAgent.
func (s *Store) LinkEntries(ctx context.Context, table, relAgent string) ([]Link, error) {
	rows, err := s.db.QueryContext(ctx, linkEntries.sql(table, "", 0), relAgent, relAgent)
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("entries of %s: %w", table, err)
	}
	defer rows.Close()
	var list []Link
	for rows.Next() {
		var l Link
		var id, relID, relType sql.NullString
		if err := rows.Scan(&l.UUID, &id, &relID, &relType); err != nil {
			return nil, err
		}
		l.ID, l.RelID, l.RelType = id.String, relID.String, relType.String
		list = append(list, l)
	}
	return list, rows.Err()
}

// PresentRows tells which of an agent's rows are in a table, by id; of each, ID and Agent are given. A missing table has none.
func (s *Store) PresentRows(ctx context.Context, table string, rows []Row) (map[string]bool, error) {
	byAgent := map[string][]string{}
	for _, r := range rows {
		byAgent[r.Agent] = append(byAgent[r.Agent], r.ID)
	}
	present := map[string]bool{}
	for agent, ids := range byAgent {
		for part := range slices.Chunk(ids, statementRows) {
			if err := s.present(ctx, present, presentRows.sql(table, "?", len(part)), append([]any{agent, agent}, anys(part)...)); err != nil {
				return nil, err
			}
		}
	}
	return present, nil
}

// PresentLinks tells which links are in a table, by uuid. A missing table has none.
func (s *Store) PresentLinks(ctx context.Context, table string, uuids []string) (map[string]bool, error) {
	present := map[string]bool{}
	for part := range slices.Chunk(uuids, statementRows) {
		if err := s.present(ctx, present, presentLinks.sql(table, "?", len(part)), anys(part)); err != nil {
			return nil, err
		}
	}
	return present, nil
}

func (s *Store) present(ctx context.Context, into map[string]bool, text string, args []any) error {
	ids, err := collectStrings(s.db.QueryContext(ctx, text, args...))
	if err != nil && !IsNoTable(err) {
		return fmt.Errorf("look what is there: %w", err)
	}
	for _, id := range ids {
		into[id] = true
	}
	return nil
}

// AnyRow returns the id of some row of a table; "" if it holds none.
func (s *Store) AnyRow(ctx context.Context, table string) (id string, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT id FROM "+quote(table)+" LIMIT 1").Scan(&id)
	if errors.Is(err, sql.ErrNoRows) || IsNoTable(err) {
		return "", nil
	}
	return id, err
}

// Agents lists the agents that have rows in a table or, of a table of links, the rel agents.
func (s *Store) Agents(ctx context.Context, table string, links bool) ([]string, error) {
	st := agentsOf
	if links {
		st = relAgentsOf
	}
	list, err := collectStrings(s.db.QueryContext(ctx, st.sql(table, "", 0)))
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agents in %s: %w", table, err)
	}
	return list, nil
}

// CacheTables lists the tables of Clouddriver's cache, without its templates: those of rows and those of links.
func (s *Store) CacheTables(ctx context.Context) (rows, links []string, err error) {
	names, err := collectStrings(s.db.QueryContext(ctx,
		`SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'cats\_v1\_%' ORDER BY table_name`))
	if err != nil {
		return nil, nil, fmt.Errorf("list the tables of the cache: %w", err)
	}
	for _, name := range names {
		switch {
		case name == rowTemplate || name == linkTemplate:
		case strings.HasSuffix(name, "_rel"):
			links = append(links, name)
		default:
			rows = append(rows, name)
		}
	}
	return rows, links, nil
}

// RowsOfAccount lists up to limit rows that any agent of the account wrote to a table: ID and Agent.
func (s *Store) RowsOfAccount(ctx context.Context, table, account string, limit int) ([]Row, error) {
	prefix := likePrefix(account + "/")
	rows, err := s.db.QueryContext(ctx, rowsOfAccount.sql(table, "", 0), prefix, prefix, limit)
	return collectRows(table, account, rows, err)
}

// RowsOfOthers is RowsOfAccount without the rows of one agent.
func (s *Store) RowsOfOthers(ctx context.Context, table, account, agent string, limit int) ([]Row, error) {
	prefix := likePrefix(account + "/")
	rows, err := s.db.QueryContext(ctx, rowsOfOthers.sql(table, "", 0), prefix, agent, prefix, limit)
	return collectRows(table, account, rows, err)
}

func collectRows(table, account string, rows *sql.Rows, err error) ([]Row, error) {
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rows of account %q in %s: %w", account, table, err)
	}
	defer rows.Close()
	var list []Row
	for rows.Next() {
		var r Row
		if err := rows.Scan(&r.ID, &r.Agent); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// LinksOfAccount lists up to limit links to relType that any agent of the account wrote to a table: UUID and ID.
func (s *Store) LinksOfAccount(ctx context.Context, table, relType, account string, limit int) ([]Link, error) {
	prefix := likePrefix(relType + ":" + account + "/")
	rows, err := s.db.QueryContext(ctx, linksOfAccount.sql(table, "", 0), prefix, prefix, limit)
	return collectLinks(table, account, rows, err)
}

// LinksOfOthers is LinksOfAccount without the links of one rel agent.
func (s *Store) LinksOfOthers(ctx context.Context, table, relType, account, relAgent string, limit int) ([]Link, error) {
	prefix := likePrefix(relType + ":" + account + "/")
	rows, err := s.db.QueryContext(ctx, linksOfOthers.sql(table, "", 0), prefix, relAgent, prefix, limit)
	return collectLinks(table, account, rows, err)
}

func collectLinks(table, account string, rows *sql.Rows, err error) ([]Link, error) {
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("links of account %q in %s: %w", account, table, err)
	}
	defer rows.Close()
	var list []Link
	for rows.Next() {
		var l Link
		var id sql.NullString
		if err := rows.Scan(&l.UUID, &id); err != nil {
			return nil, err
		}
		l.ID = id.String
		list = append(list, l)
	}
	return list, rows.Err()
}

// LinkTypes lists the types that the links of a table lead to.
func (s *Store) LinkTypes(ctx context.Context, table string) ([]string, error) {
	list, err := collectStrings(s.db.QueryContext(ctx, linkTypes.sql(table, "", 0)))
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("types linked from %s: %w", table, err)
	}
	return list, nil
}

// Probe asks which tables hold anything of an account: one row each.
type Probe struct {
	Table string
	// The type that links lead to; "" for a table of rows.
	RelType string
}

// ProbeAccount returns, for each probe that finds something, the id of one row or link. The tables must exist.
func (s *Store) ProbeAccount(ctx context.Context, account string, probes []Probe) (map[Probe]string, error) {
	found := map[Probe]string{}
	if len(probes) == 0 {
		return found, nil
	}
	var text strings.Builder
	args := make([]any, 0, 2*len(probes))
	for i, p := range probes {
		if i > 0 {
			text.WriteString(" UNION ALL ")
		}
		column, prefix := "agent", likePrefix(account+"/")
		if p.RelType != "" {
			column, prefix = "rel_agent", likePrefix(p.RelType+":"+account+"/")
		}
		fmt.Fprintf(&text, "(SELECT %d, id FROM %s WHERE %s LIKE ? AND CAST(%s AS BINARY) LIKE CAST(? AS BINARY) LIMIT 1)", i, quote(p.Table), column, column)
		args = append(args, prefix, prefix)
	}
	rows, err := s.db.QueryContext(ctx, text.String(), args...)
	if err != nil {
		return nil, fmt.Errorf("tables that hold account %q: %w", account, err)
	}
	defer rows.Close()
	for rows.Next() {
		var i int
		var id sql.NullString
		if err := rows.Scan(&i, &id); err != nil {
			return nil, err
		}
		found[probes[i]] = id.String
	}
	return found, rows.Err()
}
