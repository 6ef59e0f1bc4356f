package operations

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

const (
	// defaultTimeout is Clouddriver's default of jobs.local.timeout-minutes, for callers without a deadline.
	defaultTimeout = 10 * time.Minute
	// longAway is how long an account's agent must have been away before reads no longer wait for it: pages that poll shall not
	// each wait for a cluster that is known to be gone.
	longAway = time.Minute
	// farewell is how long a caller whose context has ended still waits for the outcome.
	farewell = 5 * time.Second
	// seekInterval is how often an account's sessions at other bridges are looked for, while all of them share its operations.
	seekInterval = 5 * time.Second
	// tick is how often deadlines are looked at.
	tick = 250 * time.Millisecond
)

// ended is what remains of an operation.
type ended struct {
	id, account string
	operation   *linkv1.Operation
	mutation    bool
	instance    string
	outcome     *linkv1.Outcome
	err         error
	// When it was received, given to an agent, told by it and answered; zero: never.
	began, sent, told, answered time.Time
	ctx                         context.Context //nolint:containedctx // carries who asked
}

// Config is what a Router is made of.
type Config struct {
	// AbsentWait is how long an operation waits for an agent that is not connected.
	AbsentWait time.Duration
	Accounts   *accounts.Registry
	History    *History
	// Elsewhere, if set, is called when an operation waits for a session and this bridge has none of its account: other bridges
	// may have. It must not block.
	Elsewhere func()
	// Spread tells whether all agents of an account share its operations; otherwise the one that caches it has them. Nil: never.
	Spread func(account string) bool
	// Metrics gets what the router measures; nil: nobody does.
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Router gives operations to sessions and outcomes to callers.
type Router struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex
	tracker *link.Operations
	calls   map[string]*call
	streams map[string]*Stream
	// sought is when an account's sessions elsewhere were last looked for; wanted are those that are to be looked for.
	sought map[string]time.Time
	wanted map[string]bool
}

// New makes a router. Loop must run for deadlines to count.
func New(cfg Config) (*Router, error) {
	tracker, err := link.NewOperations(link.OperationsConfig{})
	if err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, tracker: tracker, calls: map[string]*call{}, streams: map[string]*Stream{},
		sought: map[string]time.Time{}, wanted: map[string]bool{}}
	r.metrics = newMetrics(cfg.Metrics, r)
	return r, nil
}

// Loop watches over deadlines until ctx ends.
func (r *Router) Loop(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			r.step(func(now time.Time) {
				r.tracker.Tick(now)
				for _, s := range r.streams {
					s.forgetRelayed(now)
				}
			})
		}
	}
}

// Unserved lists the accounts that have an operation which waits for a session, or that shall have more sessions.
func (r *Router) Unserved() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.tracker.Unserved()
	for account := range r.wanted {
		if !slices.Contains(list, account) {
			list = append(list, account)
		}
	}
	clear(r.wanted)
	return list
}

// seek asks for the sessions that an account has at other bridges, once in a while: all of its agents share its operations.
func (r *Router) seek(account string, now time.Time) {
	r.mu.Lock()
	due := now.Sub(r.sought[account]) >= seekInterval
	if due {
		r.sought[account], r.wanted[account] = now, true
	}
	r.mu.Unlock()
	if due {
		r.cfg.Elsewhere()
	}
}

