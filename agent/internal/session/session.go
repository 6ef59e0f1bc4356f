package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/identity"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"

	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/proto/certfile"
	"github.com/fairlead/fairlead/proto/link"
)

// Account is one account that the agent serves.
type Account struct {
	Declared *linkv1.Account
	Records  *cats.Inventory
	Cluster  Cluster
	Executor Executor
	// Configure takes what the bridge says about serving the account; nil: nobody wants to know.
	Configure func(*linkv1.AccountSettings)
	// Log is the account's own; nil: the session's.
	Log *slog.Logger
}

// Cluster is what a session needs of an account's cluster (cluster.Cluster).
type Cluster interface {
	Run(ctx context.Context, sink cluster.Sink) error
	// CacheBy says what is to be cached; until then no kind is watched.
	CacheBy(policy *linkv1.CachePolicy)
	Fetch(ctx context.Context, t cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error
	Status() cluster.Status
}

// Executor runs an account's operations (execute.Executor). It returns an outcome always.
type Executor interface {
	Run(ctx context.Context, op *linkv1.Operation, output io.Writer) *linkv1.Outcome
}

// Config is what a Session is made of.
type Config struct {
	// Address is host:port of a bridge, or of what stands before several.
	Address string
	Trust   Trust
	// Plaintext speaks without TLS; somebody asked for it explicitly.
	Plaintext bool
	NoProxy   bool
	// Token reads the enrolment token; it is called for each enrolment, so that a rotated one is found.
	Token func() (string, error)
	// Credential is what the token is exchanged for; nil: one in memory.
	Credential *identity.Credential
	// Given is a client certificate in the place of a token, ServiceAccountToken reads a Kubernetes service-account token.
	Given               *certfile.Pair
	ServiceAccountToken func() (string, error)
	// Bearer is for what stands between agent and bridge; nil: nothing asks for one.
	Bearer Bearer
	// Pauses between connections.
	Pauses Pauses
	// Metrics makes the text of the agent's metrics for a bridge that asks for them; nil: there are none.
	Metrics func() ([]byte, error)
	Agent   *linkv1.Agent
	// Assignments takes the accounts that bridges give to the agent; nil: none is taken.
	Assignments Assignments
	Log         *slog.Logger
}

// Assignments takes accounts at run time. It does not block.
type Assignments interface {
	Take(*linkv1.Assign)
	Drop(account string)
}

// Bearer gives tokens for what stands between agent and bridge (identity.Command).
type Bearer interface {
	Token(ctx context.Context) (string, error)
	// Forget says that the last one was not taken.
	Forget()
}

// Session keeps an agent connected.
type Session struct {
	cfg    Config
	dialer *dialer

	// removal, if set before Run, is told what the bridge answers about an account that leaves.
	removal func(*linkv1.AccountVerdict)

	metrics metrics

	wakeSession, wakeInventory, wakeOperation, wakeActor chan struct{}
	// clusters are watched by one goroutine for each account.
	clusters sync.WaitGroup

	mu       sync.Mutex
	core     *link.Agent
	accounts map[string]*account
	// watching is what clusters are watched until; nil before and after Run.
	watching context.Context //nolint:containedctx // Run's own
	// changed is closed, and made anew, with each step: what waits for room looks again.
	changed chan struct{}
	// conn is set while the machine is connected; actions wait for the actor.
	conn    *connection
	actions []link.Action
	running map[string]*running
	state   State
}

// State is what the agent's health endpoint shows of the session.
type State struct {
	Connected bool
	// Since is when it became so.
	Since   time.Time
	Address string
	// Problem is why it is not connected, or which accounts were refused.
	Problem string
	// Refused accounts with the bridge's reason.
	Refused map[string]string
}

// Running is an operation under way.
type Running struct {
	link.StartOperation

	Since     time.Time
	Cancelled bool
}

type running struct {
	Running

	cancel context.CancelFunc
}

// fetchKeys is how many objects one fetch reads. More than a few are read by listing their kind, so many fetches of few objects would list
// a large kind over and over.
const fetchKeys = 20_000

// New checks the configuration. It opens nothing.
func New(cfg Config, accounts []Account) (*Session, error) {
	if cfg.Credential == nil {
		cfg.Credential = identity.NewCredential(nil, cfg.Agent.GetName())
	}
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	core, err := link.NewAgent(link.AgentConfig{Agent: cfg.Agent, Format: cats.Format, FetchKeys: fetchKeys,
		Rand: mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64()))}) //nolint:gosec // spreads checks, need not be secret
	if err != nil {
		return nil, err
	}
	s := &Session{
		cfg: cfg, accounts: map[string]*account{}, dialer: d, metrics: newMetrics(), core: core, changed: make(chan struct{}), running: map[string]*running{},
		wakeSession: make(chan struct{}, 1), wakeInventory: make(chan struct{}, 1), wakeOperation: make(chan struct{}, 1), wakeActor: make(chan struct{}, 1),
		state: State{Since: time.Now(), Address: cfg.Address, Refused: map[string]string{}, Problem: "not connected yet"},
	}
	if err := s.SetAccounts(accounts, nil); err != nil {
		return nil, err
	}
	return s, nil
}

// State returns how the session is.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	state.Refused = map[string]string{}
	for account, reason := range s.state.Refused {
		state.Refused[account] = reason
	}
	return state
}

