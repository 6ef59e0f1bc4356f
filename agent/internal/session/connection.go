package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"

	"github.com/fairlead/fairlead/proto/compress"
	"github.com/fairlead/fairlead/proto/link"
)

// Pauses are the waits between connections.
type Pauses struct {
	// Reconnect is the longest pause after a session that worked; the actual one is random, so that many agents of a bridge that stopped
	// do not come back at one moment.
	Reconnect time.Duration
	// Base, Multiplier and Max shape the pause after failed tries, ±Jitter.
	Base, Max          time.Duration
	Multiplier, Jitter float64
}

// after is the pause before the next try, when tries have failed in a row.
func (p Pauses) after(tries int, worked bool) time.Duration {
	if worked {
		return time.Duration(mathrand.Float64() * float64(p.Reconnect)) //nolint:gosec // spreads load
	}
	pause := float64(p.Base)
	for range tries {
		if pause *= p.Multiplier; pause > float64(p.Max) {
			pause = float64(p.Max)
			break
		}
	}
	return time.Duration(pause * (1 + p.Jitter*(2*mathrand.Float64()-1))) //nolint:gosec // spreads load
}

// ending is how a connection ended.
type ending struct {
	reason string
	// worked: the bridge served the agent for a while, or sent it elsewhere.
	worked     bool
	final      bool
	retryAfter time.Duration
	addresses  []string
}

// dialer makes connections.
type dialer struct {
	cfg Config
}

func newDialer(cfg Config) (*dialer, error) {
	if !cfg.Plaintext {
		if _, err := cfg.Trust.TLS(cfg.Address, nil); err != nil {
			return nil, err
		}
	}
	return &dialer{cfg: cfg}, nil
}

// dial prepares a connection; certificate is the agent's in TLS, nil: none.
func (d *dialer) dial(address string, certificate *tls.Certificate) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if !d.cfg.Plaintext {
		cfg, err := d.cfg.Trust.TLS(address, func() *tls.Certificate { return certificate })
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(cfg)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(link.MaxFrameBytes), grpc.MaxCallSendMsgSize(link.MaxFrameBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("fairlead-agent/" + d.cfg.Agent.GetVersion()),
	}
	if d.cfg.Bearer != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer{d.cfg.Bearer, d.cfg.Plaintext}))
	}
	if d.cfg.NoProxy {
		options = append(options, grpc.WithNoProxy())
	}
	return grpc.NewClient(address, options...)
}

// connection is one connection with its three streams.
type connection struct {
	session *Session
	client  agentv1.AgentServiceClient
	began   time.Time
	ctx     context.Context //nolint:containedctx // the connection's life
	cancel  context.CancelFunc
	// owned counts the goroutines of streams; only once adds to it, so that it can wait for them.
	owned    sync.WaitGroup
	openings chan string
	// measured are metrics on their way.
	measured chan *linkv1.SessionUp

	mu       sync.Mutex
	reason   string
	leaving  bool
	accepted bool
	end      link.Disconnect
}

const (
	// settled is how long a session must have lasted for its end to say nothing about the next try: a bridge that accepts and drops an
	// agent each time is not asked more often than one that refuses it.
	settled = 10 * time.Second
	// lastWords is how long a bridge may take to read what the agent said last.
	lastWords = time.Second
)

