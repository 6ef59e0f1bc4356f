package dynamic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// Errors of wishes. Their texts are for people.
var (
	ErrUnknown = errors.New("no such dynamic account")
	ErrExists  = errors.New("the account exists")
	// ErrTaken: one whose name differs only in case.
	ErrTaken = errors.New("the name is taken")
	// ErrOwn: an agent's own file has an account of that name.
	ErrOwn = errors.New("an agent has the account in its own configuration")
	// ErrNotYet: the bridge has just started or cannot reach its database.
	ErrNotYet = errors.New("the dynamic accounts are not known yet")
)

// Wish is what somebody wants with one account.
type Wish struct {
	// Who asks, for the audit trail; Source is kept with an account that is new.
	Who, Source string
	// Try: say what would happen, and do nothing.
	Try bool
}

// Add stores an account that is new, as INACTIVE, or to be activated.
func (s *Service) Add(ctx context.Context, w Wish, d Definition, activate bool) (store.Dynamic, error) {
	if err := s.free(d.Name); err != nil {
		return store.Dynamic{}, err
	}
	row := store.Dynamic{Name: d.Name, State: string(Inactive), Zone: d.Zone, Source: w.Source, Labels: d.Labels, Definition: d.JSON}
	due := never
	if activate {
		row.State, due = string(ToMigrate), 0
	}
	if w.Try {
		return row, nil
	}
	sealed, err := s.o.Key.Seal(store.SecretPrefix+d.Name, d.Kubeconfig)
	if err != nil {
		return row, err
	}
	if row.Version, err = s.o.Store.AddDynamic(ctx, row, sealed, milliseconds(due)); err != nil {
		if errors.Is(err, store.ErrExists) {
			return row, fmt.Errorf("account %q: %w", d.Name, ErrExists)
		}
		if errors.Is(err, store.ErrTaken) {
			return row, fmt.Errorf("account %q differs only in case from one that is there, and Clouddriver's tables cannot keep the two apart: choose another name: %w", d.Name, ErrTaken)
		}
		return row, err
	}
	row, err = s.fresh(ctx, d.Name)
	if err == nil {
		s.trail(ctx, w.Who, "add", store.Dynamic{Name: d.Name, State: "(none)"}, row)
	}
	s.poke()
	return row, err
}

// free tells whether a new account may have a name.
func (s *Service) free(name string) error {
	s.mu.Lock()
	complete := s.complete
	_, exists := s.rows[name]
	s.mu.Unlock()
	switch known, there := s.o.Registry.Get(name); {
	case !complete:
		return ErrNotYet
	case exists:
		return fmt.Errorf("account %q: %w", name, ErrExists)
	case there && known.Declared.GetDynamic() == 0:
		return fmt.Errorf("account %q: %w (agent %s): take it out there first, or choose another name", name, ErrOwn, known.Agent)
	}
	return nil
}

// Put stores an account, new or with another definition. A new one is activated if that is asked for; one that is there keeps its state.
func (s *Service) Put(ctx context.Context, w Wish, d Definition, activate bool) (row store.Dynamic, created bool, err error) {
	if _, known := s.Get(d.Name); !known {
		row, err = s.Add(ctx, w, d, activate)
		if !errors.Is(err, ErrExists) {
			return row, true, err
		}
	}
	row, err = s.change(ctx, w, d.Name, Event{Kind: Replace}, func(row *store.Dynamic) ([]byte, error) {
		if d.Labels != nil {
			row.Labels = d.Labels
		}
		row.Definition = d.JSON
		if d.Zone != "" {
			row.Zone = d.Zone
		}
		return s.o.Key.Seal(store.SecretPrefix+d.Name, d.Kubeconfig)
	})
	return row, false, err
}

// Wish lets a person's event happen: Activate, Deactivate or Delete. zone, if it is given, is the account's from then on.
func (s *Service) Wish(ctx context.Context, w Wish, name string, kind Kind, zone string) (store.Dynamic, error) {
	return s.change(ctx, w, name, Event{Kind: kind}, func(row *store.Dynamic) ([]byte, error) {
		if zone != "" {
			row.Zone = zone
		}
		return nil, nil
	})
}

// tries is how often a wish is tried on a row that others change at the same time.
const tries = 10

func (s *Service) change(ctx context.Context, w Wish, name string, e Event, edit func(*store.Dynamic) (sealed []byte, err error)) (store.Dynamic, error) {
	for range tries {
		row, err := s.fresh(ctx, name)
		if err != nil {
			return row, err
		}
		r, err := Step(account(row), e)
		if err != nil {
			return row, err
		}
		next := merged(row, r.Account)
		sealed, err := edit(&next)
		if err != nil {
			return row, err
		}
		if !r.Changed && next.Zone == row.Zone || w.Try {
			return next, nil
		}
		done, err := s.write(ctx, row, next, sealed, r)
		if err != nil {
			return row, err
		}
		if done {
			s.trail(ctx, w.Who, e.Kind, row, next)
			s.poke()
			return next, nil
		}
	}
	return store.Dynamic{}, fmt.Errorf("account %q changes all the time, try again", name)
}

// fresh reads a row from the database.
func (s *Service) fresh(ctx context.Context, name string) (store.Dynamic, error) {
	rows, err := s.o.Store.Dynamics(ctx, []string{name})
	if err != nil {
		return store.Dynamic{}, err
	}
	if len(rows) == 0 {
		return store.Dynamic{}, fmt.Errorf("account %q: %w", name, ErrUnknown)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.local[name] = s.writes
	s.put(rows[0])
	s.announce()
	return rows[0], nil
}

// Get returns an account.
func (s *Service) Get(name string) (store.Dynamic, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, known := s.rows[name]
	return row, known
}

// List returns all accounts in the order of names; false: they have not been read yet.
func (s *Service) List() ([]store.Dynamic, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Collect(maps.Values(s.rows))
	slices.SortFunc(list, func(a, b store.Dynamic) int { return strings.Compare(a.Name, b.Name) })
	return list, s.complete
}

// Agents returns the agents that are connected, at any bridge.
func (s *Service) Agents() []store.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.agents)
}

// Settle waits until nothing more happens by itself to accounts, or ctx ends.
func (s *Service) Settle(ctx context.Context, names []string) {
	for {
		s.mu.Lock()
		changed, waiting := s.changed, false
		for _, name := range names {
			if row, there := s.rows[name]; there && !State(row.State).Settled() {
				waiting = true
			}
		}
		s.mu.Unlock()
		if !waiting {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Disconnect has an agent connect anew, whichever bridge it is at. It returns how many sessions of it there are.
func (s *Service) Disconnect(ctx context.Context, agent string) (int64, error) {
	n, err := s.o.Store.CloseAgent(ctx, agent)
	s.poke()
	return n, err
}

// Since is a time of a row.
func Since(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