// Operations lists the operations under way.
func (s *Session) Operations() []Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Running, 0, len(s.running))
	for _, r := range s.running {
		list = append(list, r.Running)
	}
	return list
}

// Run keeps the agent connected, its clusters watched and its operations executed until ctx ends, then says goodbye.
func (s *Session) Run(ctx context.Context) error {
	// What serves the bridge outlives ctx a little: operations may finish while the agent takes its leave.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var owned sync.WaitGroup
	s.watch(ctx)
	owned.Go(func() { s.act(serving) })
	owned.Go(func() { s.clock(serving) })
	gone := make(chan struct{})
	owned.Go(func() {
		defer close(gone)
		s.connect(ctx, serving)
	})
	<-ctx.Done()
	s.farewell(gone)
	stop()
	owned.Wait()
	s.unwatch()
	return nil
}

// leave is how long a goodbye may take.
const leave = 10 * time.Second

// farewell says goodbye on an open session, and waits until the bridge has let go.
func (s *Session) farewell(gone <-chan struct{}) {
	s.step(func(now time.Time) { s.core.Goodbye(now, "the agent stops") })
	select {
	case <-gone:
	case <-time.After(leave):
		s.cfg.Log.Warn("goodbye took too long, leaving", "after", leave.String())
	}
}

// RefuseAssigned tells the bridge why an account that it gave is not served.
func (s *Session) RefuseAssigned(why *linkv1.Assigned) {
	s.step(func(now time.Time) { s.core.Refuse(now, why) })
}

// clock tells the machine the time, and has objects read whose bodies the records miss.
func (s *Session) clock(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var mending sync.WaitGroup
	defer mending.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.step(func(now time.Time) { s.core.Tick(now) })
			for _, a := range s.all() {
				if missing := a.missing(now); len(missing) > 0 {
					mending.Go(func() { a.mend(ctx, missing) })
				}
			}
		}
	}
}

// connect keeps one connection after the other until ctx ends; serving is the life of what a connection carries.
func (s *Session) connect(ctx, serving context.Context) {
	var tries int
	addresses := []string{}
	for ctx.Err() == nil {
		address := s.cfg.Address
		if len(addresses) > 0 {
			address, addresses = addresses[0], addresses[1:]
		}
		end := s.once(ctx, serving, address)
		if ctx.Err() != nil {
			return
		}
		if len(end.addresses) > 0 {
			addresses = end.addresses
		}
		if end.worked {
			tries = 0
		}
		pause := max(s.cfg.Pauses.after(tries, end.worked), end.retryAfter)
		if end.final {
			pause = max(pause, s.cfg.Pauses.Max)
		}
		if !end.worked {
			tries++
		}
		s.lost(address, end, pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (s *Session) lost(address string, end ending, pause time.Duration) {
	problem := end.reason
	s.mu.Lock()
	if s.state.Connected || s.state.Problem != problem {
		s.state.Since = time.Now()
	}
	s.state.Connected, s.state.Problem, s.state.Address = false, problem, address
	s.mu.Unlock()
	level := slog.LevelWarn
	if end.final {
		level = slog.LevelError
	}
	s.cfg.Log.Log(context.Background(), level, "not connected to a bridge", "address", address, "reason", problem, "next_try", pause.Round(time.Millisecond).String())
}

// act runs the machine's actions in order until ctx ends, then cancels and awaits what they started.
func (s *Session) act(ctx context.Context) {
	var started sync.WaitGroup
	defer started.Wait()
	for {
		if action := s.nextAction(); action != nil {
			s.do(ctx, &started, action)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wakeActor:
		}
	}
}

func (s *Session) do(ctx context.Context, started *sync.WaitGroup, action link.Action) {
	switch act := action.(type) {
	case link.StartOperation:
		life, cancel := context.WithTimeout(ctx, act.Timeout)
		s.mu.Lock()
		s.running[act.ID] = &running{cancel: cancel, Running: Running{StartOperation: act, Since: time.Now()}}
		s.mu.Unlock()
		started.Go(func() {
			defer cancel()
			s.execute(life, act)
		})
	case link.CancelOperation:
		s.mu.Lock()
		r := s.running[act.ID]
		if r != nil {
			r.Cancelled = true
		}
		s.mu.Unlock()
		if r != nil {
			s.cfg.Log.Info("operation cancelled", "operation", act.ID, "reason", act.Reason)
			r.cancel()
		}
	case link.CacheBy:
		if a := s.served(act.Account); a != nil {
			a.Cluster.CacheBy(act.Policy)
		}
	case link.Configure:
		if a := s.served(act.Account); a != nil && a.Configure != nil {
			a.Configure(act.Settings)
		}
	case link.Committed:
		for _, wait := range act.Waits {
			s.metrics.commit.Observe(wait.Seconds())
		}
	case link.TakeAccount:
		if s.cfg.Assignments != nil {
			s.cfg.Assignments.Take(act.Assign)
		}
	case link.DropAccount:
		if s.cfg.Assignments != nil {
			s.cfg.Assignments.Drop(act.Account)
		}
	case link.Fetch:
		started.Go(func() { s.fetch(ctx, act) })
	case link.Note:
		s.note(act)
	}
}

var errOver = errors.New("the session is over")