// once connects, and returns when the connection is over. The end of asked ends the attempt; what is connected by then lives as serving does.
func (s *Session) once(asked, serving context.Context, address string) ending {
	identity, err := s.show(asked, address)
	if err != nil {
		return ending{reason: err.Error()}
	}
	inTLS := identity.certificate
	if identity.nonce != nil {
		inTLS = nil
	}
	conn, err := s.dialer.dial(address, inTLS)
	if err != nil {
		// An address that a bridge named is forgotten; the configured one stays wrong until somebody changes it.
		return ending{reason: err.Error(), final: address == s.cfg.Address}
	}
	defer func() { _ = conn.Close() }()
	c := &connection{session: s, client: agentv1.NewAgentServiceClient(conn), began: time.Now(), openings: make(chan string, 1), measured: make(chan *linkv1.SessionUp, 1)}
	c.ctx, c.cancel = context.WithCancel(serving)
	defer c.cancel()
	connected := context.AfterFunc(asked, c.cancel)
	stream, err := c.client.Session(identity.metadata(c.ctx))
	if err == nil && identity.nonce != nil {
		late := time.AfterFunc(proofTime, c.cancel)
		err = s.prove(stream, identity)
		late.Stop()
	}
	if err != nil {
		s.reject(err)
		return ending{reason: explain(err)}
	}
	if !connected() {
		return ending{reason: "the agent stops"}
	}
	s.step(func(now time.Time) {
		s.conn = c
		s.core.Connected(now)
	})
	c.owned.Go(func() { c.readSession(stream) })
	c.owned.Go(func() { c.writeSession(stream) })
	if identity.certificate != nil && s.cfg.Given == nil {
		c.owned.Go(func() { c.keepRenewed(address) })
	}
	for c.ctx.Err() == nil {
		select {
		case secret := <-c.openings:
			c.open(secret)
		case <-c.ctx.Done():
		}
	}
	c.owned.Wait()
	s.step(func(now time.Time) {
		s.core.Lost(now, c.why())
		s.conn = nil
	})
	end := c.ending(serving)
	if c.isAccepted() {
		s.metrics.disconnections.Inc()
	}
	if end.final {
		s.cfg.Credential.Drop() // the bridge may know the token by now, and no longer the certificate
	}
	return end
}

func (c *connection) ending(parent context.Context) ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := ending{reason: c.reason, worked: c.accepted && time.Since(c.began) >= settled}
	if c.leaving {
		end.final, end.retryAfter, end.addresses = c.end.Final, c.end.RetryAfter, c.end.Addresses
		end.worked = end.worked || c.accepted && c.end.Code == linkv1.Close_CODE_DRAINED
		if c.end.Reason != "" {
			end.reason = c.end.Reason
		}
	}
	if end.reason == "" && parent.Err() != nil {
		end.reason = "the agent stops"
	}
	return end
}

func (c *connection) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// fail ends the connection; the first reason counts.
func (c *connection) fail(err error) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason = explain(err)
	}
	c.mu.Unlock()
	c.cancel()
}

// close lets the session stream's writer send what is left, then ends the connection.
func (c *connection) close(end link.Disconnect) {
	c.mu.Lock()
	c.leaving, c.end = true, end
	c.mu.Unlock()
	wake(c.session.wakeSession)
}

// opened takes the secret of a session that the bridge has accepted.
func (c *connection) opened(secret string) {
	c.mu.Lock()
	c.accepted = true
	c.mu.Unlock()
	select {
	case c.openings <- secret:
	default: // the machine asks once in a session
	}
}

func (c *connection) isAccepted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

func (c *connection) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

func (c *connection) readSession(stream agentv1.AgentService_SessionClient) {
	for {
		frame, err := stream.Recv()
		if err != nil {
			c.session.reject(err)
			c.fail(err)
			return
		}
		c.session.step(func(now time.Time) { c.session.core.ReceivedSession(now, frame) })
		if w := frame.GetWelcome(); w != nil && c.isAccepted() {
			c.welcome(w)
		}
		if v := frame.GetVerdict(); v.GetRemoved() && c.session.removal != nil {
			c.session.removal(v)
		}
	}
}

// welcome shows that the session is open.
func (c *connection) welcome(w *linkv1.Welcome) {
	s := c.session
	s.mu.Lock()
	s.state.Connected, s.state.Since, s.state.Problem = true, time.Now(), ""
	s.mu.Unlock()
	s.metrics.connections.Inc()
	if every := time.Duration(w.GetMetricsIntervalMs()) * time.Millisecond; every > 0 && s.cfg.Metrics != nil {
		c.owned.Go(func() { c.measure(max(every, leastMeasure)) })
	}
	s.cfg.Log.Info("connected to a bridge", "bridge", w.GetBridge(), "session", w.GetSession())
}

