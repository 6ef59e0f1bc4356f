package plugin

import (
	"context"
	"net/http"
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
}

func newCallers() *callers {
	c := &callers{none: make(chan struct{}), since: time.Now()}
	close(c.none)
	return c
}

func (c *callers) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.begin()
		defer c.end()
		next.ServeHTTP(w, r)
	})
}

func (c *callers) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
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
