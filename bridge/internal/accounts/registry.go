package accounts

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Account is what the registry knows of one account.
type Account struct {
	Declared *linkv1.Account
	// Facts is the last that an agent reported of the cluster; nil if none ever did.
	Facts *linkv1.Facts
	// Agent declared the account last.
	Agent string
	// ProblemSince is when this bridge first heard that the account does not work; zero: it does, or it is not known.
	ProblemSince time.Time
	// LastSeen is when its last session ended, by the database's clock; zero: there was none.
	LastSeen time.Time
	// Sessions of this bridge that serve it, sorted.
	Sessions []string
	// Elsewhere are other bridges that have sessions of it, sorted.
	Elsewhere []string
}

// Connected tells whether an agent serves the account, here or at another bridge.
func (a Account) Connected() bool { return len(a.Sessions) > 0 || len(a.Elsewhere) > 0 }

// Remover deletes what Clouddriver's tables hold of an account (cache.Writer).
type Remover interface {
	Remove(ctx context.Context, account string) (deleted int, err error)
}

// Options is what a Registry is made of.
type Options struct {
	Store   *store.Store
	Remover Remover
	// Bridge is this bridge's name in the database.
	Bridge string
	// Version of this bridge.
	Version string
	// RemoveAfter takes out accounts that no agent has served for so long; 0: never.
	RemoveAfter time.Duration
	// ApplicationsTable is Clouddriver's table of applications, where its own accounts show.
	ApplicationsTable string
	// Policy is what the bridge's configuration says about an account; nil: nothing about any.
	Policy func(account string) Policy
	// Metrics gets what the registry counts; nil: nobody does.
	Metrics prometheus.Registerer
	// Leaving is told before an account is removed, so that no session declares it again; nil: there are none.
	Leaving func(account string)
	// Dynamic says why no agent may serve an account that was given to it at run time; nil: any may.
	Dynamic func(account string) (reason string)
	Log     *slog.Logger
}

// Registry knows the accounts. Its methods may be called from any goroutine.
type Registry struct {
	o       Options
	address string

	failures *prometheus.CounterVec
	// began is when this bridge started.
	began time.Time
	// polling: one look into the database at a time, because the older of two could undo what the newer one found.
	polling sync.Mutex

	mu       sync.Mutex
	accounts map[string]*account
	complete bool
	revision uint64
	changed  chan struct{}
	// Rises with each change that this bridge made itself.
	stored uint64
	// Accounts that Clouddriver polls itself, and since when.
	released map[string]time.Time
	// Accounts whose caching somebody paused, and since when.
	paused map[string]time.Time
	// contested accounts were refused to an agent because another one serves a cluster of that name; as what they were declared.
	contested map[contestant][]string
	// Removals under way here, by account.
	removing map[string]bool
	// Sessions of this bridge, by account. They stay when an account goes, in case it comes again.
	serving map[string]map[string]bool
	// Sessions whose rows have still to be written or deleted: true, they serve.
	pending map[sessionKey]bool
	agents  map[sessionKey]*linkv1.Agent
	// instances are the agents' processes of sessions that serve.
	instances map[sessionKey]string
	dirty     chan struct{}
}

type sessionKey struct{ account, session string }

// account is an Account with what only the registry needs. declared and facts are never changed, only replaced.
type account struct {
	declared  *linkv1.Account
	facts     *linkv1.Facts
	agent     string
	lastSeen  time.Time
	ailing    time.Time // since when its facts tell of a problem
	elsewhere []store.Session
	revision  uint64 // of the database's row
	stored    uint64 // Registry.stored when this bridge changed it last
}

// New returns a registry that knows nothing yet; Run makes it read.
func New(o Options) *Registry {
	return &Registry{
		o: o, failures: newFailures(o.Metrics), began: time.Now(), accounts: map[string]*account{}, changed: make(chan struct{}), removing: map[string]bool{}, released: map[string]time.Time{}, paused: map[string]time.Time{}, contested: map[contestant][]string{}, instances: map[sessionKey]string{},
		serving: map[string]map[string]bool{}, pending: map[sessionKey]bool{}, agents: map[sessionKey]*linkv1.Agent{}, dirty: make(chan struct{}, 1),
	}
}

// view is an account as callers see it. The lock is held.
func (r *Registry) view(a *account) Account {
	var bridges []string
	for _, s := range a.elsewhere {
		bridges = append(bridges, s.Bridge)
	}
	slices.Sort(bridges)
	return Account{Declared: a.declared, Facts: a.facts, Agent: a.agent, ProblemSince: a.ailing, LastSeen: a.lastSeen,
		Sessions: slices.Sorted(maps.Keys(r.serving[a.declared.GetName()])), Elsewhere: slices.Compact(bridges)}
}

