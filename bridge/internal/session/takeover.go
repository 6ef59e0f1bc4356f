package session

import (
	"errors"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
)

// This file decides which of several sessions has an account's caching. Among the sessions of this bridge the first one keeps it, the
// others stand by until it is over. Between bridges the fence decides: the last one that attached has it, and a session that was fenced
// does not take it back while another bridge serves the account.

// hold makes e the holder of an account's caching, unless a live session of another process is; then e stands by.
func (s *Service) hold(e *session, account, instance string) (heldBy string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holders[account]; h != nil && h != e && h.instance() != instance {
		if !slices.Contains(s.standbys[account], e) {
			s.standbys[account] = append(s.standbys[account], e)
		}
		return h.name()
	}
	s.holders[account] = e
	return ""
}

// waits tells whether a session stands by for an account.
func (s *Service) waits(e *session, account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.standbys[account], e)
}

// release gives back the caching that e holds, of one account or of all (""), and returns who waits for it. All who wait are asked: the
// first may be on its way out. Those that come too late stand by again.
func (s *Service) release(e *session, account string) map[string][]*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string][]*session{}
	free := func(name string) {
		if s.holders[name] != e {
			return
		}
		delete(s.holders, name)
		if waiting := s.standbys[name]; len(waiting) > 0 {
			next[name] = waiting
			delete(s.standbys, name)
		}
	}
	forget := func(name string) {
		waiting := slices.DeleteFunc(s.standbys[name], func(w *session) bool { return w == e })
		if s.standbys[name] = waiting; len(waiting) == 0 {
			delete(s.standbys, name)
		}
	}
	if account != "" {
		free(account)
		forget(account)
		return next
	}
	for name := range s.holders {
		free(name)
	}
	for name := range s.standbys {
		forget(name)
	}
	return next
}

// handOver lets sessions that stand by for an account ("": for any that e holds) attach.
func (e *session) handOver(account string) {
	for name, waiting := range e.service.release(e, account) {
		for _, next := range waiting {
			next.attachAgain(name)
		}
	}
}

func (e *session) attachAgain(account string) {
	e.step(func(now time.Time) { e.core.AttachAgain(now, account) })
}

// isFenced remembers that another bridge took an account. The lock is held.
func (e *session) isFenced(account string, err error) {
	if errors.Is(err, cache.ErrFenced) {
		e.lost(account)
	}
}

// lost remembers when an account was found to be somebody else's. The lock is held.
func (e *session) lost(account string) {
	if _, known := e.fenced[account]; !known {
		e.fenced[account] = time.Now()
	}
}

// elsewhereWait is how long the registry may take to learn which bridge serves an account: a poll, with room to spare.
const elsewhereWait = 3 * time.Second

// takenBy is the bridge that took an account from this session and still serves it. Without that, two bridges whose agents serve the same
// account would take it from each other for ever.
func (e *session) takenBy(account string) (bridge string) {
	e.mu.Lock()
	since, fenced := e.fenced[account]
	e.mu.Unlock()
	if !fenced {
		return ""
	}
	if known, _ := e.service.cfg.Accounts.Get(account); len(known.Elsewhere) > 0 {
		return known.Elsewhere[0]
	}
	if time.Since(since) < elsewhereWait {
		return "(which one is not known yet)"
	}
	e.mu.Lock()
	delete(e.fenced, account)
	e.mu.Unlock()
	return ""
}

// taken tells whether takeBack still looks after an account.
func (*Service) taken(e *session, account string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, fenced := e.fenced[account]
	return fenced
}

// takeBack attaches accounts again that another bridge took and no longer serves.
func (e *session) takeBack() {
	e.mu.Lock()
	fenced := make([]string, 0, len(e.fenced))
	for account := range e.fenced {
		fenced = append(fenced, account)
	}
	e.mu.Unlock()
	for _, account := range fenced {
		if e.takenBy(account) == "" {
			e.attachAgain(account)
		}
	}
}
