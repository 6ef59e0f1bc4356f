package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// This file looks after accounts between their attach and their end: what the registry says of them may change, polling may leave
// rows behind, and people ask for comparisons.

// Run looks after the accounts of all sessions until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.CheckInterval)
	defer ticker.Stop()
	var sharing sync.WaitGroup
	defer sharing.Wait()
	sharing.Go(func() { s.share(ctx) })
	sharing.Go(func() { s.balance(ctx) })
	fences := time.NewTicker(min(s.cfg.CheckInterval, fencesInterval))
	defer fences.Stop()
	for {
		changed := s.cfg.Accounts.Changed()
		s.reconsider()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
			s.sweepLeftovers(ctx)
		case <-fences.C:
			s.compareFences(ctx)
		}
	}
}

// Removed has all sessions let go of an account that is being removed. One that is released stays declared, and is refused: its agent
// says it only once, and resuming has the session ask again.
func (s *Service) Removed(account string) {
	_, released := s.cfg.Accounts.Released()[account]
	for _, e := range s.all() {
		e.step(func(now time.Time) {
			if released {
				e.core.Reconsider(now)
				return
			}
			e.core.Removed(now, account)
		})
	}
}

// fencesInterval is how soon a session learns that its fence has gone although it writes nothing.
const fencesInterval = 10 * time.Second

// compareFences finds accounts whose fence is not the session's any more: another bridge attached them, or the database was restored to an
// older state, in which a writer of that time would be let through. They are attached again.
func (s *Service) compareFences(ctx context.Context) {
	before := map[*session]map[string]uint64{}
	for _, e := range s.all() {
		before[e] = e.attachedAt()
	}
	fences, err := s.cfg.Fences.Fences(ctx)
	if err != nil {
		return // what writes will find out, and say it
	}
	for e, epochs := range before {
		instance := e.instance()
		e.step(func(now time.Time) {
			for account, epoch := range epochs {
				// One that was attached since the fences were read has a newer one.
				if held := fences[account]; e.epochs[account] == epoch && (held.Epoch != epoch || held.Holder != instance) {
					e.core.Fenced(now, account, epoch)
				}
			}
		})
	}
}

func (e *session) attachedAt() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.epochs)
}

func (s *Service) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.bySecret))
	for _, e := range s.bySecret {
		list = append(list, e)
	}
	return list
}

// reconsider has sessions ask the registry again whose accounts it sees differently by now: one was released or resumed, is not known any
// more although its agent declares it, as after a restore of the database, or was refused because another agent served it that has gone.
func (s *Service) reconsider() {
	if !s.cfg.Accounts.Complete() {
		return
	}
	released := s.cfg.Accounts.Released()
	for _, e := range s.all() {
		e.mu.Lock()
		stale := false
		for account, was := range e.judged {
			_, is := released[account]
			_, known := s.cfg.Accounts.Get(account)
			if is != was || e.accounts[account] && !known || s.cfg.Accounts.Vacated(account, e.agent.GetInstance()) {
				stale = true
				break
			}
		}
		e.mu.Unlock()
		if stale {
			e.step(func(now time.Time) { e.core.Reconsider(now) })
		}
	}
}

// Reconsider has all sessions ask the registry again, and tell their agents what it says: the bridge's configuration has changed.
func (s *Service) Reconsider() {
	for _, e := range s.all() {
		e.step(func(now time.Time) { e.core.Reconsider(now) })
	}
}

// judge remembers what the registry's verdicts on accounts were made of.
func (e *session) judge(accounts []*linkv1.Account, released map[string]time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.judged = make(map[string]bool, len(accounts))
	for _, a := range accounts {
		_, e.judged[a.GetName()] = released[a.GetName()]
	}
}

// sweepLeftovers has rows deleted that polling wrote for accounts that sessions of this bridge hold: a Clouddriver of before may have gone on
// for a while after the account was attached. Groups that were never compared are compared first.
func (s *Service) sweepLeftovers(ctx context.Context) {
	s.mu.Lock()
	holders := make(map[string]*session, len(s.holders))
	for account, e := range s.holders {
		holders[account] = e
	}
	s.mu.Unlock()
	found, err := s.cfg.Cache.Leftovers(ctx, func(account string) bool { return holders[account] != nil })
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Warn("cannot look for rows of former polling, trying later", "error", err.Error())
		}
		return
	}
	for account, groups := range found {
		e := holders[account]
		e.step(func(now time.Time) {
			for _, g := range groups {
				epoch := e.epochs[account]
				if e.groups[account][cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}] {
					e.work = append(e.work, link.Note{What: link.NoteAgreed, Account: account, Epoch: epoch, Group: g})
				} else {
					e.core.Ask(now, account, g)
				}
			}
		})
	}
}

