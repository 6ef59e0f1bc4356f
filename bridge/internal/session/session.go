package session

import (
	"context"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"

	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/proto/link"
)

// session is one agent's session.
type session struct {
	service  *Service
	id       string
	secret   string
	identity identity.Identity
	remote   string
	since    time.Time
	stream   agentv1.AgentService_SessionServer
	log      *slog.Logger

	ctx    context.Context //nolint:containedctx // the session's life, which is its stream's
	cancel context.CancelFunc
	// ended is closed when run has returned.
	ended chan struct{}

	wakeSession, wakeInventory, wakeActor chan struct{}

	mu      sync.Mutex
	core    *link.Bridge
	agent   *linkv1.Agent
	greeted bool
	// groups tells for each account which of its groups agree.
	groups         map[string]map[cats.Group]bool
	accounts       map[string]bool
	inventoryOpen  bool
	operationsOpen bool
}

func newSession(s *Service, stream agentv1.AgentService_SessionServer, id identity.Identity) (*session, error) {
	e := &session{
		service: s, id: newSecret()[:12], secret: newSecret(), identity: id, remote: remote(stream.Context()), since: time.Now(), stream: stream,
		ended: make(chan struct{}), accounts: map[string]bool{}, groups: map[string]map[cats.Group]bool{},
		wakeSession: make(chan struct{}, 1), wakeInventory: make(chan struct{}, 1), wakeActor: make(chan struct{}, 1),
	}
	e.log = s.cfg.Log.With("session", e.id)
	e.ctx, e.cancel = context.WithCancel(stream.Context())
	core, err := link.NewBridge(e.since, link.BridgeConfig{
		Bridge: s.cfg.Bridge, Session: e.id, Secret: e.secret, Format: cats.Format,
		Rand:   mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())), //nolint:gosec // spreads ages, need not be secret
		LinkID: linkID,
	})
	e.core = core
	return e, err
}

// linkID is the key of a link within its group, as cats has it.
func linkID(account string, l *linkv1.Link) string {
	return cats.Link{From: key(l.GetFrom()), To: key(l.GetTo())}.ID(account)
}

func key(k *linkv1.Key) cats.Key {
	return cats.Key{Type: cats.Type(k.GetType()), Scope: k.GetScope(), Name: k.GetName()}
}

// step feeds the machine and wakes whoever may have something to do now.
func (e *session) step(feed func(now time.Time)) {
	e.mu.Lock()
	feed(time.Now())
	e.mu.Unlock()
	wake(e.wakeSession)
	wake(e.wakeInventory)
	wake(e.wakeActor)
}

// run owns the session until it is over.
func (e *session) run() error {
	defer close(e.ended)
	defer e.cancel()
	var owned sync.WaitGroup
	owned.Go(e.clock)
	a := &actor{session: e}
	owned.Go(a.run)
	e.service.readers.Go(func() { e.read() })
	err := e.write()
	e.cancel()
	owned.Wait()
	e.step(func(now time.Time) { e.core.Lost(now, "the session's stream ended") })
	e.leave()
	return err
}

// leave takes the session out of routing. A newer session of the same agent has its own entries.
func (e *session) leave() {
	e.service.cfg.Router.Lost(e.id)
	e.mu.Lock()
	accounts := e.accounts
	e.accounts = map[string]bool{}
	e.mu.Unlock()
	for account := range accounts {
		e.service.cfg.Accounts.Disconnected(account, e.id)
	}
	e.log.Info("session ended", "agent", e.name(), "accounts", len(accounts), "age", time.Since(e.since).Round(time.Second).String())
}

// read takes the session stream's frames until it ends.
func (e *session) read() {
	for {
		frame, err := e.stream.Recv()
		if err != nil {
			e.cancel()
			return
		}
		e.step(func(now time.Time) {
			if hello := frame.GetHello(); hello != nil && e.agent == nil {
				e.agent = hello.GetAgent() // the operations stream opens before the registry has answered
			}
			e.core.ReceivedSession(now, frame)
		})
	}
}

// write sends the session stream's frames until the session is over.
func (e *session) write() error {
	for {
		frame := e.nextSession()
		if frame == nil {
			select {
			case <-e.wakeSession:
				continue
			case <-e.ctx.Done():
				return e.flush()
			}
		}
		if err := e.stream.Send(frame); err != nil {
			return err
		}
	}
}

