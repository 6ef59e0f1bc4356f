package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Account is a row of fairlead_account.
type Account struct {
	Name string
	// fairlead.link.v1.Account and .Facts as JSON.
	Declaration string
	Facts       string
	Agent       string
	// Milliseconds since 1970; the end of its last session, 0 when there was none.
	LastSeen int64
	// It was taken out and its rows are being deleted.
	Removing bool
	Revision uint64
}

// Folded is the form of an account's name in which names that differ only in case are equal.
func Folded(name string) string { return strings.ToLower(name) }

// AccountRevisions returns the revision of every account. Those that are being removed have revision 0.
func (s *Store) AccountRevisions(ctx context.Context) (map[string]uint64, error) {
	rows, err := s.db.QueryContext(ctx, accountRevisions.sql("fairlead_account", "", 0))
	if err != nil {
		return nil, fmt.Errorf("revisions of accounts: %w", err)
	}
	defer rows.Close()
	list := map[string]uint64{}
	for rows.Next() {
		var name string
		var removing bool
		var revision uint64
		if err := rows.Scan(&name, &removing, &revision); err != nil {
			return nil, err
		}
		if removing {
			revision = 0
		}
		list[name] = revision
	}
	return list, rows.Err()
}

// Accounts returns the accounts with the given names that are there.
func (s *Store) Accounts(ctx context.Context, names []string) ([]Account, error) {
	var list []Account
	for len(names) > 0 {
		n := min(len(names), 500)
		rows, err := s.db.QueryContext(ctx, statement{text: `SELECT name, declaration, facts, agent, last_seen, removing, revision FROM {table} WHERE name IN ({list})`}.
			sql("fairlead_account", "?", n), anys(names[:n])...)
		if err != nil {
			return nil, fmt.Errorf("accounts: %w", err)
		}
		if list, err = collectAccounts(list, rows); err != nil {
			return nil, err
		}
		names = names[n:]
	}
	return list, nil
}

func collectAccounts(list []Account, rows *sql.Rows) ([]Account, error) {
	defer rows.Close()
	for rows.Next() {
		var a Account
		if err := rows.Scan(&a.Name, &a.Declaration, &a.Facts, &a.Agent, &a.LastSeen, &a.Removing, &a.Revision); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// nextRevision rises with each change and never falls back, even when an account goes and comes again.
const nextRevision = "GREATEST(revision + 1, " + now + ")"

// PutAccount stores what an agent declares and returns the account's new revision. It ends a removal under way. It
// returns ErrTaken when a name exists that differs only in case.
func (s *Store) PutAccount(ctx context.Context, name, declaration, agent string) (revision uint64, err error) {
	// Replicas that start together declare the same new account at one moment: then one of them makes the row, and the others find it.
	const tries = 5
	for range tries {
		revision, err = s.putAccount(ctx, name, declaration, agent)
		if number(err) == errDuplicateEntry {
			if other := s.otherName(ctx, name); other != "" {
				return 0, fmt.Errorf("%w: %q", ErrTaken, other)
			}
		} else if !IsConflict(err) {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("store account %q: %w", name, err)
	}
	return revision, nil
}

func (s *Store) putAccount(ctx context.Context, name, declaration, agent string) (revision uint64, err error) {
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE fairlead_account SET declaration = ?, agent = ?, removing = FALSE, revision = `+nextRevision+` WHERE name = ?`,
			declaration, agent, name)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if _, err := tx.ExecContext(ctx, `INSERT INTO fairlead_account (name, folded, declaration, facts, agent, last_seen, removing, revision)
 VALUES (?, ?, ?, '{}', ?, 0, FALSE, `+now+`)`, name, Folded(name), declaration, agent); err != nil {
				return err
			}
		}
		return tx.QueryRowContext(ctx, `SELECT revision FROM fairlead_account WHERE name = ?`, name).Scan(&revision)
	})
	return revision, err
}

// otherName is an account whose name differs only in case; "": there is none, or nobody can tell.
func (s *Store) otherName(ctx context.Context, name string) string {
	var holder string
	if err := s.db.QueryRowContext(ctx, `SELECT name FROM fairlead_account WHERE folded = ?`, Folded(name)).Scan(&holder); err != nil || holder == name {
		return ""
	}
	return holder
}

// PutFacts stores what an agent knows of an account's cluster. An account that has gone stays gone.
func (s *Store) PutFacts(ctx context.Context, name, facts string) (revision uint64, err error) {
	if _, err := s.db.ExecContext(ctx, `UPDATE fairlead_account SET facts = ?, revision = `+nextRevision+` WHERE name = ? AND NOT removing`, facts, name); err != nil {
		return 0, fmt.Errorf("store facts of account %q: %w", name, err)
	}
	err = s.db.QueryRowContext(ctx, `SELECT revision FROM fairlead_account WHERE name = ? AND NOT removing`, name).Scan(&revision)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return revision, err
}

// MarkRemoving takes an account out of the list; its row stays until its cache rows are gone. It tells whether the account was there.
func (s *Store) MarkRemoving(ctx context.Context, name string) (bool, error) {
	done, err := s.db.ExecContext(ctx, `UPDATE fairlead_account SET removing = TRUE, revision = `+nextRevision+` WHERE name = ?`, name)
	if err != nil {
		return false, fmt.Errorf("remove account %q: %w", name, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// DeleteAccount ends a removal, unless an agent has declared the account again in the meantime.
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM fairlead_account WHERE name = ? AND removing`, name); err != nil {
		return fmt.Errorf("remove account %q: %w", name, err)
	}
	return nil
}

// StockNames returns the names of accounts that have rows in Clouddriver's cache and are equal to name but for case.
// Accounts of Clouddriver's own configuration show there.
func (s *Store) StockNames(ctx context.Context, table, name string) ([]string, error) {
	agents, err := collectStrings(s.db.QueryContext(ctx, `SELECT DISTINCT agent FROM `+quote(table)+` WHERE agent LIKE ?`, likePrefix(name+"/")))
	if IsNoTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("accounts like %q in %s: %w", name, table, err)
	}
	var others []string
	for _, agent := range agents {
		if other, _, _ := strings.Cut(agent, "/"); other != name {
			others = append(others, other)
		}
	}
	return others, nil
}
