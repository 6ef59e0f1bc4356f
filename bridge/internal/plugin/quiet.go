package plugin

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// callers counts the calls under way. A Clouddriver that lives has always one: its stream of accounts.
type callers struct {
	mu    sync.Mutex
	count int
	// none is closed while count is 0; since is when that began.
	none  chan struct{}
	since time.Time
	// called tells whether anybody ever has, version is what the last one said it is.
	called  bool
	version string
}

// pluginAgent is how the plugin begins its User-Agent; its version follows.
const pluginAgent = "fairlead-plugin/"

// Calling is what a Server has seen of the plugin.
type Calling struct {
	// Now: a call is under way. Ever: there has been one.
	Now, Ever bool
	// Since is when Now became what it is, or the server began to listen.
	Since time.Time
	// Version of the plugin; "": it did not say.
	Version string
}

// Calling tells what was seen of the plugin.
func (s *Server) Calling() Calling {
	c := s.callers
	c.mu.Lock()
	defer c.mu.Unlock()
	return Calling{Now: c.count > 0, Ever: c.called, Since: c.since, Version: c.version}
}

func newCallers() *callers {
	c := &callers{none: make(chan struct{}), since: time.Now()}
	close(c.none)
	return c
}

func (c *callers) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.begin(r.UserAgent())
		defer c.end()
		next.ServeHTTP(w, r)
	})
}

func (c *callers) begin(agent string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called = true
	if version, is := strings.CutPrefix(agent, pluginAgent); is {
		c.version = version
	}
	if c.count++; c.count == 1 {
		c.none = make(chan struct{})
	}
}

func (c *callers) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count--; c.count == 0 {
		c.since = time.Now()
		close(c.none)
	}
}

func (c *callers) now() (none <-chan struct{}, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.none, c.since
}

// AwaitQuiet returns when nobody has called for d, or ctx ends. Between two commands of one task Clouddriver calls nobody for a moment, so
// that d must be a few seconds at least.
func (s *Server) AwaitQuiet(ctx context.Context, d time.Duration) {
	for {
		none, _ := s.callers.now()
		select {
		case <-none:
		case <-ctx.Done():
			return
		}
		again, since := s.callers.now()
		if again != none {
			continue // somebody has called since
		}
		left := d - time.Since(since)
		if left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
