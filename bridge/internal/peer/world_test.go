package peer_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/peer"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	peerv1 "github.com/fairlead/fairlead/proto/gen/fairlead/peer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that end by a condition.
const patience = 30 * time.Second

// node is a bridge as far as operations go: registry, router, client and server for peers, on a real database. Agents are what a test
// says on their streams.
type node struct {
	t         *testing.T
	name      string
	store     *store.Store
	registry  *accounts.Registry
	router    *operations.Router
	client    *peer.Client
	authority *identity.Authority
	address   string
	hangUp    func()
	// spread: all agents share operations.
	spread atomic.Bool
}

type everything struct{}

func (everything) Allows(string) bool { return true }

// key is the key file that all bridges of a test share.
func key(t *testing.T) *identity.Key {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := identity.CreateKey(file); err != nil {
		t.Fatal(err)
	}
	k, err := identity.ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newNode(t *testing.T, d *storetest.DB, k *identity.Key, name string, absentWait time.Duration) *node {
	t.Helper()
	n := &node{t: t, name: name, store: d.Open(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("at", name)
	var err error
	if n.authority, err = identity.LoadAuthority(t.Context(), n.store, k); err != nil {
		t.Fatal(err)
	}
	n.registry = accounts.New(accounts.Options{Store: n.store, Bridge: name, Version: "1", ApplicationsTable: "cats_v1_applications", Log: log})
	history := operations.NewHistory(n.store, name, time.Hour, log)
	if n.router, err = operations.New(operations.Config{AbsentWait: absentWait, Accounts: n.registry, History: history,
		Elsewhere: func() { n.client.Look() }, Spread: func(string) bool { return n.spread.Load() }, Log: log}); err != nil {
		t.Fatal(err)
	}
	n.client = peer.NewClient(peer.Options{Self: name, Router: n.router, Directory: n.store, Known: n.registry.Elsewhere,
		TLS: func(other string) *tls.Config { return n.authority.PeerClientConfig(name, other) }, Log: log})
	n.listen("127.0.0.1:0")
	n.registry.Announce(n.address)
	running(t, n.registry.Run, history.Run, n.router.Loop, n.client.Run)
	until(t, "the registry is complete", n.registry.Complete)
	return n
}

// listen serves other bridges until hangUp or the end of the test.
func (n *node) listen(address string) {
	n.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(n.t.Context(), "tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = listener.Addr().String()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(n.authority.PeerServerConfig(n.name))), grpc.WaitForHandlers(true))
	relays := peer.NewServer(n.router)
	peerv1.RegisterPeerServiceServer(server, relays)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	n.hangUp = sync.OnceFunc(func() {
		server.Stop()
		relays.Close()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(n.hangUp)
}

// running runs parts until the test ends.
func running(t *testing.T, parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, part := range parts {
		group.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// agent is one session's stream at a node.
type agent struct {
	*operations.Stream

	node    *node
	session string
}

// connect is a session of an agent process that serves account "a".
func (n *node) connect(session, instance string) agent {
	n.t.Helper()
	who := &linkv1.Agent{Name: "agent", Instance: instance}
	if _, err := n.registry.Declare(n.t.Context(), who, everything{}, []*linkv1.Account{{Name: "a"}}); err != nil {
		n.t.Fatal(err)
	}
	a := agent{n.router.Open(session, instance), n, session}
	n.router.Serve(session, "a", true)
	n.registry.Connected("a", session, who)
	until(n.t, "the directory has the session", func() bool {
		found, err := n.store.SessionsOf(n.t.Context(), []string{"a"})
		for _, s := range found {
			if s.Session == session && s.Bridge == n.name && s.Address == n.address {
				return true
			}
		}
		if err != nil {
			n.t.Fatal(err)
		}
		return false
	})
	return a
}

// disconnect ends the session.
func (a agent) disconnect() {
	a.node.router.Lost(a.session)
	a.node.registry.Disconnected("a", a.session)
}

// next waits for the next frame.
func (a agent) next(what string) *linkv1.OperationDown {
	a.node.t.Helper()
	late := time.After(patience)
	for {
		if f := a.Next(); f != nil {
			return f
		}
		select {
		case <-a.Wake:
		case <-late:
			a.node.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (a agent) started(what string) (id string, start *linkv1.Start) {
	a.node.t.Helper()
	f := a.next(what)
	if f.GetStart() == nil {
		a.node.t.Fatalf("got %v instead of %s", f, what)
	}
	return f.GetId(), f.GetStart()
}

func (a agent) output(id string, offset uint64, text string) {
	a.node.t.Helper()
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: offset, Data: []byte(text)}}})
}

func (a agent) say(f *linkv1.OperationUp) {
	a.node.t.Helper()
	if err := a.Received(f); err != nil {
		a.node.t.Fatal(err)
	}
}

// done tells the outcome and waits until the asking bridge has it.
func (a agent) done(id string) {
	a.node.t.Helper()
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	for {
		f := a.next("received")
		if f.GetOutputCredit() > 0 {
			continue
		}
		if f.GetId() != id || f.GetReceived() == nil {
			a.node.t.Errorf("after the outcome of %s: %v", id, f)
		}
		return
	}
}

// result is how a Run ended.
type result struct {
	outcome *linkv1.Outcome
	err     error
}

// begin runs an operation on account "a" beside the test.
func (n *node) begin(ctx context.Context, mutation bool, output io.Writer) <-chan result {
	ended := make(chan result, 1)
	op := &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "pod", Namespace: "n", Name: "x"}}}
	go func() {
		outcome, err := n.router.Run(ctx, "a", op, mutation, output)
		ended <- result{outcome, err}
	}()
	return ended
}

func wait(t *testing.T, what string, ended <-chan result) result {
	t.Helper()
	select {
	case r := <-ended:
		return r
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		return result{}
	}
}

func succeeded(t *testing.T, what string, ended <-chan result) {
	t.Helper()
	if r := wait(t, what, ended); r.err != nil || r.outcome.GetState() != linkv1.Outcome_STATE_DONE {
		t.Errorf("%s: %v, %v", what, r.outcome, r.err)
	}
}
