package peer

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/store"
	peerv1 "github.com/fairlead/fairlead/proto/gen/fairlead/peer/v1"
	"github.com/fairlead/fairlead/proto/link"
)

const (
	// lookInterval is how often sessions are looked for while operations wait for one.
	lookInterval = time.Second
	lookTimeout  = 3 * time.Second
	// openTimeout bounds how long a bridge may take to say that a relay is open.
	openTimeout = 5 * time.Second
	// idleTime is how long a relay stays without operations.
	idleTime = time.Minute
	// maxRelays bounds the relays of one bridge.
	maxRelays = 10_000
)

// Directory is where sessions of all bridges stand (store.Store).
type Directory interface {
	SessionsOf(ctx context.Context, accounts []string) ([]store.Session, error)
}

// Options is what a Client is made of.
type Options struct {
	// Self is this bridge's name.
	Self      string
	Router    *operations.Router
	Directory Directory
	// Known are the sessions of an account at other bridges, as they were last seen: for when the directory cannot be read.
	Known func(account string) []store.Session
	// TLS is the configuration for the bridge of a name.
	TLS func(bridge string) *tls.Config
	Log *slog.Logger
}

// Client opens relays to other bridges for operations that wait.
type Client struct {
	o    Options
	look chan struct{}

	mu     sync.Mutex
	relays map[string]*relay // by session, while they open and live
	conns  map[place]*conn
}

// NewClient makes a client; Run makes it work.
func NewClient(o Options) *Client {
	return &Client{o: o, look: make(chan struct{}, 1), relays: map[string]*relay{}, conns: map[place]*conn{}}
}

// Look asks for a look into the directory: an operation waits. It does not block.
func (c *Client) Look() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// Run opens relays until ctx ends, and ends them all then.
func (c *Client) Run(ctx context.Context) error {
	var relays sync.WaitGroup
	defer relays.Wait()
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.look:
		case <-ticker.C:
		}
		for _, s := range c.find(ctx, c.o.Router.Unserved()) {
			if y := c.serve(s); y != nil {
				relays.Go(func() { c.run(ctx, y) })
			}
		}
	}
}

// find returns the sessions of accounts at other bridges.
func (c *Client) find(ctx context.Context, accounts []string) []store.Session {
	if len(accounts) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := c.o.Directory.SessionsOf(ctx, accounts)
	if err != nil {
		c.o.Log.Debug("directory of sessions cannot be read, going on with what is known", "error", err)
		for _, account := range accounts {
			found = append(found, c.o.Known(account)...)
		}
	}
	return slices.DeleteFunc(found, func(s store.Session) bool { return s.Bridge == c.o.Self || s.Address == "" })
}

// relay is one session of another bridge.
type relay struct {
	session, instance string
	place             place
	// Guarded by Client.mu. open: the router has it.
	accounts map[string]bool
	open     bool
}

// key is the session's name in the router.
func (y *relay) key() string { return y.place.bridge + "/" + y.session }

// serve notes that a session serves an account, and returns its relay if that has to be opened.
func (c *Client) serve(s store.Session) *relay {
	c.mu.Lock()
	defer c.mu.Unlock()
	y, there := c.relays[s.Session]
	if !there {
		if len(c.relays) >= maxRelays {
			return nil
		}
		y = &relay{session: s.Session, place: place{s.Bridge, s.Address}, accounts: map[string]bool{}}
		c.relays[s.Session] = y
	}
	if !y.accounts[s.Account] {
		y.accounts[s.Account] = true
		if y.open {
			c.o.Router.Serve(y.key(), s.Account, false)
		}
	}
	if there {
		return nil
	}
	return y
}

// run opens a relay and moves frames until it ends.
func (c *Client) run(ctx context.Context, y *relay) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.relays, y.session)
	}()
	began := time.Now()
	err := c.move(ctx, y)
	if err != nil && ctx.Err() == nil {
		c.o.Log.Info("relay to another bridge ended", "bridge", y.place.bridge, "address", y.place.address, "session", y.session,
			"age", time.Since(began).Round(time.Millisecond).String(), "reason", err.Error())
		if time.Since(began) < lookInterval {
			// A place that fails at once is not asked again at once.
			select {
			case <-ctx.Done():
			case <-time.After(lookInterval):
			}
		}
	}
}

func (c *Client) move(ctx context.Context, y *relay) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	connection, release, err := c.connect(y.place)
	if err != nil {
		return err
	}
	defer release()
	stream, err := c.open(ctx, cancel, peerv1.NewPeerServiceClient(connection), y)
	if err != nil {
		return err
	}
	frames := c.enter(y)
	defer c.leave(y)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel(nil)
	reader.Go(func() {
		for {
			response, err := stream.Recv()
			if err == nil && response.GetFrame() != nil {
				err = frames.Received(response.GetFrame())
			}
			if err != nil {
				cancel(err)
				return
			}
		}
	})
	return c.send(ctx, y, stream, frames)
}

// open asks for the relay and waits until it is open.
func (c *Client) open(ctx context.Context, cancel context.CancelCauseFunc, client peerv1.PeerServiceClient, y *relay) (grpc.BidiStreamingClient[peerv1.RelayRequest, peerv1.RelayResponse], error) {
	defer time.AfterFunc(openTimeout, func() { cancel(context.DeadlineExceeded) }).Stop()
	stream, err := client.Relay(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&peerv1.RelayRequest{Request: &peerv1.RelayRequest_Open{Open: &peerv1.OpenRelay{Session: y.session}}}); err != nil {
		return nil, err
	}
	opened, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	y.instance = opened.GetOpened().GetInstance()
	return stream, nil
}

// enter gives the relay to the router as a session.
func (c *Client) enter(y *relay) *operations.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.o.Router.Open(y.key(), y.instance)
	y.open = true
	for account := range y.accounts {
		c.o.Router.Serve(y.key(), account, false)
	}
	return frames
}

func (c *Client) leave(y *relay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	y.open = false
	c.o.Router.Lost(y.key())
}

// send moves the router's frames until the relay ends or nobody has needed it for a while.
func (c *Client) send(ctx context.Context, y *relay, stream grpc.BidiStreamingClient[peerv1.RelayRequest, peerv1.RelayResponse], frames *operations.Stream) error {
	idle := time.NewTicker(idleTime / 4)
	defer idle.Stop()
	used := time.Now()
	for {
		if frame := frames.Next(); frame != nil {
			used = time.Now()
			if err := stream.Send(&peerv1.RelayRequest{Request: &peerv1.RelayRequest_Frame{Frame: frame}}); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-frames.Wake:
		case now := <-idle.C:
			if c.o.Router.Busy(y.key()) {
				used = now
			}
			if now.Sub(used) > idleTime {
				return nil
			}
		}
	}
}

// place is where a bridge is.
type place struct{ bridge, address string }

// conn is a connection that relays share.
type conn struct {
	*grpc.ClientConn
	users int
}

// connect returns the connection to a bridge; release must be called once.
func (c *Client) connect(p place) (connection *grpc.ClientConn, release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared := c.conns[p]
	if shared == nil {
		made, err := grpc.NewClient("passthrough:///"+p.address, grpc.WithTransportCredentials(credentials.NewTLS(c.o.TLS(p.bridge))),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(link.MaxFrameBytes)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}))
		if err != nil {
			return nil, nil, err
		}
		shared = &conn{ClientConn: made}
		c.conns[p] = shared
	}
	shared.users++
	return shared.ClientConn, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if shared.users--; shared.users == 0 {
			delete(c.conns, p)
			_ = shared.Close() // nothing uses it any more
		}
	}, nil
}
