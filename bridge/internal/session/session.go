package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"regexp"
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

	wakeSession, wakeInventory, wakeActor, wakeTeller chan struct{}

	mu   sync.Mutex
	core *link.Bridge
	// work is what the actor has still to do, notes what the teller has; hangup is set when the machine has ended the session.
	work  []link.Action
	notes []link.Note
	// unassigned is what the agent said about dynamic accounts, for the teller.
	unassigned []*linkv1.Assigned
	hangup     *link.Hangup
	// facts are the latest of each account whose facts wait to be stored or are being stored (nil: nothing newer). unsaved are those
	// that the database did not take.
	facts   map[string]*linkv1.Facts
	unsaved map[string]bool
	// stands are the accounts that it stands by for, grants the epochs of holders that it may take one from, attachedOnce those that it had.
	stands       map[string]bool
	grants       map[string]uint64
	attachedOnce map[string]bool
	// draining: its agent goes elsewhere, or ends. goodbye: it ends.
	draining, goodbye bool
	agent             *linkv1.Agent
	greeted           bool
	// judged tells for each declared account whether it was released when the registry answered.
	judged map[string]bool
	// epochs of attached accounts, and the resyncs of theirs that somebody waits for.
	epochs  map[string]uint64
	resyncs map[string]*resync
	// groups tells for each account which of its groups agree.
	groups   map[string]map[cats.Group]bool
	accounts map[string]bool
	// measuredAt is when metrics of the agent were taken last, unmeasured that the log knows of some that were not; the reader's.
	measuredAt     time.Time
	unmeasured     bool
	inventoryOpen  bool
	operationsOpen bool
}

