package fakekube

import (
	"slices"
	"sync"
	"time"
)

// Break is how the body of an answer goes wrong.
type Break int

const (
	// Whole bodies are as they should be.
	Whole Break = iota
	// Stall: nothing more comes, and the connection stays, until the fault is mended; then it goes on.
	Stall
	// Truncate: the body ends in the middle of an object as if that were its end.
	Truncate
	// Reset: the connection is reset in the middle of an object, with everything else on it.
	Reset
	// Abort: the request's stream is reset in the middle of an object; others on the connection go on (HTTP/2).
	Abort
	// Garble: an object is no JSON.
	Garble
	// Expire: a watch sends an ERROR event that says 410.
	Expire
	// Fail: a watch sends an ERROR event that says 500.
	Fail
	// Unknown: a watch sends an event of a type that does not exist.
	Unknown
)

// Fault is what goes wrong with requests. Watches that run already are concerned too, by what breaks their body.
type Fault struct {
	// Resource is the plural of the kind concerned; "": all.
	Resource string
	// Verb is get, list, watch, create, update or delete; "": all.
	Verb string
	// Times is how many requests it happens to; 0: to all until it is mended.
	Times int

	// Delay passes before the answer begins, Pace before each object.
	Delay, Pace time.Duration
	// Status, if not 0, is answered instead: 403, 429, 500…; with RetryAfter, if that is not 0.
	Status     int
	RetryAfter time.Duration
	// After so many objects the body is broken.
	After int
	Break Break
}

// faults are those that a cluster has now.
type faults struct {
	mu      sync.Mutex
	list    []*fault
	changed chan struct{}
}

type fault struct {
	Fault

	left   int
	mended chan struct{}
}

func newFaults() faults { return faults{changed: make(chan struct{})} }

// Fault makes requests to the cluster go wrong until mend is called, which may be done more than once. Of several faults that fit a
// request, the first one happens to it.
func (c *Cluster) Fault(f Fault) (mend func()) {
	made := &fault{Fault: f, left: f.Times, mended: make(chan struct{})}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.list = append(c.faults.list, made)
	close(c.faults.changed)
	c.faults.changed = make(chan struct{})
	return sync.OnceFunc(func() {
		c.faults.mu.Lock()
		defer c.faults.mu.Unlock()
		c.faults.list = slices.DeleteFunc(c.faults.list, func(f *fault) bool { return f == made })
		close(made.mended)
	})
}

// take finds the fault that happens to a request, and counts it. running: its answer has begun.
func (f *faults) take(resource, verb string, running bool) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		switch {
		case one.Resource != "" && one.Resource != resource, one.Verb != "" && one.Verb != verb:
		case running && one.Break == Whole:
		case one.Times > 0 && one.left == 0:
		default:
			one.left--
			return one
		}
	}
	return nil
}

func (f *faults) woken() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}
