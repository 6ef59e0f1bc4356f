package cluster

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
)

// Status is what a person may know of an account.
type Status struct {
	Account string
	Server  string
	// Version of the API server, "" when it was never reached.
	Version string
	// Problem in words for a person, "" when the account works.
	Problem string
	// Reached is when the API server last answered.
	Reached time.Time
	Kinds   []KindStatus
}

// KindStatus is the state of one kind's watch.
type KindStatus struct {
	Kind cats.Type
	// State is listing, live, waiting (to try again), forbidden, gone, or unknown (to the API server).
	State string
	Since time.Time
	// Listed is how many objects the last complete listing had.
	Listed int
	// Relists counts listings after the first one, Resumes watches that went on where the one before ended.
	Relists, Resumes int
	// Skipped counts objects that could not be read.
	Skipped int
	// Error is the last failure, "" while the kind is live.
	Error string
	// DeniedNamespaces are left out of the kind, because they are forbidden.
	DeniedNamespaces []string
}

// kindState collects the status of a kind.
type kindState struct {
	mu     sync.Mutex
	status KindStatus
	once   bool
}

func newKindState(t cats.Type) *kindState {
	return &kindState{status: KindStatus{Kind: t, State: "listing", Since: time.Now()}}
}

func (s *kindState) change(state, problem string) {
	if s.status.State != state {
		s.status.State, s.status.Since = state, time.Now()
	}
	s.status.Error = problem
}

func (s *kindState) listing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once {
		s.status.Relists++
	}
	s.once = true
	s.change("listing", s.status.Error)
}

func (s *kindState) listed(objects int, denied []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Listed, s.status.DeniedNamespaces = objects, denied
}

func (s *kindState) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change("live", "")
}

func (s *kindState) resumed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Resumes++
}

func (s *kindState) relist(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change("listing", why)
}

func (s *kindState) fail(state string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	s.change(state, problem)
}

// skipped counts an object that was left out; true: it is the first one.
func (s *kindState) skipped(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Skipped++
	s.status.Error = err.Error()
	return s.status.Skipped == 1
}

func (s *kindState) get() KindStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// reach knows whether the API server answers.
type reach struct {
	mu sync.Mutex
	// last answer; failures since then.
	last     time.Time
	failures int
	problem  string
	// changed is called, without the lock, when problem did.
	changed func()
}

// problemAfter failures without an answer in between: one watch that breaks is no problem.
const problemAfter = 2

func (r *reach) succeeded() { r.note(nil) }

func (r *reach) failed(err error) { r.note(err) }

func (r *reach) note(err error) {
	r.mu.Lock()
	before := r.problem
	if err == nil {
		r.last, r.failures, r.problem = time.Now(), 0, ""
	} else {
		r.failures++
		if r.failures >= problemAfter || r.last.IsZero() {
			r.problem = err.Error()
		}
	}
	changed := r.problem != before
	r.mu.Unlock()
	if changed && r.changed != nil {
		r.changed()
	}
}

func (r *reach) get() (last time.Time, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.problem
}

// Status returns the account's present state.
func (c *Cluster) Status() Status {
	last, _ := c.reach.get()
	f := c.facts.get()
	s := Status{Account: c.account.Name, Server: c.connection.server, Version: f.GetServerVersion(), Problem: f.GetProblem(), Reached: last}
	c.mu.Lock()
	states := slices.Collect(maps.Values(c.states))
	c.mu.Unlock()
	for _, k := range states {
		s.Kinds = append(s.Kinds, k.get())
	}
	slices.SortFunc(s.Kinds, func(a, b KindStatus) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	return s
}
