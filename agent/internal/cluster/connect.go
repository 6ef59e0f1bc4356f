package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
)

const (
	// Requests per second, and at once, that one account sends, unless the bridge says otherwise (Limit), for its inventory: ten kinds list at start, pages follow each
	// other, watches cost one request every few minutes.
	inventoryRate, inventoryBurst = 20, 40
	// The same for operations. kubectl allows 50 to each of its processes; a busy account has several operations at once.
	operationRate, operationBurst = 400, 800

	// streamWindow bounds what a listing or a watch that is not read holds in memory: while the outboxes are full, all of them are not. It bounds what one
	// stream can read as well: 2.5 MB a second from an API server that is 50 ms away, before compression.
	streamWindow = 128 << 10
	// defaultHeaderTimeout bounds how long an inventory request waits for an answer to begin. An API server ends
	// requests by itself after 60 s.
	defaultHeaderTimeout = 75 * time.Second
)

// connection is how an account reaches its API server.
type connection struct {
	// server is the API server's URL.
	server string
	// namespace is the default one, as kubectl takes it from the kubeconfig's context or from the pod.
	namespace string
	// routes sends requests with the account's credentials.
	routes                *routes
	inventory, operations *rate.Limiter
	headerTimeout         time.Duration
	requestTimeout        time.Duration
	userAgent             string
}

func connect(account config.Account, o Options) (*connection, error) {
	access := o.Access
	if access == nil {
		var err error
		if access, err = load(account); err != nil {
			return nil, err
		}
	}
	first, err := newRoute(account, access.Config, o.NoProxy)
	if err != nil {
		return nil, err
	}
	r := &routes{account: account, noProxy: o.NoProxy, refused: o.Refused}
	if o.Shared != nil {
		r.metrics = o.Shared.metrics
	}
	r.present.Store(first)
	c := &connection{
		server: first.server, namespace: access.Namespace, routes: r,
		inventory:     rate.NewLimiter(inventoryRate, inventoryBurst),
		operations:    rate.NewLimiter(operationRate, operationBurst),
		headerTimeout: defaultHeaderTimeout, requestTimeout: o.RequestTimeout,
		userAgent: o.UserAgent,
	}
	if o.RequestTimeout > 0 {
		c.headerTimeout = o.RequestTimeout
	}
	return c, nil
}

// close ends all connections.
func (c *connection) close() { c.routes.close() }

// forInventory returns a client configuration whose requests end with ctx.
func (c *connection) forInventory(ctx context.Context) *rest.Config {
	return c.config(&bound{ctx: ctx, next: c.routes, limiter: c.inventory, headerTimeout: c.headerTimeout})
}

func (c *connection) config(transport http.RoundTripper) *rest.Config {
	return &rest.Config{
		Host: c.server, Transport: transport, UserAgent: c.userAgent,
		QPS:            -1, // the transport limits, so that waiting ends with the context too
		WarningHandler: rest.NoWarnings{},
	}
}

// bound ties requests to a context that is not the request's own, because much of kubectl's library knows none, and
// limits their rate.
type bound struct {
	ctx     context.Context
	next    http.RoundTripper
	limiter *rate.Limiter
	// gate bounds those that wait for an answer; nil: nothing does. Watches, whose answers begin at once and may be waited for long, pass.
	gate          *gate
	headerTimeout time.Duration
	// spent sums the nanoseconds until answers began; nil: not wanted.
	spent *atomic.Int64
}

var errNoAnswer = errors.New("no answer within the time limit")

// RoundTrip sends the request; it and the reading of its answer end with either context.
func (b *bound) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })
	end := func() { stop(); cancel(nil) }
	if err := b.limiter.Wait(ctx); err != nil {
		end()
		return nil, b.reason(err)
	}
	if b.gate != nil && req.URL.Query().Get("watch") == "" {
		if err := b.gate.enter(ctx); err != nil {
			end()
			return nil, b.reason(err)
		}
		defer b.gate.leave()
	}
	var timer *time.Timer
	if b.headerTimeout > 0 {
		timer = time.AfterFunc(b.headerTimeout, func() { cancel(errNoAnswer) })
	}
	began := time.Now()
	resp, err := b.next.RoundTrip(req.WithContext(ctx))
	if b.spent != nil {
		b.spent.Add(int64(time.Since(began)))
	}
	if timer != nil {
		timer.Stop()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && req.Context().Err() == nil {
			err = cause
		}
		end()
		return nil, b.reason(err)
	}
	resp.Body = &ending{ReadCloser: resp.Body, end: end}
	return resp, nil
}

func (b *bound) reason(err error) error {
	if cause := context.Cause(b.ctx); cause != nil {
		return cause
	}
	return err
}

// ending runs end when a body is closed.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	err := e.ReadCloser.Close()
	e.end()
	return err
}
