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

// actor runs the actions of one session's machine.
type actor struct {
	session *session
	calls   sync.WaitGroup
	slots   chan struct{}

	mu sync.Mutex
	// latest facts of accounts that wait for their turn; storing are the accounts whose facts are being stored. Facts must not
	// overtake each other.
	latest  map[string]*linkv1.Facts
	storing map[string]bool
}

// run takes actions in order until the session is over, then waits for those under way.
func (a *actor) run() {
	a.slots = make(chan struct{}, beside)
	a.latest, a.storing = map[string]*linkv1.Facts{}, map[string]bool{}
	defer a.calls.Wait()
	for {
		action := a.next()
		if action != nil {
			a.do(action)
			continue
		}
		select {
		case <-a.session.wakeActor:
		case <-a.session.ctx.Done():
			return
		}
	}
}

func (a *actor) next() link.Action {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	return a.session.core.NextAction()
}

// do begins one action. Writes are handed over here, in order; what only asks the database runs beside.
func (a *actor) do(action link.Action) {
	switch act := action.(type) {
	case link.Declare:
		a.beside(func(ctx context.Context) { a.declare(ctx, act) })
	case link.StoreFacts:
		a.facts(act.Facts)
	case link.Attach:
		a.beside(func(ctx context.Context) { a.attach(ctx, act) })
	case link.Write:
		a.write(act)
	case link.ReadDigest:
		a.beside(func(ctx context.Context) {
			count, xor, err := a.cache().Digest(ctx, act.Account, act.Group)
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
	case link.Hangup:
		a.session.log.Info("session closes", "agent", a.session.name(), "code", act.Code.String(), "reason", act.Reason)
		a.session.cancel()
	case link.Note:
		a.note(act)
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
		e.log.Info("session opened", "agent", act.Agent.GetName(), "instance", act.Agent.GetInstance(), "version", act.Agent.GetVersion(),
			"remote", e.remote, "identity", e.identity.TokenID, "accounts", len(act.Accounts))
		if older := e.service.greet(e, act.Agent.GetInstance()); older != nil {
			older.step(func(now time.Time) {
				older.core.Close(now, linkv1.Close_CODE_REPLACED, "a newer session of the same process took over", 0)
			})
		}
	}
	verdicts, err := cfg.Accounts.Declare(ctx, act.Agent, e.identity, act.Accounts)
	for _, name := range act.Removed {
		if err != nil {
			break
		}
		verdict := &linkv1.AccountVerdict{Account: name, Accepted: true}
		if !e.identity.Allows(name) {
			verdict.Accepted, verdict.Reason = false, "this agent's identity does not allow the account"
		} else {
			_, _, err = cfg.Accounts.Remove(ctx, name)
		}
		verdicts = append(verdicts, verdict)
	}
	e.step(func(now time.Time) { e.core.DeclareDone(now, verdicts, err) })
}

// facts stores the latest facts of an account, one after the other.
func (a *actor) facts(f *linkv1.Facts) {
	account := f.GetAccount()
	a.mu.Lock()
	a.latest[account] = f
	busy := a.storing[account]
	a.storing[account] = true
	a.mu.Unlock()
	if busy {
		return
	}
	a.beside(func(ctx context.Context) {
		for next := a.nextFacts(account); next != nil; next = a.nextFacts(account) {
			if err := a.session.service.cfg.Accounts.SetFacts(ctx, next); err != nil && ctx.Err() == nil {
				a.session.log.Warn("cannot store facts", "account", account, "error", err.Error())
			}
		}
	})
}

func (a *actor) nextFacts(account string) *linkv1.Facts {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.latest[account]
	delete(a.latest, account)
	if f == nil {
		delete(a.storing, account)
	}
	return f
}

func (a *actor) attach(ctx context.Context, act link.Attach) {
	e := a.session
	result := link.AttachResult{Account: act.Account}
	if result.HeldBy = e.service.hold(e, act.Account, act.Instance); result.HeldBy == "" {
		result.Epoch, result.Continues, result.Err = e.service.cfg.Fences.Attach(ctx, act.Account, act.Instance, act.ResumeEpoch)
	}
	e.step(func(now time.Time) { e.core.AttachDone(now, result) })
}

// note keeps routing, registry and log up to date.
func (a *actor) note(n link.Note) {
	e, cfg := a.session, a.session.service.cfg
	switch n.What {
	case link.NoteAccepted:
		e.mu.Lock()
		e.accounts[n.Account] = true
		agent := e.agent
		e.mu.Unlock()
		cfg.Router.Serve(e.id, n.Account, false)
		cfg.Accounts.Connected(n.Account, e.id, agent)
		e.log.Info("account accepted", "account", n.Account)
	case link.NoteRefused:
		e.log.Warn("account refused", "account", n.Account, "reason", n.Reason)
	case link.NoteWithdrawn:
		e.mu.Lock()
		delete(e.accounts, n.Account)
		e.mu.Unlock()
		cfg.Router.Withdraw(e.id, n.Account)
		cfg.Accounts.Disconnected(n.Account, e.id)
		a.handOver(n.Account)
	case link.NoteAttached, link.NoteContinued:
		if n.What == link.NoteAttached {
			e.mu.Lock()
			delete(e.groups, n.Account)
			e.mu.Unlock()
		}
		cfg.Router.Serve(e.id, n.Account, true)
		e.log.Info("account attached", "account", n.Account, "epoch", n.Epoch, "continues", n.What == link.NoteContinued)
	case link.NoteDetached:
		e.log.Info("account detached", "account", n.Account, "epoch", n.Epoch, "reason", n.Reason)
		a.handOver(n.Account)
	case link.NoteStandby:
		e.log.Info("account has another holder, standing by", "account", n.Account, "holder", n.Reason)
	case link.NoteRejected:
		e.log.Warn("item cannot be stored", "account", n.Account, "group", groupName(n.Group), "key", n.Key, "reason", n.Reason)
	case link.NoteAgreed:
		if e.agreed(n.Account, n.Group, true) {
			a.beside(func(ctx context.Context) { a.leftovers(ctx, n) })
		}
	case link.NoteDiffers:
		e.agreed(n.Account, n.Group, false)
		e.log.Info("group differs, comparing", "account", n.Account, "group", groupName(n.Group))
	case link.NoteGaveUp:
		e.log.Error("group stays different after comparing twice", "account", n.Account, "group", groupName(n.Group))
	case link.NoteSwept:
		e.log.Info("rows swept", "account", n.Account, "group", groupName(n.Group), "rows", n.Key)
	case link.NoteDiscarded:
		e.log.Debug("late frame ignored", "account", n.Account, "epoch", n.Epoch, "reason", n.Reason)
	case link.NoteDraining:
		cfg.Router.Drain(e.id)
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

// handOver lets the next session that stands by for an account attach.
func (a *actor) handOver(account string) {
	for name, next := range a.session.service.release(a.session, account) {
		next.attachAgain(name)
	}
}

func groupName(g *linkv1.Group) string {
	if g.GetRelType() == "" {
		return g.GetType()
	}
	return g.GetType() + "→" + g.GetRelType()
}
