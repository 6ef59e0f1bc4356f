package session

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/link"
)

// This file gives an account's caching to one of several sessions. Who has it keeps it until it goes, or until its share is given to another one
// (share.go): sessions of this bridge are asked for it in memory, those of other bridges in the database, in the transaction that raises
// the fence.

// hold makes e the holder of an account's caching, unless a live session of another process is; then e stands by.
func (s *Service) hold(e *session, account, instance string) (heldBy string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holders[account]; h != nil && h != e && h.instance() != instance {
		return h.name()
	}
	s.holders[account] = e
	return ""
}

// release takes from e the caching of an account ("": of all), and tells whether it had any.
func (s *Service) release(e *session, account string) (held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, h := range s.holders {
		if h == e && (account == "" || account == name) {
			delete(s.holders, name)
			held = true
		}
	}
	return held
}

// handOver lets sessions that stand by for an account ("": for any that e holds) attach.
func (e *session) handOver(account string) {
	if e.service.release(e, account) {
		wake(e.service.wakeShare)
	}
}

func (a *actor) attach(ctx context.Context, act link.Attach) {
	e := a.session
	result := link.AttachResult{Account: act.Account}
	over, before := e.takeGrant(act.Account), e.service.holder(act.Account)
	if before != nil && before != e && before.epochOf(act.Account) != over {
		over = 0 // it has attached again since
	}
	if e.service.cfg.Accounts.IsPaused(act.Account) {
		result.HeldBy = "nobody: its caching is paused"
	} else if over == 0 {
		result.HeldBy = e.service.hold(e, act.Account, act.Instance)
	}
	if result.HeldBy == "" {
		var done store.Attached
		done, result.Err = e.service.cfg.Fences.AttachUnlessHeld(ctx, store.Bid{Account: act.Account, Instance: act.Instance, ResumeEpoch: act.ResumeEpoch,
			Bridge: e.service.cfg.Bridge, Over: over, Again: e.had(act.Account)})
		result.Epoch, result.Continues = done.Epoch, done.Continues
		if done.HeldBy != "" {
			result.HeldBy = "at bridge " + done.HeldBy
		}
	}
	switch {
	case result.Err != nil && ctx.Err() == nil:
		e.log.Warn("account cannot be attached now, trying on", "account", act.Account, "error", result.Err.Error())
	case result.Err == nil && result.HeldBy == "" && over != 0:
		e.service.displace(e, before, act.Account)
	}
	e.step(func(now time.Time) { e.core.AttachDone(now, result) })
	if !e.serves(act.Account) || result.HeldBy != "" || result.Err != nil && errors.Is(result.Err, store.ErrReleased) {
		// It was withdrawn meanwhile, or is another one's: nobody must wait for this session.
		e.handOver(act.Account)
	}
}

func (s *Service) holder(account string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holders[account]
}

// displace makes e the holder in the place of a session that is there still, and tells that one.
func (s *Service) displace(e, before *session, account string) {
	s.mu.Lock()
	s.holders[account] = e
	s.mu.Unlock()
	if before != nil && before != e {
		before.step(func(now time.Time) { before.core.Fenced(now, account, before.epochs[account]) })
	}
}

// grant has a session that stands by attach: over the holder that has the account at an epoch, or, if that is 0, if nobody has it.
func (e *session) grant(account string, over uint64) {
	e.step(func(now time.Time) {
		if !e.stands[account] {
			return // it does something already
		}
		delete(e.stands, account)
		e.grants[account] = over
		e.core.AttachAgain(now, account)
	})
}

// takeGrant takes the permission to displace a holder; 0: there is none.
func (e *session) takeGrant(account string) (over uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	over = e.grants[account]
	delete(e.grants, account)
	return over
}

func (e *session) epochOf(account string) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.epochs[account]
}

// had tells whether the session was attached to an account before.
func (e *session) had(account string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attachedOnce[account]
}
