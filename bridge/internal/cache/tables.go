package cache

import (
	"context"
	"sync"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// maximumTables bounds how many tables agents can make this bridge make: one for each kind, of all accounts together.
const maximumTables = 4000

// tableNames knows which tables are there, so that the database is asked once for each.
type tableNames struct {
	mu    sync.Mutex
	known map[string]bool
}

// ensure makes the tables of the changes that are missing, each type's two together, as Clouddriver does. For what is only deleted none is made: the types
// that have no table are returned, by the name of that of their rows.
func (n *tableNames) ensure(ctx context.Context, s *store.Store, changes []store.TableChange) (absent map[string]bool, err error) {
	absent = map[string]bool{}
	for _, c := range changes {
		if known, _ := n.has(c.Rows); known {
			continue
		}
		if len(c.Put)+len(c.PutLinks) == 0 {
			there, err := s.HasTable(ctx, c.Rows, c.Links)
			if err != nil {
				return nil, err
			}
			if !there {
				absent[c.Rows] = true
				continue
			}
		}
		if err := s.EnsureTables(ctx, c.Rows, c.Links); err != nil {
			return nil, err
		}
		n.add(c.Rows)
	}
	return absent, nil
}

// has tells whether a table is known to be there, and whether there is room for another one.
func (n *tableNames) has(name string) (known, room bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[name], len(n.known) < maximumTables
}

func (n *tableNames) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[name] = true
}

// forget is for when a table went away under us.
func (n *tableNames) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = nil
}
