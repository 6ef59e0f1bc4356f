package accounts

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// pollInterval is how soon a bridge learns what another one changed.
	pollInterval = 2 * time.Second
	// heartbeatInterval is how often a bridge says that it lives; one that is silent for store.BridgeSilence is gone.
	heartbeatInterval = 5 * time.Second
	// removalInterval is how often removals that a dead bridge left unfinished are looked for.
	removalInterval = time.Minute
)

// Announce tells where other bridges reach this one, before Run; without it none does.
func (r *Registry) Announce(address string) { r.address = address }

// Run follows the database until ctx ends: what other bridges change, this bridge's heartbeat and its sessions. The tables must be there.
func (r *Registry) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.every(ctx, pollInterval, "accounts", r.poll) })
	group.Go(func() error { return r.every(ctx, removalInterval, "removals", r.resumeRemovals) })
	group.Go(func() error { return r.every(ctx, graceInterval, "grace", r.expire) })
	group.Go(func() error { return r.followSessions(ctx) })
	return group.Wait()
}

// every calls f at once and then at intervals. What fails is tried again at the next.
func (r *Registry) every(ctx context.Context, interval time.Duration, what string, f func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		attempt, cancel := context.WithTimeout(ctx, max(interval, 10*time.Second))
		err := f(attempt)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.failures.WithLabelValues(what).Inc()
		}
		if err != nil && !failing {
			r.o.Log.Warn("database cannot be read, going on with what is known", "what", what, "error", err)
		}
		if err == nil && failing {
			r.o.Log.Info("database can be read again", "what", what)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// poll reads what has changed since the last time.
func (r *Registry) poll(ctx context.Context) error {
	r.polling.Lock()
	defer r.polling.Unlock()
	r.mu.Lock()
	before := r.stored
	r.mu.Unlock()
	// Before the accounts: one that has gone because it was released is known as released then.
	releases, err := r.o.Store.Released(ctx)
	if err != nil {
		return err
	}
	paused, err := r.o.Store.Paused(ctx)
	if err != nil {
		return err
	}
	revisions, err := r.o.Store.AccountRevisions(ctx)
	if err != nil {
		return err
	}
	var news []string
	r.mu.Lock()
	for name, revision := range revisions {
		if known := r.accounts[name]; revision != 0 && (known == nil || known.revision < revision) {
			news = append(news, name)
		}
	}
	r.mu.Unlock()
	rows, err := r.o.Store.Accounts(ctx, news)
	if err != nil {
		return err
	}
	sessions, err := r.o.Store.Sessions(ctx)
	if err != nil {
		return err
	}
	elsewhere := map[string][]store.Session{}
	for _, s := range sessions {
		if s.Bridge != r.o.Bridge && s.Age < store.BridgeSilence.Milliseconds() {
			elsewhere[s.Account] = append(elsewhere[s.Account], s)
		}
	}
	r.take(before, revisions, rows, elsewhere)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stored == before {
		r.takeReleases(releases)
		r.paused = times(paused)
	}
	r.compareSessions(sessions)
	return nil
}

// compareSessions has this bridge's rows of sessions written that are not there, and those taken out that should not be: the database may have
// been restored to an older state. The lock is held.
func (r *Registry) compareSessions(stored []store.Session) {
	there := map[sessionKey]bool{}
	for _, s := range stored {
		if s.Bridge == r.o.Bridge {
			there[sessionKey{s.Account, s.Session}] = true
		}
	}
	differs := false
	settle := func(key sessionKey, serves bool) {
		if _, waits := r.pending[key]; !waits {
			r.pending[key], differs = serves, true
		}
	}
	for account, sessions := range r.serving {
		for session := range sessions {
			if key := (sessionKey{account, session}); !there[key] {
				settle(key, true)
			}
		}
	}
	for key := range there {
		if !r.serving[key.account][key.session] {
			settle(key, false)
		}
	}
	if differs {
		r.wake()
	}
}

// take merges what poll read when Registry.stored was before. What this bridge stored in the meantime is newer and stays.
func (r *Registry) take(before uint64, revisions map[string]uint64, rows []store.Account, elsewhere map[string][]store.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, known := range r.accounts {
		if revisions[name] == 0 && known.stored <= before {
			r.drop(name)
		}
	}
	for _, row := range rows {
		if known := r.accounts[row.Name]; row.Removing || known != nil && known.revision >= row.Revision {
			continue
		}
		a, err := fromRow(row)
		if err != nil {
			r.o.Log.Error("account in the database cannot be read", "account", row.Name, "error", err)
			continue
		}
		r.put(row.Name, a)
	}
	for name, a := range r.accounts {
		a.elsewhere = elsewhere[name]
	}
	if !r.complete {
		r.complete = true
		r.announce()
	}
}

// resumeRemovals ends removals whose bridge did not.
func (r *Registry) resumeRemovals(ctx context.Context) error {
	revisions, err := r.o.Store.AccountRevisions(ctx)
	if err != nil {
		return err
	}
	for name, revision := range revisions {
		r.mu.Lock()
		here := r.removing[name]
		r.mu.Unlock()
		if revision != 0 || here {
			continue
		}
		if _, _, err := r.Remove(ctx, name); err != nil {
			return err
		}
	}
	return r.endReleases(ctx, revisions)
}

// Connected tells that a session of this bridge serves an account.
func (r *Registry) Connected(account, session string, agent *linkv1.Agent) {
	r.mu.Lock()
	if r.serving[account] == nil {
		r.serving[account] = map[string]bool{}
	}
	r.serving[account][session] = true
	key := sessionKey{account, session}
	r.pending[key], r.agents[key], r.instances[key] = true, agent, agent.GetInstance()
	r.mu.Unlock()
	r.wake()
}

// Disconnected tells that a session no longer serves an account.
func (r *Registry) Disconnected(account, session string) {
	r.mu.Lock()
	if delete(r.serving[account], session); len(r.serving[account]) == 0 {
		delete(r.serving, account)
	}
	if a := r.accounts[account]; a != nil {
		a.lastSeen = time.Now()
	}
	delete(r.instances, sessionKey{account, session})
	r.pending[sessionKey{account, session}] = false
	r.mu.Unlock()
	r.wake()
}

// Seen tells whether the account is known, whether an agent serves it at this bridge, and when the last one did, zero if that is not
// known.
func (r *Registry) Seen(account string) (known, connected bool, last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[account]
	if a == nil {
		return false, false, time.Time{}
	}
	return true, len(r.serving[account]) > 0, a.lastSeen
}

func (r *Registry) wake() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// followSessions keeps this bridge's rows: its heartbeat and its sessions. While the database is away, only the last state of each
// session waits.
func (r *Registry) followSessions(ctx context.Context) error {
	ticker := time.NewTicker(heartbeatInterval)
	defer ticker.Stop()
	announced := false
	for {
		err := func() error {
			attempt, cancel := context.WithTimeout(ctx, 2*heartbeatInterval)
			defer cancel()
			if !announced {
				if err := r.o.Store.StartBridge(attempt, r.o.Bridge, r.o.Version, r.address); err != nil {
					return err
				}
				announced = true
			}
			if err := r.o.Store.Heartbeat(attempt, r.o.Bridge, r.o.Version, r.address); err != nil {
				return err
			}
			return r.writeSessions(attempt)
		}()
		if err != nil && ctx.Err() == nil {
			r.failures.WithLabelValues("sessions").Inc()
			r.o.Log.Debug("sessions could not be stored", "error", err)
		}
		select {
		case <-ctx.Done():
			return r.leave(ctx)
		case <-ticker.C:
		case <-r.dirty:
		}
	}
}

// leave takes this bridge's rows out, so that others need not wait for its silence.
func (r *Registry) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := r.o.Store.StopBridge(ctx, r.o.Bridge); err != nil {
		r.o.Log.Warn("this bridge's rows stay in the database until it starts again", "error", err)
	}
	return nil
}

