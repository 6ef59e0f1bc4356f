package dynamic

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

const (
	// interval is how soon a bridge learns what another one changed.
	interval = time.Second
	// silence is how long a bridge may be silent before its agents do not count, in milliseconds.
	silence = 30_000
	// attempt bounds one look.
	attempt = 30 * time.Second
	// actor is who the audit trail names for what happens by itself.
	actor = "fairlead"
)

// Registry is what the service needs of accounts.Registry.
type Registry interface {
	Get(name string) (accounts.Account, bool)
	Complete() bool
	Changed() <-chan struct{}
	Remove(ctx context.Context, name string) (deleted int, found bool, err error)
}

// Options is what a Service is made of.
type Options struct {
	Store    *store.Store
	Registry Registry
	Key      *identity.Key
	// Bridge is this bridge's name.
	Bridge string
	// Servers are the API servers that kubeconfigs may name, as for Narrow.
	Servers []string
	Log     *slog.Logger
}

// Service keeps dynamic accounts. Its methods may be called from any goroutine.
type Service struct {
	o    Options
	wake chan struct{}
	// leaves counts removals under way; only Run adds to it.
	leaves sync.WaitGroup

	mu   sync.Mutex
	rows map[string]store.Dynamic
	// writes counts what this bridge wrote itself; local is that of each account's last one, which a list that was read before does not know.
	writes uint64
	local  map[string]uint64
	// complete: the rows have been read once.
	complete bool
	agents   []store.Agent
	// offset is the database's clock less ours, in milliseconds.
	offset  int64
	changed chan struct{}
	members map[string]*member
	// stored are the sessions whose rows this bridge has written, as far as it knows.
	stored map[string]bool
	// unserved is since when nobody serves an active account.
	unserved map[string]time.Time
	// problems are what agents said of the present attempt, by account.
	problems map[string]map[string]string
	// arrived: agents came, so that what failed for want of one is tried again.
	arrived bool
	// claims are accounts on their way out that this bridge has taken on, at their version; working are those that it works on.
	claims  map[string]uint64
	working map[string]bool
}

// New makes a service that knows nothing yet; Run makes it read.
func New(o Options) *Service {
	return &Service{o: o, wake: make(chan struct{}, 1), rows: map[string]store.Dynamic{}, local: map[string]uint64{}, changed: make(chan struct{}), members: map[string]*member{}, stored: map[string]bool{},
		unserved: map[string]time.Time{}, problems: map[string]map[string]string{}, claims: map[string]uint64{}, working: map[string]bool{}}
}

// Run keeps accounts moving until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer s.leaves.Wait()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		registry := s.o.Registry.Changed()
		look, cancel := context.WithTimeout(ctx, attempt)
		again, err := s.look(look, ctx)
		cancel()
		if err != nil && ctx.Err() == nil && !failing {
			s.o.Log.Warn("dynamic accounts stay as they are, the database cannot be asked", "error", err)
		}
		failing = err != nil
		if again && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.wake:
		case <-registry:
		}
	}
}

func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// look reads what has changed, lets happen what is to happen, and provides the agents. again: there may be more to do at once. life is how long
// what it starts may live.
func (s *Service) look(ctx, life context.Context) (again bool, err error) {
	if err := s.storeMembers(ctx); err != nil {
		return false, err
	}
	if err := s.read(ctx); err != nil {
		return false, err
	}
	if !s.o.Registry.Complete() {
		return false, nil
	}
	for _, pending := range s.pending() {
		changed, err := s.apply(ctx, pending.row, pending.event, actor)
		if err != nil {
			return false, err
		}
		again = again || changed
	}
	for _, row := range s.claimed() {
		s.leave(life, row)
	}
	return again, s.provide(ctx)
}

