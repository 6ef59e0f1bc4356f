package session

import (
	"context"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/replicas"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// This file gives each of an account's replicas its share (package replicas). A bridge looks after the sessions of its own that stand by:
// what the plan gives to one of them it attaches: a vacant account if the database agrees that it is, another one over the epoch that the plan
// was made of. If the fence has moved on meanwhile, the plan of another bridge came first, and the session stands by as before. So every
// bridge does its part alone, and what two of them see differently for a moment costs an attach.

const (
	// shareInterval is how often plans are made while sessions stand by.
	shareInterval = 2 * time.Second
	// strayed is how long a vacant account waits for the replica that the plan gives it to, before any that stands by may have it.
	strayed = 5 * time.Second
	// forgotten is after how long a process that has gone and comes again is a new one.
	forgotten = time.Minute
)

// sharing is what plans need to know of the past. It belongs to Service.share.
type sharing struct {
	s *Service
	// vacant accounts have a holder that is not there; since when.
	vacant map[string]time.Time
	// first and latest are when processes were seen.
	first, latest map[string]time.Time
}

// share makes plans and does this bridge's part of them until ctx ends.
func (s *Service) share(ctx context.Context) {
	h := &sharing{s: s, vacant: map[string]time.Time{}, first: map[string]time.Time{}, latest: map[string]time.Time{}}
	ticker := time.NewTicker(min(s.cfg.CheckInterval, shareInterval))
	defer ticker.Stop()
	for {
		var due <-chan time.Time
		if wait := h.pass(ctx, time.Now()); wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.wakeShare:
		case <-due:
		}
	}
}

// pass makes a plan and has it done. It returns when the next one is due before its turn; 0: none is.
func (h *sharing) pass(ctx context.Context, now time.Time) (wait time.Duration) {
	serving := h.s.cfg.Accounts.Serving()
	h.see(serving, now)
	standing := h.s.standing()
	for account := range standing {
		if h.s.cfg.Accounts.IsPaused(account) {
			delete(standing, account)
		}
	}
	if len(standing) == 0 {
		return 0
	}
	fences, err := h.s.cfg.Fences.Fences(ctx)
	if err != nil {
		return 0 // nothing moves while the database cannot be asked
	}
	var known []replicas.Account
	for account, sessions := range serving {
		a := replicas.Account{Name: account, Replicas: instances(sessions), Holder: fences[account].Holder}
		if slices.Contains(a.Replicas, a.Holder) {
			delete(h.vacant, account)
		} else if left := h.vacancy(a, now); left > 0 {
			wait = max(wait, left)
			continue // it may come back
		}
		known = append(known, a)
	}
	plan := replicas.Plan(known, func(instance string) bool { return now.Sub(h.first[instance]) >= h.s.cfg.Settle })
	for _, m := range plan {
		for _, e := range standing[m.Account] {
			if e.instance() == m.To {
				over := fences[m.Account].Epoch
				if m.From == "" {
					over = 0 // the database knows whether that is so
				}
				h.give(e, fences[m.Account], m.Account, over)
				delete(standing, m.Account)
				break
			}
		}
	}
	h.rescue(standing, serving, fences, now)
	return wait
}

// see remembers which processes are there, and since when.
func (h *sharing) see(serving map[string][]store.Session, now time.Time) {
	for account := range h.vacant {
		if len(serving[account]) == 0 {
			delete(h.vacant, account)
		}
	}
	for _, sessions := range serving {
		for _, s := range sessions {
			if _, known := h.first[s.Instance]; !known {
				h.first[s.Instance] = now
			}
			h.latest[s.Instance] = now
		}
	}
	for instance, at := range h.latest {
		if now.Sub(at) > forgotten {
			delete(h.latest, instance)
			delete(h.first, instance)
		}
	}
}

// vacancy is how long an account still waits for its holder: the same process goes on where it was, which anybody else cannot.
func (h *sharing) vacancy(a replicas.Account, now time.Time) time.Duration {
	since, known := h.vacant[a.Name]
	if !known {
		since = now
		h.vacant[a.Name] = now
	}
	if a.Holder == "" {
		return 0
	}
	return h.s.cfg.Grace - now.Sub(since)
}

// rescue attaches what plans leave behind: vacant accounts whose replica did not take them, and those whose holder is another session of the same
// process, which has gone.
func (h *sharing) rescue(standing map[string][]*session, serving map[string][]store.Session, fences map[string]store.Fence, now time.Time) {
	for account, sessions := range standing {
		since, vacant := h.vacant[account]
		for _, e := range sessions {
			own := fences[account].Holder == e.instance() && !slices.ContainsFunc(serving[account], func(s store.Session) bool {
				return s.Instance == e.instance() && s.Bridge != h.s.cfg.Bridge
			})
			if own || vacant && now.Sub(since) >= h.s.cfg.Grace+strayed {
				h.give(e, fences[account], account, 0)
				break
			}
		}
	}
}

func (h *sharing) give(e *session, fence store.Fence, account string, over uint64) {
	e.log.Info("account is given to an agent that stood by", "account", account, "agent", e.name(), "former_holder", fence.Holder, "former_epoch", fence.Epoch)
	e.grant(account, over)
}

// instances are the processes of sessions.
func instances(sessions []store.Session) []string {
	list := make([]string, 0, len(sessions))
	for _, s := range sessions {
		list = append(list, s.Instance)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// standing are the sessions that stand by, by account.
func (s *Service) standing() map[string][]*session {
	list := map[string][]*session{}
	for _, e := range s.all() {
		e.mu.Lock()
		if !e.draining {
			for account := range e.stands {
				list[account] = append(list[account], e)
			}
		}
		e.mu.Unlock()
	}
	return list
}

// vacateTime is how long the database may take to be told that a process has ended. If it is not, others wait for it as for any that is gone.
const vacateTime = 3 * time.Second

// vacate gives back what a process held that has said goodbye: nobody has to wait for it.
func (e *session) vacate(accounts []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), vacateTime)
	defer cancel()
	if err := e.service.cfg.Fences.Vacate(ctx, e.instance(), accounts); err != nil {
		e.log.Debug("an agent that has ended still counts as holder of its accounts", "error", err)
	}
	wake(e.service.wakeShare)
}