func (c *connection) writeSession(stream agentv1.AgentService_SessionClient) {
	s := c.session
	for {
		// Asked before the frame: what the machine has still to say when it leaves is there then.
		leaving := c.isLeaving()
		frame := pull(s, s.core.NextSession)
		if frame == nil {
			if leaving {
				c.closeSend(stream)
				return
			}
			select {
			case <-s.wakeSession:
				continue
			case frame = <-c.measured:
			case <-c.ctx.Done():
				return
			}
		}
		if err := stream.Send(frame); err != nil {
			c.sendFailed(err)
			return
		}
	}
}

// closeSend ends the stream and waits until the bridge has ended it too: to cancel it at once could overtake what was sent last.
func (c *connection) closeSend(stream agentv1.AgentService_SessionClient) {
	_ = stream.CloseSend() // the bridge may be gone already
	select {
	case <-c.ctx.Done():
	case <-time.After(lastWords):
		c.fail(errOver)
	}
}

// sendFailed ends the connection. The reader of the stream has the status that says why, so it is given a moment to tell.
func (c *connection) sendFailed(err error) {
	select {
	case <-c.ctx.Done():
	case <-time.After(time.Second):
		c.fail(err)
	}
}

// open opens the session's other streams.
func (c *connection) open(secret string) {
	s := c.session
	ctx := metadata.AppendToOutgoingContext(c.ctx, "fairlead-session", secret)
	inventory, err := c.client.Inventory(ctx, grpc.UseCompressor(compress.Name))
	if err != nil {
		c.fail(err)
		return
	}
	operations, err := c.client.Operations(ctx)
	if err != nil {
		c.fail(err)
		return
	}
	c.owned.Go(func() {
		receive(c, inventory.Recv, func(now time.Time, f *linkv1.InventoryDown) { s.core.ReceivedInventory(now, f) })
	})
	c.owned.Go(func() {
		receive(c, operations.Recv, func(now time.Time, f *linkv1.OperationDown) { s.core.ReceivedOperation(now, f) })
	})
	c.owned.Go(func() { transmit(c, s.wakeInventory, s.core.NextInventory, s.metrics.counted(inventory.Send)) })
	c.owned.Go(func() { transmit(c, s.wakeOperation, s.core.NextOperation, operations.Send) })
}

// receive feeds a stream's frames until it ends.
func receive[F any](c *connection, recv func() (*F, error), feed func(time.Time, *F)) {
	for {
		frame, err := recv()
		if err != nil {
			c.fail(err)
			return
		}
		c.session.step(func(now time.Time) { feed(now, frame) })
	}
}

// transmit sends a stream's frames until the connection ends.
func transmit[F any](c *connection, wakeup <-chan struct{}, next func() *F, send func(*F) error) {
	s := c.session
	for {
		frame := pull(s, next)
		if frame == nil {
			select {
			case <-wakeup:
			case <-c.ctx.Done():
				return
			}
			continue
		}
		if err := send(frame); err != nil {
			c.sendFailed(err)
			return
		}
	}
}

// explain says why a stream ended, and what to do where that is known.
func explain(err error) string {
	if errors.Is(err, io.EOF) {
		return "the bridge ended the session"
	}
	st, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	if answer, between := strings.CutPrefix(st.Message(), "unexpected HTTP status code received from server: "); between {
		// A bridge answers every call with a status of gRPC; these are the words of the library when somebody else does.
		answer, _, _ = strings.Cut(answer, ";")
		return fmt.Sprintf("what stands between this agent and its bridge answers HTTP %s: it may not take the token of clouddriver.auth.token or tokenCommand, or not pass gRPC on", answer)
	}
	switch st.Code() {
	case codes.Unauthenticated:
		return fmt.Sprintf("the bridge does not accept this agent: %s", st.Message())
	case codes.PermissionDenied:
		return fmt.Sprintf("the bridge refuses this agent: %s", st.Message())
	case codes.OK, codes.Canceled:
		return "the stream ended"
	default:
		return st.Message()
	}
}