// read brings rows and agents up to date.
func (s *Service) read(ctx context.Context) error {
	s.mu.Lock()
	before := s.writes
	s.mu.Unlock()
	versions, clock, err := s.o.Store.DynamicVersions(ctx)
	if err != nil {
		return err
	}
	var news []string
	s.mu.Lock()
	for name, version := range versions {
		if row, known := s.rows[name]; !known || row.Version != version {
			news = append(news, name)
		}
	}
	s.mu.Unlock()
	rows, err := s.o.Store.Dynamics(ctx, news)
	if err != nil {
		return err
	}
	agents, err := s.o.Store.ConnectedAgents(ctx, silence)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = clock - time.Now().UnixMilli()
	changed := !s.complete || len(rows) > 0
	for name := range s.rows {
		if _, there := versions[name]; !there && s.local[name] <= before {
			delete(s.rows, name)
			delete(s.local, name)
			changed = true
		}
	}
	for _, row := range rows {
		if s.local[row.Name] <= before {
			s.put(row)
		}
	}
	s.agents, s.complete = agents, true
	s.closeMembers(agents)
	if changed {
		s.announce()
	}
	return nil
}

// put takes a row. The lock is held.
func (s *Service) put(row store.Dynamic) {
	before, known := s.rows[row.Name]
	if known && before.Version > row.Version {
		return // it was read before something else was written
	}
	if known && (before.Attempt != row.Attempt || before.Revision != row.Revision) {
		delete(s.problems, row.Name)
	}
	s.rows[row.Name] = row
}

// announce tells who waits for a change. The lock is held.
func (s *Service) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

type pending struct {
	row   store.Dynamic
	event Event
}

// pending lists what is to happen now, by name.
func (s *Service) pending() []pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	arrived := s.arrived
	s.arrived = false
	now := time.Now()
	var list []pending
	for _, name := range slices.Sorted(maps.Keys(s.rows)) {
		row := s.rows[name]
		w := s.world(row, now)
		// What failed for want of an agent is tried again when one comes; not at a place that has just failed.
		if arrived && State(row.State) == Failed && len(row.Tried) == 0 && len(places(account(row), s.agents)) > 0 {
			w.Due = true
		}
		e, any := Next(account(row), w)
		if !any && (State(row.State) == Activating || State(row.State) == Active) {
			e, any = s.refusal(row)
		}
		if any {
			list = append(list, pending{row, e})
		}
	}
	return list
}

// world is what is known around an account. The lock is held.
func (s *Service) world(row store.Dynamic, now time.Time) World {
	w := World{Agents: s.agents, Due: row.Due > 0 && now.UnixMilli()+s.offset >= row.Due}
	if known, there := s.o.Registry.Get(row.Name); there {
		w.Connected, w.Revision, w.Agent = known.Connected(), known.Declared.GetDynamic(), known.Agent
	}
	if w.Connected || State(row.State) != Active {
		delete(s.unserved, row.Name)
		return w
	}
	if s.unserved[row.Name].IsZero() {
		s.unserved[row.Name] = now
	}
	w.Unserved = now.Sub(s.unserved[row.Name])
	return w
}

// refusal is what the agents of an account's place said, once all of them have. The lock is held.
func (s *Service) refusal(row store.Dynamic) (Event, bool) {
	said := s.problems[row.Name]
	var reason string
	for _, g := range s.agents {
		if g.Place != row.Place || !mayHave(account(row), g) {
			continue
		}
		problem, answered := said[g.Session]
		if !answered {
			return Event{}, false
		}
		reason = joined(reason, g.Agent+": "+problem)
	}
	return Event{Kind: Refused, Reason: reason, Revision: row.Revision}, reason != ""
}

// account is a row as the machine sees it.
func account(row store.Dynamic) Account {
	return Account{Name: row.Name, State: State(row.State), Zone: row.Zone, Place: row.Place, Agent: row.Agent, Revision: row.Revision, Attempt: row.Attempt, Failures: row.Failures,
		Tried: row.Tried, Reason: row.Reason}
}

// maximumReason is what the column holds, in characters.
const maximumReason = 2048

