package session_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/session"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that end by a condition.
const patience = 30 * time.Second

// checkInterval makes checks come so soon that tests can wait for them.
const checkInterval = 200 * time.Millisecond

// sleepChecks gives checks the time to find what they should not: a few intervals, in which nothing must happen.
func (w *world) sleepChecks() { time.Sleep(5 * checkInterval) }

// world is a bridge's session service with everything real behind it: database, registry, tokens, cache, router.
type world struct {
	// tells has sessions hear of accounts that are removed or released, as in a bridge.
	tells atomic.Bool

	t        *testing.T
	db       *storetest.DB
	tokens   *identity.Tokens
	registry *accounts.Registry
	router   *operations.Router
	store    *store.Store
	cache    *cache.Writer
	service  *session.Service
	log      *journal
	metrics  *prometheus.Registry
	// authority gives agents certificates, and the bridge what it proves itself with.
	authority *identity.Authority
	strange   strange
	conn      *grpc.ClientConn
	// token lets in, tokenID revokes it.
	token, tokenID string
	// opens opens a session's stream by what agents show of themselves; newWorld: the token.
	opens func() *agent
}

// journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newWorld(t *testing.T, d *storetest.DB, name string, limits cache.Options) *world {
	t.Helper()
	w := &world{t: t, db: d, log: &journal{}, metrics: prometheus.NewRegistry()}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := d.Open(t)
	w.store = s
	w.certify(s)
	limits.Store, limits.Log = s, log
	writer := cache.New(limits)
	w.cache = writer
	w.registry = accounts.New(accounts.Options{Store: s, Remover: writer, Bridge: name, Version: "1", ApplicationsTable: "cats_v1_applications",
		Leaving: func(account string) {
			if w.tells.Load() {
				w.service.Removed(account)
			}
		}, Log: log})
	w.tokens = identity.NewTokens(s, log)
	history := operations.NewHistory(s, name, time.Hour, log)
	var err error
	w.router, err = operations.New(operations.Config{AbsentWait: time.Second, Accounts: w.registry, History: history, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.service = session.New(session.Config{Bridge: name, Agents: identity.NewAgents(w.identities(log)), Prover: w.prover, Accounts: w.registry, Fences: s, Directory: s, Cache: writer, Metrics: w.metrics, Router: w.router, CheckInterval: checkInterval, Grace: 50 * time.Millisecond, Settle: 3 * time.Second, Log: log})
	w.run(writer.Run, w.service.Run, w.registry.Run, w.tokens.Run, history.Run, w.router.Loop)
	w.serve()
	w.until("the registry is complete", w.registry.Complete)
	w.tokenID, w.token, err = w.tokens.Create(t.Context(), []string{"*"}, 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	w.opens = func() *agent {
		a := w.open("Bearer " + w.token)
		a.listen()
		return a
	}
	t.Cleanup(func() {
		if strings.Contains(w.log.String(), w.token) {
			t.Error("the token is in the log")
		}
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

func (w *world) run(parts ...func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

func (w *world) serve() {
	w.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	agentv1.RegisterAgentServiceServer(server, w.service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.conn.Close(); err != nil {
			w.t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
		w.service.Close()
		if list := w.service.Sessions(); len(list) != 0 {
			w.t.Errorf("sessions are left: %v", list)
		}
	})
}

func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// agent is a raw agent: it says what a test wants, right or wrong.
type agent struct {
	t      *testing.T
	w      *world
	stream agentv1.AgentService_SessionClient
	down   chan *linkv1.SessionDown
	// err is how the session's stream ended; read it after down is closed.
	err    error
	cut    context.CancelFunc
	secret string
	// passed are attaches that came while the test waited for something else.
	passed map[string]*linkv1.Attached
	// attaches are the epochs of what it has now, as far as frames were taken.
	attaches map[string]uint64
}

// open opens a session's stream and says nothing.
func (w *world) open(token string) *agent {
	w.t.Helper()
	ctx, cut := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(cut)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	}
	stream, err := agentv1.NewAgentServiceClient(w.conn).Session(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &agent{t: w.t, w: w, stream: stream, cut: cut, down: make(chan *linkv1.SessionDown, 10_000), passed: map[string]*linkv1.Attached{}, attaches: map[string]uint64{}}
}

// listen reads the session's stream.
func (a *agent) listen() {
	go func() {
		defer close(a.down)
		for {
			frame, err := a.stream.Recv()
			if err != nil {
				a.err = err
				return
			}
			a.down <- frame
		}
	}()
}

func (a *agent) say(frame *linkv1.SessionUp) {
	a.t.Helper()
	if err := a.stream.Send(frame); err != nil {
		a.t.Fatal(err)
	}
}

func hello(instance string, resumes []*linkv1.Resume, names ...string) *linkv1.SessionUp {
	h := &linkv1.Hello{Capability: 1, MinimumCapability: 1, CatsFormat: cats.Format, Agent: &linkv1.Agent{Instance: instance, Name: "agent-" + instance}, Resumes: resumes}
	for _, n := range names {
		h.Accounts = append(h.Accounts, &linkv1.Account{Name: n})
	}
	return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Hello{Hello: h}}
}

// connect opens a session up to its Welcome.
func (w *world) connect(instance string, names ...string) *agent {
	w.t.Helper()
	return w.resume(instance, nil, names...)
}

func (w *world) resume(instance string, resumes []*linkv1.Resume, names ...string) *agent {
	w.t.Helper()
	a := w.opens()
	a.say(hello(instance, resumes, names...))
	a.secret = a.get("welcome", func(f *linkv1.SessionDown) bool { return f.GetWelcome() != nil }).GetWelcome().GetSessionSecret()
	return a
}

// get takes frames of the session's stream until one fits.
func (a *agent) get(what string, fits func(*linkv1.SessionDown) bool) *linkv1.SessionDown {
	a.t.Helper()
	return until(a.t, what, a.down, func(f *linkv1.SessionDown) bool {
		a.note(f)
		return fits(f)
	})
}

func (a *agent) note(f *linkv1.SessionDown) {
	if at := f.GetAttached(); at != nil {
		a.passed[at.GetAccount()], a.attaches[at.GetAccount()] = at, at.GetEpoch()
	}
	if gone := f.GetDetached(); gone != nil {
		delete(a.attaches, gone.GetAccount())
	}
}

// holds are the accounts that it is attached to now, with their epochs.
func (a *agent) holds() map[string]uint64 {
	for {
		select {
		case f, open := <-a.down:
			if !open {
				return nil
			}
			a.note(f)
		default:
			return a.attaches
		}
	}
}

// attached takes the account's next attach.
func (a *agent) attached(account string) *linkv1.Attached {
	a.t.Helper()
	if a.passed[account] == nil {
		a.get("attached", func(*linkv1.SessionDown) bool { return a.passed[account] != nil })
	}
	at := a.passed[account]
	delete(a.passed, account)
	return at
}

func (a *agent) standsBy(account string) {
	a.t.Helper()
	a.get("standing by", func(f *linkv1.SessionDown) bool {
		return f.GetDetached().GetAccount() == account && f.GetDetached().GetEpoch() == 0
	})
}

func (a *agent) closed(code linkv1.Close_Code) string {
	a.t.Helper()
	c := a.get("close", func(f *linkv1.SessionDown) bool { return f.GetClose() != nil }).GetClose()
	if c.GetCode() != code {
		a.t.Fatalf("closed with %s: %s; want %s", c.GetCode(), c.GetReason(), code)
	}
	a.over()
	return c.GetReason()
}

// over waits for the end of the session's stream.
func (a *agent) over() error {
	a.t.Helper()
	late := time.After(patience)
	for {
		select {
		case _, ok := <-a.down:
			if !ok {
				return a.err
			}
		case <-late:
			a.t.Fatal("the session's stream does not end")
		}
	}
}

// until takes values until one fits.
func until[T any](t *testing.T, what string, from <-chan T, fits func(T) bool) T {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case v, ok := <-from:
			if !ok {
				t.Fatalf("the stream ended before %s", what)
			}
			if fits(v) {
				return v
			}
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// wire is one further stream of a session.
type wire[U, D any] struct {
	t    *testing.T
	down chan *D
	send func(*U) error
}

func newWire[U, D any](t *testing.T, send func(*U) error, recv func() (*D, error)) *wire[U, D] {
	w := &wire[U, D]{t: t, down: make(chan *D, 10_000), send: send}
	go func() {
		defer close(w.down)
		for {
			frame, err := recv()
			if err != nil {
				return
			}
			w.down <- frame
		}
	}()
	return w
}

func (w *wire[U, D]) say(frame *U) {
	w.t.Helper()
	if err := w.send(frame); err != nil && err != io.EOF { //nolint:errorlint // gRPC's own word for a stream that ended
		w.t.Fatal(err)
	}
}

func (a *agent) context(secret string) context.Context {
	return metadata.AppendToOutgoingContext(a.stream.Context(), "fairlead-session", secret)
}

func (a *agent) inventory() *wire[linkv1.InventoryUp, linkv1.InventoryDown] {
	a.t.Helper()
	stream, err := agentv1.NewAgentServiceClient(a.w.conn).Inventory(a.context(a.secret))
	if err != nil {
		a.t.Fatal(err)
	}
	return newWire(a.t, stream.Send, stream.Recv)
}

func (a *agent) operations() *wire[linkv1.OperationUp, linkv1.OperationDown] {
	a.t.Helper()
	stream, err := agentv1.NewAgentServiceClient(a.w.conn).Operations(a.context(a.secret))
	if err != nil {
		a.t.Fatal(err)
	}
	return newWire(a.t, stream.Send, stream.Recv)
}

// batch is a step that puts a pod with a body of about that size.
func batch(account string, epoch, seq uint64, name string, bytes int) *linkv1.InventoryUp {
	body := fmt.Sprintf(`{"attributes":{"apiVersion":"v1","fullResourceName":"pod %[2]s","kind":"pod","manifest":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%[2]s","namespace":"n"},"note":"%[3]s"},"moniker":{},"name":"%[2]s","namespace":"n"},"id":"kubernetes.v2:infrastructure:pod:%[1]s:n:%[2]s","relationships":{},"ttlSeconds":-1}`,
		account, name, strings.Repeat("x", bytes))
	return &linkv1.InventoryUp{Account: account, Epoch: epoch, Seq: seq, Step: &linkv1.InventoryUp_Batch{Batch: &linkv1.Batch{Changes: []*linkv1.Change{
		{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: &linkv1.Key{Type: "pod", Scope: "n", Name: name}, Body: []byte(body)}}}}}}}
}

func acked(seq uint64) func(*linkv1.InventoryDown) bool {
	return func(f *linkv1.InventoryDown) bool { return f.GetAck().GetSeq() >= seq }
}