func (r *Registry) writeSessions(ctx context.Context) error {
	r.mu.Lock()
	var serve []store.Session
	ended := map[string][]string{} // accounts by session
	for key, serves := range r.pending {
		if serves {
			agent := r.agents[key]
			serve = append(serve, store.Session{Account: key.account, Session: key.session, Bridge: r.o.Bridge, Agent: describe(agent), Instance: agent.GetInstance(),
				Version: agent.GetVersion(), Capability: agent.GetCapability()})
		} else {
			ended[key.session] = append(ended[key.session], key.account)
		}
	}
	r.mu.Unlock()
	if err := r.o.Store.PutSessions(ctx, serve); err != nil {
		return err
	}
	for _, s := range serve {
		r.settled(sessionKey{s.Account, s.Session}, true)
	}
	for session, accounts := range ended {
		if err := r.o.Store.EndSession(ctx, session, accounts); err != nil {
			return err
		}
		for _, name := range accounts {
			r.settled(sessionKey{name, session}, false)
		}
	}
	return nil
}

// settled notes that a session's state is in the database, unless it has changed again.
func (r *Registry) settled(key sessionKey, serves bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, pending := r.pending[key]; pending && now == serves {
		delete(r.pending, key)
		if !serves {
			delete(r.agents, key)
		}
	}
}