// merged is a row as the machine left it.
func merged(row store.Dynamic, a Account) store.Dynamic {
	row.State, row.Place, row.Agent, row.Revision = string(a.State), a.Place, a.Agent, a.Revision
	row.Attempt, row.Failures, row.Tried, row.Reason = a.Attempt, a.Failures, a.Tried, a.Reason
	if runes := []rune(row.Reason); len(runes) > maximumReason {
		row.Reason = string(runes[:maximumReason-1]) + "…"
	}
	return row
}

// apply lets an event happen to a row as it was read. It tells whether it did: another bridge may have been first.
func (s *Service) apply(ctx context.Context, row store.Dynamic, e Event, who string) (bool, error) {
	r, err := Step(account(row), e)
	if err != nil || !r.Changed {
		return false, err
	}
	next := merged(row, r.Account)
	done, err := s.write(ctx, row, next, nil, r)
	if err != nil || !done {
		return false, err
	}
	s.trail(ctx, who, e.Kind, row, next)
	if e.Kind == Due && (next.State == string(Deactivating) || next.State == string(Deleting)) && r.Due == LeaveTime {
		s.mu.Lock()
		s.claims[row.Name] = row.Version + 1
		s.mu.Unlock()
	}
	return true, nil
}

// write stores what an event made of a row, if it still is of that version.
func (s *Service) write(ctx context.Context, row, next store.Dynamic, sealed []byte, r Result) (bool, error) {
	var done bool
	var err error
	if r.Gone {
		done, err = s.o.Store.DeleteDynamic(ctx, row.Name, row.Version)
	} else {
		done, err = s.o.Store.PutDynamic(ctx, next, sealed, milliseconds(r.Due), row.State != next.State)
	}
	if err != nil || !done {
		return done, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.announce()
	s.writes++
	s.local[row.Name] = s.writes
	if r.Gone {
		delete(s.rows, row.Name)
		return true, nil
	}
	next.Version++
	clock := time.Now().UnixMilli() + s.offset
	if next.Due = 0; r.Due >= 0 {
		next.Due = clock + r.Due.Milliseconds()
	}
	if row.State != next.State {
		next.Changed = clock
	}
	s.put(next)
	return true, nil
}

func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

// trail notes a transition in the log and in the audit trail.
func (s *Service) trail(ctx context.Context, who string, kind Kind, before, after store.Dynamic) {
	if before.State == after.State && before.Reason == after.Reason && kind == Due {
		return // a bridge goes on with what it does
	}
	s.o.Log.Info("dynamic account", "account", before.Name, "event", string(kind), "from", before.State, "to", after.State, "place", after.Place, "revision", after.Revision, "reason", after.Reason, "actor", who)
	detail := before.State + " → " + after.State + " revision=" + strconv.FormatUint(after.Revision, 10)
	if after.Place != "" {
		detail += " place=" + after.Place
	}
	outcome := "ok"
	if after.Reason != "" {
		outcome = after.Reason
	}
	entry := store.Audit{Actor: clip(who, 255), Bridge: clip(s.o.Bridge, 190), Action: "dynamic." + string(kind), Target: before.Name, Detail: clip(detail, 2048), Outcome: clip(outcome, 1024)}
	if err := s.o.Store.PutAudit(ctx, entry); err != nil {
		s.o.Log.Warn("the audit trail could not be written; this entry is in the log alone", "account", before.Name, "error", err)
	}
}

func clip(text string, characters int) string {
	runes := []rune(text)
	if len(runes) <= characters {
		return text
	}
	return string(runes[:characters-1]) + "…"
}

// Forbids says why no agent may serve a dynamic account; "" if one may.
func (s *Service) Forbids(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, there := s.rows[name]
	switch {
	case !s.complete || there && State(row.State).wanted():
		return ""
	case !there:
		return "the dynamic account is not known any more"
	case State(row.State) == ToMigrate || State(row.State) == Failed:
		return "" // it may come back to the agents that had it
	}
	return "the dynamic account is " + row.State
}