// Elsewhere are the sessions of an account at other bridges, as the last look into the database found them.
func (r *Registry) Elsewhere(account string) []store.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.accounts[account]; a != nil {
		return a.elsewhere
	}
	return nil
}

// Serving returns the sessions of each account: those of this bridge as they are, those of others as the last look into the database found them.
func (r *Registry) Serving() map[string][]store.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string][]store.Session, len(r.accounts))
	for name, a := range r.accounts {
		list := slices.Clone(a.elsewhere)
		for session := range r.serving[name] {
			list = append(list, store.Session{Account: name, Session: session, Bridge: r.o.Bridge, Instance: r.instances[sessionKey{name, session}]})
		}
		if len(list) > 0 {
			all[name] = list
		}
	}
	return all
}

// List returns all accounts sorted by name. The revision changes with each change that Clouddriver sees. complete is false while
// accounts may exist that the bridge does not know yet.
func (r *Registry) List() (all []Account, revision string, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all = make([]Account, 0, len(r.accounts))
	for _, a := range r.accounts {
		all = append(all, r.view(a))
	}
	slices.SortFunc(all, func(a, b Account) int { return cmp.Compare(a.Declared.GetName(), b.Declared.GetName()) })
	return all, strconv.FormatUint(r.revision, 10), r.complete
}

// Get returns one account.
func (r *Registry) Get(name string) (Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[name]
	if a == nil {
		return Account{}, false
	}
	return r.view(a), true
}

// Complete tells whether the accounts have been read from the database.
func (r *Registry) Complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.complete
}

// Custom tells whether an account's declaration lists a type among its customResources.
func (r *Registry) Custom(name, typ string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[name]
	return a != nil && slices.ContainsFunc(a.declared.GetCustomResources(), func(c *linkv1.CustomResource) bool { return c.GetKubernetesKind() == typ })
}

// Changed returns a channel that is closed at the next change of what Clouddriver sees.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// announce tells of a change. The lock is held.
func (r *Registry) announce() {
	r.revision++
	close(r.changed)
	r.changed = make(chan struct{})
}

// differs tells whether Clouddriver would see a difference. Of the facts it gets the custom resources; namespaces are answered from
// the registry when it asks.
func differs(a, b *account) bool {
	if a == nil || b == nil {
		return a != b
	}
	return !proto.Equal(a.declared, b.declared) ||
		!proto.Equal(&linkv1.Facts{CustomResources: a.facts.GetCustomResources()}, &linkv1.Facts{CustomResources: b.facts.GetCustomResources()})
}

// put replaces what is known of an account. The lock is held.
func (r *Registry) put(name string, next *account) {
	before := r.accounts[name]
	if before != nil {
		next.elsewhere, next.ailing = before.elsewhere, before.ailing
	}
	if next.facts.GetProblem() == "" {
		next.ailing = time.Time{}
	} else if next.ailing.IsZero() {
		next.ailing = time.Now()
	}
	r.accounts[name] = next
	if differs(before, next) {
		r.announce()
	}
}

// drop forgets an account. The lock is held.
func (r *Registry) drop(name string) {
	if r.accounts[name] != nil {
		delete(r.accounts, name)
		r.announce()
	}
}

// fromRow reads a row of the database.
func fromRow(row store.Account) (*account, error) {
	a := &account{declared: &linkv1.Account{}, agent: row.Agent, revision: row.Revision}
	// A newer bridge may have stored fields that this one does not know.
	lenient := protojson.UnmarshalOptions{DiscardUnknown: true}
	if err := lenient.Unmarshal([]byte(row.Declaration), a.declared); err != nil {
		return nil, err
	}
	if row.Facts != "" && row.Facts != "{}" {
		a.facts = &linkv1.Facts{}
		if err := lenient.Unmarshal([]byte(row.Facts), a.facts); err != nil {
			return nil, err
		}
	}
	if row.LastSeen > 0 {
		a.lastSeen = time.UnixMilli(row.LastSeen)
	}
	a.declared.Name = row.Name
	return a, nil
}

// newFailures counts what could not be read of the database or written to it, and is tried again.
func newFailures(r prometheus.Registerer) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "directory_errors_total",
		Help: "Attempts to follow accounts, sessions and bridges in the database that failed; they are repeated."}, []string{"what"})
	for _, what := range []string{"accounts", "removals", "grace", "sessions"} {
		v.WithLabelValues(what)
	}
	if r != nil {
		r.MustRegister(v)
	}
	return v
}