// flush sends what the machine still has to say: its Close.
func (e *session) flush() error {
	for frame := e.nextSession(); frame != nil; frame = e.nextSession() {
		if err := e.stream.Send(frame); err != nil {
			return err
		}
	}
	return nil
}

func (e *session) nextSession() *linkv1.SessionDown {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.NextSession()
}

// inventory moves the inventory stream's frames.
func (e *session) inventory(stream agentv1.AgentService_InventoryServer) error {
	defer e.cancel() // without its inventory a session is over
	e.service.readers.Go(func() {
		for {
			frame, err := stream.Recv()
			if err != nil {
				e.cancel()
				return
			}
			e.step(func(now time.Time) { e.core.ReceivedInventory(now, frame) })
		}
	})
	next := func() *linkv1.InventoryDown {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.core.NextInventory()
	}
	return pump(e.ctx, stream.Context(), e.wakeInventory, next, stream.Send)
}

// operations moves the operations stream's frames.
func (e *session) operations(stream agentv1.AgentService_OperationsServer) error {
	defer e.cancel()
	s := e.service.cfg.Router.Open(e.id, e.instance())
	e.service.readers.Go(func() {
		for {
			frame, err := stream.Recv()
			if err != nil {
				e.cancel()
				return
			}
			err = s.Received(frame)
			e.step(func(now time.Time) {
				e.core.Heard(now)
				if err != nil {
					e.core.Close(now, linkv1.Close_CODE_PROTOCOL, err.Error(), 0)
				}
			})
		}
	})
	return pump(e.ctx, stream.Context(), s.Wake, s.Next, stream.Send)
}

// pump sends what next gives until the session or the stream is over.
func pump[F any](session, stream context.Context, wakeup <-chan struct{}, next func() *F, send func(*F) error) error {
	for {
		frame := next()
		if frame != nil {
			if err := send(frame); err != nil {
				return err
			}
			continue
		}
		select {
		case <-wakeup:
		case <-session.Done():
			return status.Error(codes.Unavailable, "the session is over")
		case <-stream.Done():
			return stream.Err()
		}
	}
}

// clock tells the machine the time, and ends the session with its identity.
func (e *session) clock() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	revoked := e.identity.Ended
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-second.C:
			busy := e.service.cfg.Router.Busy(e.id)
			e.step(func(now time.Time) {
				e.core.Tick(now)
				e.core.Busy(now, busy)
			})
		case <-revoked:
			revoked = nil
			e.log.Warn("session ends: its enrolment token is no longer valid", "agent", e.name(), "identity", e.identity.TokenID)
			e.step(func(now time.Time) {
				e.core.Close(now, linkv1.Close_CODE_REFUSED, identity.ErrUnauthenticated.Error(), 0)
			})
		}
	}
}

func (e *session) drain(reason string) {
	e.step(func(now time.Time) { e.core.Drain(now, nil, reason) })
}

func (e *session) attachAgain(account string) {
	e.step(func(now time.Time) { e.core.AttachAgain(now, account) })
}

func (e *session) instance() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.GetInstance()
}

func (e *session) name() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.GetName()
}

// agreed notes that a group agrees or does not, and reports whether that is news.
func (e *session) agreed(account string, g *linkv1.Group, agrees bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	groups := e.groups[account]
	if groups == nil {
		groups = map[cats.Group]bool{}
		e.groups[account] = groups
	}
	group := cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}
	before, known := groups[group]
	groups[group] = agrees
	return !known || before != agrees
}

func (e *session) kinds(account string) (live, pending []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	complete := map[string]bool{}
	for group, agrees := range e.groups[account] {
		t := string(group.Type)
		before, known := complete[t]
		complete[t] = agrees && (before || !known)
	}
	for t, all := range complete {
		if all {
			live = append(live, t)
		} else {
			pending = append(pending, t)
		}
	}
	slices.Sort(live)
	slices.Sort(pending)
	return live, pending
}

func (e *session) info() (Info, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.agent == nil {
		return Info{}, false
	}
	i := Info{Session: e.id, Remote: e.remote, Agent: e.agent, Since: e.since}
	for account := range e.accounts {
		i.Accounts = append(i.Accounts, account)
	}
	return i, true
}

func remote(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
