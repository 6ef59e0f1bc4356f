// Package uninstall takes out of Clouddriver's database what Fairlead put there, and tells what is left of it. It works on the database alone,
// when no bridge runs any more.
//
// Tables of Clouddriver's cache stay, empty: Clouddriver makes the same ones, and one that runs would never make again what it has seen.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// silence is how old a bridge's last heartbeat must be for the bridge to be gone: what other bridges go by.
const silence = 30 * time.Second

// Database is Clouddriver's, as bridges reach it.
type Database struct {
	store  *store.Store
	writer *cache.Writer
}

// Open reads a bridge's configuration, of which only the database counts. It connects to nothing.
func Open(file string, log *slog.Logger) (*Database, error) {
	cfg, err := config.LoadDatabase(file, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	password, err := cfg.Database.Password()
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Options{DSN: cfg.Database.DSN, Password: password, MaxConnections: cfg.Database.MaxConnections, Log: log})
	if err != nil {
		return nil, err
	}
	return &Database{store: s, writer: cache.New(cache.Options{Store: s, TableNamespace: cfg.Cache.TableNamespace, Log: log})}, nil
}

// Close closes the connections.
func (d *Database) Close() error { return d.store.Close() }

// Address is where the database is, for people.
func (d *Database) Address() string { return d.store.Address() }

// Remains is what is left of Fairlead in a database.
type Remains struct {
	// Bridges that run.
	Bridges []string
	// Accounts that were not handed back, with the types of which rows or links of theirs are there.
	Accounts map[string][]string
	// Tables that are ours.
	Tables []string
}

// None tells that nothing is left.
func (r Remains) None() bool { return len(r.Bridges)+len(r.Accounts)+len(r.Tables) == 0 }

// Find tells what is left. Of accounts that are named it tells whatever the cache holds, whoever wrote it; of others, what our tables say of them.
func (d *Database) Find(ctx context.Context, named ...string) (Remains, error) {
	found := Remains{Accounts: map[string][]string{}}
	var err error
	if found.Tables, err = d.store.OwnTables(ctx); err != nil {
		return found, err
	}
	if found.Bridges, err = d.running(ctx); err != nil {
		return found, err
	}
	declared, err := d.declared(ctx)
	if err != nil {
		return found, err
	}
	for _, account := range slices.Concat(declared, named) {
		types, err := d.types(ctx, account)
		if err != nil {
			return found, err
		}
		if len(types) > 0 || slices.Contains(declared, account) {
			found.Accounts[account] = types
		}
	}
	return found, nil
}

// running are the bridges that have told of themselves a moment ago.
func (d *Database) running(ctx context.Context) ([]string, error) {
	bridges, err := d.store.Bridges(ctx)
	if err != nil && !store.IsNoTable(err) {
		return nil, err
	}
	var names []string
	for _, b := range bridges {
		if b.Age < silence.Milliseconds() {
			names = append(names, b.Name)
		}
	}
	return names, nil
}

// declared are the accounts that agents declared and that nobody handed back.
func (d *Database) declared(ctx context.Context) ([]string, error) {
	revisions, err := d.store.AccountRevisions(ctx)
	if err != nil && !store.IsNoTable(err) {
		return nil, err
	}
	return slices.Sorted(maps.Keys(revisions)), nil
}

// types are the types of which the cache has rows or links of an account.
func (d *Database) types(ctx context.Context, account string) ([]string, error) {
	groups, err := d.writer.Types(ctx, account)
	if err != nil {
		return nil, err
	}
	types := map[string]bool{}
	for _, g := range groups {
		types[g.GetType()] = true
	}
	return slices.Sorted(maps.Keys(types)), nil
}

// Remove deletes rows and links of all accounts that were not handed back, then our tables. told hears of each step. It refuses while a bridge runs,
// and may be repeated.
func (d *Database) Remove(ctx context.Context, told func(step string)) (err error) {
	bridges, err := d.running(ctx)
	if err != nil {
		return err
	}
	if len(bridges) > 0 {
		return fmt.Errorf("bridges run on this database (%s): take them out of Clouddriver's pods first, then try again half a minute later", strings.Join(bridges, ", "))
	}
	accounts, err := d.declared(ctx)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.writer.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	for _, account := range accounts {
		rows, err := d.writer.Remove(ctx, account)
		if err != nil {
			return err
		}
		told(fmt.Sprintf("account %s: %d rows and links deleted", account, rows))
	}
	if err := d.store.DropOwnTables(ctx); err != nil {
		return err
	}
	told("tables fairlead_… dropped")
	return nil
}
