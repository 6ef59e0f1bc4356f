package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// beside is how many database reads, attaches and sweeps of one session run at once.
const beside = 4

// actor runs what one session's machine asks for.
type actor struct {
	session *session
	calls   sync.WaitGroup
	slots   chan struct{}
}

// run takes actions in order until the session is over, then waits for those under way.
func (a *actor) run() {
	a.slots = make(chan struct{}, beside)
	defer a.calls.Wait()
	for a.session.ctx.Err() == nil {
		if action := a.session.nextWork(); action != nil {
			a.do(action)
			continue
		}
		select {
		case <-a.session.wakeActor:
		case <-a.session.ctx.Done():
		}
	}
}

// do begins one action. Writes are handed over here, in order; what only asks the database runs beside.
func (a *actor) do(action link.Action) {
	switch act := action.(type) {
	case link.Declare:
		a.beside(func(ctx context.Context) { a.declare(ctx, act) })
	case link.StoreFacts:
		a.beside(func(ctx context.Context) { a.saveFacts(ctx, act.Facts.GetAccount()) })
	case link.Attach:
		a.beside(func(ctx context.Context) { a.attach(ctx, act) })
	case link.Write:
		a.write(act)
	case link.ReadDigest:
		a.beside(func(ctx context.Context) {
			count, xor, err := a.cache().Digest(ctx, act.Account, act.Group, a.session.mustVerify(act.Account, act.Group))
			a.session.step(func(now time.Time) {
				a.session.core.DigestDone(now, link.DigestResult{Account: act.Account, Epoch: act.Epoch, Seq: act.Seq, Count: count, Xor: xor, Err: err})
			})
		})
	case link.ReadEntries:
		a.beside(func(ctx context.Context) {
			entries, err := a.cache().Entries(ctx, act.Account, act.Group)
			a.session.step(func(now time.Time) {
				a.session.core.EntriesDone(now, link.EntriesResult{Account: act.Account, Epoch: act.Epoch, Seq: act.Seq, Entries: entries, Err: err})
			})
		})
	case link.ReadGroups:
		a.beside(func(ctx context.Context) {
			groups, err := a.cache().Types(ctx, act.Account)
			a.session.step(func(now time.Time) {
				a.session.core.GroupsDone(now, link.GroupsResult{Account: act.Account, Epoch: act.Epoch, Groups: groups, Err: err})
			})
		})
	case link.Sweep:
		a.beside(func(ctx context.Context) {
			deleted, err := a.cache().Sweep(ctx, store.Fence{Account: act.Account, Holder: act.Instance, Epoch: act.Epoch}, act.Group, act.Keys)
			a.session.step(func(now time.Time) {
				a.session.core.SweepDone(now, link.SweepResult{Account: act.Account, Epoch: act.Epoch, Seq: act.Seq, Deleted: deleted,
					Fenced: errors.Is(err, cache.ErrFenced), Err: unlessFenced(err)})
			})
		})
	case link.Note:
		a.beside(func(ctx context.Context) { a.leftovers(ctx, act) })
	}
}

func (a *actor) cache() *cache.Writer { return a.session.service.cfg.Cache }

// beside runs f in a goroutine of the actor, waiting for a free slot first.
func (a *actor) beside(f func(ctx context.Context)) {
	select {
	case a.slots <- struct{}{}:
	case <-a.session.ctx.Done():
		return
	}
	a.calls.Go(func() {
		defer func() { <-a.slots }()
		f(a.session.ctx)
	})
}

// write hands a batch to the writer, which is bounded: waiting here is how pressure from the database reaches the agent. A commit that
// ends after the session is told to a machine that no longer listens, which is harmless.
func (a *actor) write(act link.Write) {
	done := func(r cache.Result) {
		a.session.step(func(now time.Time) {
			a.session.core.WriteDone(now, link.WriteResult{Account: act.Account, Epoch: act.Epoch, Seq: act.Seq, Rejected: r.Rejected,
				Fenced: errors.Is(r.Err, cache.ErrFenced), Err: unlessFenced(r.Err)})
		})
	}
	if err := a.cache().Submit(a.session.ctx, cache.Write{Account: act.Account, Instance: act.Instance, Epoch: act.Epoch, Changes: act.Changes}, done); err != nil {
		done(cache.Result{Err: err})
	}
}

func unlessFenced(err error) error {
	if errors.Is(err, cache.ErrFenced) {
		return nil
	}
	return err
}

func (a *actor) declare(ctx context.Context, act link.Declare) {
	e, cfg := a.session, a.session.service.cfg
	e.mu.Lock()
	first := !e.greeted
	e.greeted = true
	e.mu.Unlock()
	if first {
		e.service.counts.opened.Inc()
		e.log.Info("session opened", "agent", act.Agent.GetName(), "instance", act.Agent.GetInstance(), "version", act.Agent.GetVersion(),
			"remote", e.remote, "identity", e.identity.ID(), "accounts", len(act.Accounts))
		older, claimed := e.service.greet(e)
		if claimed {
			e.refuse(refusedProcess, "", "the agent calls its process by the name of one with another identity: it gets nothing that is that one's")
		}
		if older != nil {
			older.step(func(now time.Time) {
				older.core.Close(now, linkv1.Close_CODE_REPLACED, "a newer session of the same process took over", 0)
			})
		}
	}
	e.tellDynamic(act.Accounts)
	// Before the verdicts: what changes meanwhile is looked at again.
	e.judge(act.Accounts, cfg.Accounts.Released())
	verdicts, err := cfg.Accounts.Declare(ctx, act.Agent, e.identity, act.Accounts)
	for _, name := range act.Removed {
		if err != nil {
			break
		}
		verdict := &linkv1.AccountVerdict{Account: name, Accepted: true, Removed: true}
		if !e.identity.Allows(name) {
			verdict.Accepted, verdict.Reason = false, "this agent's identity does not allow the account"
			e.refuse(refusedRemoval, name, verdict.GetReason())
		} else {
			_, _, err = cfg.Accounts.Remove(ctx, name)
		}
		verdicts = append(verdicts, verdict)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Warn("accounts cannot be looked at now, trying on", "accounts", len(act.Accounts), "removed", len(act.Removed), "error", err.Error())
	}
	e.step(func(now time.Time) { e.core.DeclareDone(now, verdicts, err) })
}

// saveFacts stores an account's facts as long as newer ones come, one after the other.
func (a *actor) saveFacts(ctx context.Context, account string) {
	for f := a.session.nextFacts(account); f != nil; f = a.session.nextFacts(account) {
		if err := a.session.service.cfg.Accounts.SetFacts(ctx, f); err != nil {
			if a.session.notSaved(f) && ctx.Err() == nil {
				a.session.log.Warn("cannot store what is known of a cluster, trying on", "account", account, "error", err.Error())
			}
			return
		}
	}
}

// leftovers deletes what polling wrote for the group before the account had an agent, now that our own rows are complete.
func (a *actor) leftovers(ctx context.Context, n link.Note) {
	deleted, err := a.cache().SweepLeftovers(ctx, store.Fence{Account: n.Account, Holder: a.session.instance(), Epoch: n.Epoch}, n.Group)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, cache.ErrFenced):
		a.session.log.Warn("cannot delete rows of former polling", "account", n.Account, "group", groupName(n.Group), "error", err.Error())
	case deleted > 0:
		a.session.log.Info("rows of former polling deleted", "account", n.Account, "group", groupName(n.Group), "rows", deleted)
	}
}