func newSession(s *Service, stream agentv1.AgentService_SessionServer, id identity.Identity) (*session, error) {
	e := &session{
		service: s, id: newSecret()[:12], secret: newSecret(), identity: id, remote: remote(stream.Context()), since: time.Now(), stream: stream,
		ended: make(chan struct{}), accounts: map[string]bool{}, groups: map[string]map[cats.Group]bool{},
		facts: map[string]*linkv1.Facts{}, unsaved: map[string]bool{}, stands: map[string]bool{}, grants: map[string]uint64{}, attachedOnce: map[string]bool{},
		epochs: map[string]uint64{}, resyncs: map[string]*resync{},
		wakeSession: make(chan struct{}, 1), wakeInventory: make(chan struct{}, 1), wakeActor: make(chan struct{}, 1), wakeTeller: make(chan struct{}, 1),
	}
	e.log = s.cfg.Log.With("session", e.id)
	e.ctx, e.cancel = context.WithCancel(stream.Context())
	core, err := link.NewBridge(e.since, link.BridgeConfig{
		Bridge: s.cfg.Bridge, Session: e.id, Secret: e.secret, Format: cats.Format,
		Rand:   mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())), //nolint:gosec // spreads ages, need not be secret
		LinkID: linkID, CheckInterval: s.cfg.CheckInterval, MetricsInterval: s.cfg.MetricsInterval, Heartbeat: s.cfg.Heartbeat, Age: s.cfg.Age,
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

// run owns the session until it is over.
func (e *session) run() error {
	defer close(e.ended)
	defer e.cancel()
	var owned, told sync.WaitGroup
	owned.Go(e.clock)
	a := &actor{session: e}
	owned.Go(a.run)
	t := &teller{session: e, over: make(chan struct{})}
	told.Go(t.run)
	e.service.readers.Go(e.read)
	err := e.whileOpen(e.write)
	e.cancel()
	owned.Wait()
	e.step(func(now time.Time) { e.core.Lost(now, "the session's stream ended") })
	close(t.over)
	told.Wait()
	e.leave()
	return err
}

// lastWords is how long the agent may take to read what the session says last.
const lastWords = 2 * time.Second

// whileOpen runs what sends on a stream until it returns. When the session is over, an agent that does not read holds it up no longer: the
// stream ends with the call, and then the sender does.
func (e *session) whileOpen(send func() error) error {
	sent := make(chan error, 1)
	e.service.readers.Go(func() { sent <- send() })
	select {
	case err := <-sent:
		return err
	case <-e.ctx.Done():
	}
	select {
	case err := <-sent:
		return err
	case <-time.After(lastWords):
		return status.Error(codes.Unavailable, "the session is over")
	}
}

// leave takes the session out of routing. A newer session of the same agent has its own entries.
func (e *session) leave() {
	e.service.cfg.Router.Lost(e.id)
	if d := e.service.cfg.Dynamic; d != nil {
		d.Left(e.id)
	}
	e.mu.Lock()
	accounts, goodbye := e.accounts, e.goodbye
	e.accounts = map[string]bool{}
	e.mu.Unlock()
	for account := range accounts {
		e.service.cfg.Accounts.Disconnected(account, e.id)
	}
	if goodbye {
		e.service.readers.Go(func() { e.vacate(slices.Collect(maps.Keys(accounts))) })
	}
	code, reason := e.why()
	e.service.counts.over(code, time.Since(e.since))
	if f := e.service.cfg.Forwarded; f != nil {
		f.Drop(e.id)
	}
	if code == linkv1.Close_CODE_PROTOCOL.String() {
		e.service.refusals.WithLabelValues(refusedProtocol).Inc()
	}
	e.log.Info("session ended", "agent", e.name(), "accounts", len(accounts), "age", time.Since(e.since).Round(time.Second).String(), "code", code, "reason", reason)
}

// read takes the session stream's frames until it ends.
func (e *session) read() {
	for {
		frame, err := e.stream.Recv()
		if err != nil {
			e.cancel()
			return
		}
		if m := frame.GetMetrics(); m != nil {
			e.measured(m.GetText())
			continue
		}
		e.step(func(now time.Time) {
			if hello := frame.GetHello(); hello != nil && e.agent == nil {
				e.agent = hello.GetAgent() // the operations stream opens before the registry has answered
				if e.agent != nil {
					e.agent.Capability = hello.GetCapability()
				}
				e.service.outdated.heard(hello, e.remote, now)
			}
			if frame.GetGoodbye() != nil && !e.draining {
				e.goodbye = true // one that is sent elsewhere says so too
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
	return e.whileOpen(func() error { return pump(e.ctx, stream.Context(), e.wakeInventory, e.nextInventory, stream.Send) })
}

// operations moves the operations stream's frames.
func (e *session) operations(stream agentv1.AgentService_OperationsServer) error {
	defer e.cancel()
	s := e.service.cfg.Router.Open(e.id, e.process())
	s.Ignored = e.ignoredOperation()
	// The session may have left the routing before it was opened here.
	defer e.service.cfg.Router.Lost(e.id)
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
	return e.whileOpen(func() error { return pump(e.ctx, stream.Context(), s.Wake, s.Next, stream.Send) })
}

// ignoredOperation counts frames about operations that the agent does not have. Of those that are another agent's the log hears so often.
func (e *session) ignoredOperation() func(operation string, foreign bool) {
	said := 0
	return func(operation string, foreign bool) {
		if !foreign {
			e.service.refusals.WithLabelValues(refusedLate).Inc()
			e.log.Debug("frame of an operation that nobody waits for ignored", "operation", operation)
			return
		}
		e.service.refusals.WithLabelValues(refusedOperation).Inc()
		if said++; said <= mostForeign {
			e.log.Warn("agent refused", "what", refusedOperation, "agent", e.name(), "identity", e.identity.ID(), "operation", operation, "reason", "another agent has this operation")
		}
	}
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

// saveEvery is after how many seconds facts that the database did not take are tried again.
const saveEvery = 10

// clock tells the machine the time, and ends the session with its identity.
func (e *session) clock() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	revoked := e.identity.Ended
	end := func(why string) {
		e.log.Warn("session ends: its identity is no longer valid", "agent", e.name(), "identity", e.identity.ID(), "reason", why)
		e.service.refusals.WithLabelValues(refusedRevocation).Inc()
		e.step(func(now time.Time) { e.core.Close(now, linkv1.Close_CODE_REFUSED, why, 0) })
	}
	for ticks := 1; ; {
		select {
		case <-e.ctx.Done():
			return
		case <-second.C:
			busy := e.service.cfg.Router.Busy(e.id)
			e.step(func(now time.Time) {
				if until := e.identity.Until; !until.IsZero() && now.After(until) {
					// Not a reason to end anything: the agent has newer ones by now, and shows them when it connects again.
					e.core.Drain(now, nil, "the identity that the session was opened with has expired")
				}
				e.core.Tick(now)
				e.core.Busy(now, busy)
				if ticks%saveEvery == 0 {
					e.saveAgain()
				}
			})
			if e.identity.Recheck != nil {
				if err := e.identity.Recheck(); err != nil {
					end(err.Error())
					return
				}
			}
			ticks++
		case <-revoked:
			revoked = nil
			end(identity.ErrUnauthenticated.Error())
		}
	}
}

func (e *session) drain(reason string) {
	e.step(func(now time.Time) { e.core.Drain(now, nil, reason) })
}

// described is the agent as it said Hello.
func (e *session) described() *linkv1.Agent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent
}

func (e *session) instance() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.GetInstance()
}

// process names the agent's process as the bridge knows it: its word for itself, and who it has proven to be. By the word alone another
// agent could pass for it, and get its operations.
func (e *session) process() string {
	proven := sha256.Sum256([]byte(e.identity.Subject()))
	word := e.instance()
	if !plain.MatchString(word) {
		sum := sha256.Sum256([]byte(word))
		word = hex.EncodeToString(sum[:16])
	}
	return word + "." + hex.EncodeToString(proven[:16])
}

// plain is a word that people can be shown, and that is no longer than what an agent says.
var plain = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

func (e *session) name() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.GetName()
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
	i.Accounts = slices.Sorted(maps.Keys(e.accounts))
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