// step feeds the tracker and hands on what that brought about.
func (r *Router) step(feed func(now time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	feed(time.Now())
	for e := r.tracker.NextEvent(); e != nil; e = r.tracker.NextEvent() {
		switch e := e.(type) {
		case link.Output:
			if c := r.calls[e.ID]; c != nil {
				c.output = append(c.output, e.Data)
				wake(c.wake)
			}
		case link.Finished:
			if c := r.calls[e.ID]; c != nil {
				c.finished = &e
				delete(r.calls, e.ID)
				wake(c.wake)
			}
		}
	}
	for id, ok := r.tracker.NextReady(); ok; id, ok = r.tracker.NextReady() {
		if s := r.streams[id]; s != nil {
			wake(s.Wake)
		}
	}
}

// call is a caller that waits. Its fields are guarded by Router.mu.
type call struct {
	wake     chan struct{}
	output   [][]byte
	finished *link.Finished
}

// Run does one operation on an account. It returns the outcome, or an error if there is none: ErrUnknownAccount, *AbsentError (nothing
// began), or the writer's error (the operation was cancelled).
func (r *Router) Run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error) {
	known, ok := r.cfg.Accounts.Get(account)
	if !ok {
		return nil, fmt.Errorf("account %q: %w", account, ErrUnknownAccount)
	}
	began := time.Now()
	wait := r.cfg.AbsentWait
	if !mutation && !known.Connected() && began.Sub(known.LastSeen) > longAway {
		wait = 0
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = began.Add(defaultTimeout)
	}
	request := link.Request{ID: newID(), Account: account, Operation: op, Mutation: mutation, Deadline: deadline, AbsentWait: wait,
		Spread: r.cfg.Spread != nil && r.cfg.Spread(account)}
	record := ended{id: request.ID, account: account, operation: op, mutation: mutation, began: began, ctx: ctx}
	c := &call{wake: make(chan struct{}, 1)}
	var err error
	r.step(func(now time.Time) {
		if err = r.tracker.Submit(now, request); err == nil {
			r.calls[request.ID] = c
		}
	})
	if err != nil {
		return nil, &busyError{err}
	}
	if mutation {
		r.cfg.History.begin(record)
	}
	switch {
	case r.cfg.Elsewhere == nil:
	case len(known.Sessions) == 0:
		r.cfg.Elsewhere()
	case request.Spread && len(known.Elsewhere) > 0:
		r.seek(account, began)
	}
	finished, err := r.wait(ctx, request.ID, c, output)
	outcome := finished.Outcome
	if err == nil && finished.Absent {
		outcome, err = nil, r.absent(account, began)
	}
	record.instance, record.outcome, record.err = finished.Instance, outcome, err
	record.sent, record.told, record.answered = finished.Sent, finished.Told, time.Now()
	r.cfg.History.add(record)
	r.metrics.observe(record)
	if err != nil {
		return nil, err
	}
	return outcome, nil
}

// absent says that nobody took an operation, by what is known of the account now.
func (r *Router) absent(account string, began time.Time) error {
	known, _ := r.cfg.Accounts.Get(account)
	return &AbsentError{Account: account, LastSeen: known.LastSeen, Elsewhere: known.Elsewhere, Since: time.Since(known.LastSeen), Waited: time.Since(began)}
}

// wait passes output on until the operation has ended.
func (r *Router) wait(ctx context.Context, id string, c *call, output io.Writer) (link.Finished, error) {
	var failed error // the writer's
	var late <-chan time.Time
	done := ctx.Done()
	for {
		chunks, finished := r.take(c)
		for _, chunk := range chunks {
			if failed == nil {
				if _, failed = output.Write(chunk); failed != nil {
					r.cancel(id, "the caller no longer reads")
				}
			}
			r.step(func(time.Time) { r.tracker.Consumed(id, len(chunk)) })
		}
		if finished != nil && len(chunks) == 0 {
			return *finished, failed
		}
		if len(chunks) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-done:
			done = nil
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				// What nobody took ends as absent then, not as cancelled.
				r.step(func(now time.Time) { r.tracker.Tick(now) })
			}
			r.cancel(id, cancelReason(ctx))
			late = time.After(farewell)
		case <-late:
			r.forget(id)
			return link.Finished{ID: id, Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN,
				Reason: cancelReason(ctx) + " and its agent did not say how it ended"}}, failed
		}
	}
}

func cancelReason(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "the deadline passed"
	}
	return "the caller is gone"
}

func (r *Router) take(c *call) ([][]byte, *link.Finished) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chunks := c.output
	c.output = nil
	return chunks, c.finished
}

func (r *Router) cancel(id, reason string) {
	r.step(func(now time.Time) { r.tracker.Cancel(now, id, reason) })
}

func (r *Router) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, id)
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
