package session

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// patience bounds waits that end by a condition.
const patience = 30 * time.Second

// bridge is a scripted bridge, over real gRPC on loopback: a fault fake. Tests say for each session what a bridge says, right or wrong.
type bridge struct {
	agentv1.UnimplementedAgentServiceServer

	t       *testing.T
	address string
	came    chan *peer
	// only token is let in, if there is one.
	token string

	mu       sync.Mutex
	sessions int
	peers    map[string]*peer
}

// peer is one session of an agent, as its bridge sees it.
type peer struct {
	t          *testing.T
	secret     string
	stream     agentv1.AgentService_SessionServer
	up         chan *linkv1.SessionUp
	inventory  chan *wire[linkv1.InventoryUp, linkv1.InventoryDown]
	operations chan *wire[linkv1.OperationUp, linkv1.OperationDown]
	over       chan struct{}
	ending     sync.Once
	err        error // what the session's stream ends with
}

// wire is one further stream of a session.
type wire[U, D any] struct {
	t    *testing.T
	up   chan *U
	send func(*D) error
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{t: t, address: listener.Addr().String(), came: make(chan *peer, 100), peers: map[string]*peer{}}
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.MaxRecvMsgSize(link.MaxFrameBytes))
	agentv1.RegisterAgentServiceServer(server, b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b
}

// collect reads a stream into a channel, which is closed with the stream.
func collect[U any](recv func() (*U, error)) (chan *U, func()) {
	up := make(chan *U, 10_000)
	return up, func() {
		defer close(up)
		for {
			frame, err := recv()
			if err != nil {
				return
			}
			up <- frame
		}
	}
}

func (b *bridge) Session(stream agentv1.AgentService_SessionServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if b.token != "" && strings.Join(md.Get("authorization"), ",") != "Bearer "+b.token {
		return status.Error(codes.Unauthenticated, "the token is not known")
	}
	p := &peer{t: b.t, stream: stream, inventory: make(chan *wire[linkv1.InventoryUp, linkv1.InventoryDown], 1),
		operations: make(chan *wire[linkv1.OperationUp, linkv1.OperationDown], 1), over: make(chan struct{})}
	b.mu.Lock()
	p.secret = fmt.Sprintf("secret-%d", b.sessions)
	b.sessions++
	b.peers[p.secret] = p
	b.mu.Unlock()
	var read func()
	p.up, read = collect(stream.Recv)
	var reading sync.WaitGroup
	reading.Go(read)
	b.came <- p
	select {
	case <-p.over:
	case <-stream.Context().Done():
	}
	return p.err
}

// forget lets go of a session that is over: a test of many would hold what all of them said.
func (b *bridge) forget(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.peers, p.secret)
}

func (b *bridge) find(ctx context.Context) (*peer, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.peers[strings.Join(md.Get("fairlead-session"), ",")]; p != nil {
		return p, nil
	}
	return nil, status.Error(codes.Unauthenticated, "no such session")
}

func (b *bridge) Inventory(stream agentv1.AgentService_InventoryServer) error {
	p, err := b.find(stream.Context())
	if err != nil {
		return err
	}
	up, read := collect(stream.Recv)
	go read()
	p.inventory <- &wire[linkv1.InventoryUp, linkv1.InventoryDown]{t: b.t, up: up, send: stream.Send}
	return p.wait(stream.Context())
}

func (b *bridge) Operations(stream agentv1.AgentService_OperationsServer) error {
	p, err := b.find(stream.Context())
	if err != nil {
		return err
	}
	up, read := collect(stream.Recv)
	go read()
	p.operations <- &wire[linkv1.OperationUp, linkv1.OperationDown]{t: b.t, up: up, send: stream.Send}
	return p.wait(stream.Context())
}

func (p *peer) wait(ctx context.Context) error {
	select {
	case <-p.over:
		return status.Error(codes.Unavailable, "the session is over")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends the session's streams.
func (p *peer) end() { p.ending.Do(func() { close(p.over) }) }

// next takes a value, or fails the test.
func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	return until(t, what, from, func(T) bool { return true })
}

// until takes values until one fits.
func until[T any](t *testing.T, what string, from <-chan T, fits func(T) bool) T {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case v, ok := <-from:
			if !ok && !isSignal(from) {
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

// isSignal tells whether a channel says something by being closed.
func isSignal(c any) bool {
	_, signal := c.(<-chan struct{})
	return signal
}

// session takes an agent's next session. It ends with the test, before the agent does.
func (b *bridge) session() *peer {
	b.t.Helper()
	p := next(b.t, "a session", b.came)
	b.t.Cleanup(p.end)
	return p
}

func (p *peer) say(frames ...*linkv1.SessionDown) {
	p.t.Helper()
	for _, f := range frames {
		if err := p.stream.Send(f); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *peer) hello() *linkv1.Hello {
	p.t.Helper()
	return until(p.t, "hello", p.up, func(f *linkv1.SessionUp) bool { return f.GetHello() != nil }).GetHello()
}

func (p *peer) welcome(credit uint64) {
	p.t.Helper()
	p.hello()
	p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Welcome{Welcome: &linkv1.Welcome{Capability: 1, CatsFormat: cats.Format, Bridge: "scripted", Session: "s", SessionSecret: p.secret,
		HeartbeatIntervalMs: 15_000, SilenceMs: 60_000, InventoryCredit: credit, MaximumBodyBytes: 1 << 20}}})
}

func (p *peer) attach(epoch uint64) {
	p.t.Helper()
	p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: &linkv1.AccountVerdict{Account: "a", Accepted: true}}},
		&linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{Account: "a", Epoch: epoch}}})
}

func (p *peer) close(code linkv1.Close_Code, reason string) {
	p.t.Helper()
	p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Close{Close: &linkv1.Close{Code: code, Reason: reason}}})
	p.end()
}

func (w *wire[U, D]) say(frame *D) {
	w.t.Helper()
	if err := w.send(frame); err != nil {
		w.t.Fatal(err)
	}
}