// Resynced is how the comparison of a group ended that a person asked for.
type Resynced struct {
	Group            cats.Group
	Differed, GaveUp bool
}

// Errors of Resync.
var (
	ErrNotHere   = errors.New("no session of this bridge has the account's caching")
	ErrNoKind    = errors.New("nothing of that kind is cached")
	ErrDetached  = errors.New("the account was detached meanwhile; all of it is compared when it is attached again")
	errUnderWay  = errors.New("a resync of the account is under way")
	errNotInTime = errors.New("not all of it was compared in time")
)

// resync is a comparison that somebody waits for.
type resync struct {
	pending map[cats.Group]*Resynced
	result  []*Resynced
	ended   chan struct{}
	err     error
}

// Resync compares what is cached of an account with its agent's records, of one kind or of all (""), the stored bodies included, and waits
// until all of it agrees or was given up.
func (s *Service) Resync(ctx context.Context, account, kind string) ([]Resynced, error) {
	s.mu.Lock()
	e := s.holders[account]
	s.mu.Unlock()
	if e == nil {
		return nil, ErrNotHere
	}
	r, err := e.beginResync(account, kind)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.ended:
	case <-e.ctx.Done():
		e.endResync(account, r, ErrDetached)
	case <-ctx.Done():
		e.endResync(account, r, errNotInTime)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Resynced
	for _, g := range r.result {
		list = append(list, *g)
	}
	if errors.Is(r.err, errNotInTime) {
		return list, fmt.Errorf("%w: %d groups were not, among them %s; is their watch running?", r.err, len(r.pending), firstGroup(r.pending))
	}
	return list, r.err
}

func firstGroup(pending map[cats.Group]*Resynced) string {
	names := make([]string, 0, len(pending))
	for g := range pending {
		names = append(names, groupName(&linkv1.Group{Type: string(g.Type), RelType: string(g.RelType)}))
	}
	slices.Sort(names)
	return names[0]
}

func (e *session) beginResync(account, kind string) (r *resync, err error) {
	e.step(func(now time.Time) {
		if e.resyncs[account] != nil {
			err = errUnderWay
			return
		}
		if e.epochs[account] == 0 {
			err = ErrNotHere
			return
		}
		groups := e.core.Recheck(now, account, kind)
		if len(groups) == 0 {
			err = ErrNoKind
			return
		}
		r = &resync{pending: map[cats.Group]*Resynced{}, ended: make(chan struct{})}
		for _, g := range groups {
			key := cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}
			r.pending[key] = &Resynced{Group: key}
		}
		e.resyncs[account] = r
	})
	return r, err
}

func (e *session) endResync(account string, r *resync, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.resyncs[account] == r {
		e.finishResync(account, err)
	}
}

// finishResync ends an account's resync, if there is one. The lock is held.
func (e *session) finishResync(account string, err error) {
	if r := e.resyncs[account]; r != nil {
		delete(e.resyncs, account)
		r.err = err
		close(r.ended)
	}
}

// resyncNote follows an account's resync. The lock is held.
func (e *session) resyncNote(n link.Note) {
	r := e.resyncs[n.Account]
	if r == nil {
		return
	}
	key := cats.Group{Type: cats.Type(n.Group.GetType()), RelType: cats.Type(n.Group.GetRelType())}
	g := r.pending[key]
	switch {
	case n.What == link.NoteDetached || n.What == link.NoteWithdrawn:
		e.finishResync(n.Account, ErrDetached)
	case g == nil:
	case n.What == link.NoteDiffers:
		g.Differed = true
	case n.What == link.NoteChecked:
		g.GaveUp = n.Reason != "agreed"
		r.result = append(r.result, g)
		if delete(r.pending, key); len(r.pending) == 0 {
			e.finishResync(n.Account, nil)
		}
	}
}

// mustVerify tells whether a digest has to look at what the rows hold: somebody asked for it.
func (e *session) mustVerify(account string, g *linkv1.Group) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.resyncs[account]
	return r != nil && r.pending[cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}] != nil
}
