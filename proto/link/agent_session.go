package link

import (
	"fmt"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// agentSession is the agent's side of one session.
type agentSession struct {
	live     liveness
	welcome  *linkv1.Welcome
	credit   int
	helloDue bool
	// declare: the accounts changed since they were last told. factsDue: some account's did. comparedDue: some account has to tell of
	// comparisons.
	declare bool
	// renewed accounts have other records than when they were told: they leave the session before they are declared again, so that the
	// bridge attaches them anew.
	renewed     map[string]bool
	factsDue    bool
	comparedDue bool
	beatDue     bool
	goodbye     bool
	draining    *linkv1.Drain
	leaveAt     time.Time
	ended       bool
	// unassigned waits to be said about dynamic accounts that are not taken.
	unassigned []*linkv1.Assigned
}

func (s *agentSession) open() bool { return s != nil && s.welcome != nil && !s.ended }

// Connected tells that a session stream is open.
func (a *Agent) Connected(now time.Time) {
	a.tell(now)
	a.session = &agentSession{helloDue: true, factsDue: true}
	// Until Welcome names the rule's times, silence is measured by our own patience.
	a.session.live.begin(a.now, 0, a.cfg.WelcomeWait)
	for _, acc := range a.order {
		acc.disconnect()
		acc.factsDue = acc.facts != nil
	}
	a.ledger.lost()
}

// Lost tells that the session is over, for whatever reason. Nothing of it may be fed afterwards.
func (a *Agent) Lost(now time.Time, _ string) {
	a.tell(now)
	a.session = nil
	for _, acc := range a.order {
		acc.disconnect()
	}
	a.ledger.lost()
}

// Goodbye tells that the process will end: no operation begins any more, running ones may finish. Then Disconnect comes, if there is a
// session.
func (a *Agent) Goodbye(now time.Time, reason string) {
	a.tell(now)
	if reason == "" {
		reason = "the agent stops"
	}
	a.leaving = reason
	a.ledger.leave(reason)
	if a.session != nil {
		a.session.goodbye = true
	}
	a.leaveIfDone()
}

// ReceivedSession takes a frame of the session stream.
func (a *Agent) ReceivedSession(now time.Time, frame *linkv1.SessionDown) {
	a.tell(now)
	s := a.session
	if s == nil || s.ended {
		return
	}
	s.live.hear(a.now)
	if f := frame.GetClose(); f != nil {
		a.end(Disconnect{Code: f.GetCode(), Reason: f.GetReason(), RetryAfter: milliseconds(uint64(f.GetRetryAfterMs())),
			Final: f.GetCode() == linkv1.Close_CODE_REFUSED})
		return
	}
	if s.welcome == nil {
		a.receiveWelcome(frame.GetWelcome())
		return
	}
	switch f := frame.GetFrame().(type) {
	case *linkv1.SessionDown_Welcome:
		a.broken("the bridge sent a second welcome")
	case *linkv1.SessionDown_Verdict:
		a.receiveVerdict(f.Verdict)
	case *linkv1.SessionDown_Attached:
		if acc := a.accounts[f.Attached.GetAccount()]; acc != nil {
			acc.attached(a, f.Attached)
		}
	case *linkv1.SessionDown_Survey:
		if acc := a.current(f.Survey.GetAccount(), f.Survey.GetEpoch()); acc != nil {
			acc.survey(a, f.Survey)
		}
	case *linkv1.SessionDown_Detached:
		if acc := a.accounts[f.Detached.GetAccount()]; acc != nil {
			acc.detached(a, f.Detached)
		}
	case *linkv1.SessionDown_Assign:
		a.act(TakeAccount{Assign: f.Assign})
	case *linkv1.SessionDown_Withdraw:
		a.act(DropAccount{Account: f.Withdraw.GetAccount()})
	case *linkv1.SessionDown_Drain:
		a.receiveDrain(f.Drain)
	}
}

func (a *Agent) receiveWelcome(w *linkv1.Welcome) {
	s := a.session
	switch bridge := Capability(w.GetCapability()); {
	case w == nil:
		a.broken("the bridge's first frame was neither welcome nor close")
		return
	case bridge < a.cfg.MinimumCapability:
		a.end(Disconnect{Code: linkv1.Close_CODE_REFUSED, Final: true, Reason: fmt.Sprintf(
			"bridge %q has capability %d and this agent needs at least %d: upgrade the bridge", w.GetBridge(), bridge, a.cfg.MinimumCapability)})
		return
	case w.GetCatsFormat() != a.cfg.Format:
		a.end(Disconnect{Code: linkv1.Close_CODE_REFUSED, Final: true, Reason: fmt.Sprintf(
			"bridge %q stores cache format %d and this agent renders %d: upgrade the older one", w.GetBridge(), w.GetCatsFormat(), a.cfg.Format)})
		return
	}
	s.welcome = w
	s.credit = clampInt(w.GetInventoryCredit())
	s.live.begin(a.now, milliseconds(uint64(w.GetHeartbeatIntervalMs())), milliseconds(uint64(w.GetSilenceMs())))
	s.declare = s.declare || len(a.removed) > 0
	a.act(OpenStreams{Secret: w.GetSessionSecret()})
}

func (a *Agent) receiveVerdict(v *linkv1.AccountVerdict) {
	if v.GetRemoved() {
		a.removed = without(a.removed, v.GetAccount())
		return
	}
	acc := a.accounts[v.GetAccount()]
	if acc == nil {
		return // withdrawn since
	}
	if v.GetAccepted() {
		policy := v.GetCache()
		if policy == nil {
			policy = &linkv1.CachePolicy{} // of a bridge that does not know the field: its defaults
		}
		acc.cacheBy(a, policy)
		settings := v.GetSettings()
		if settings == nil {
			settings = &linkv1.AccountSettings{}
		}
		a.ledger.limit(a.now, acc.name, int(settings.GetOperationsAtOnce()))
		a.act(Configure{Account: acc.name, Settings: settings})
		a.act(Note{What: NoteAccepted, Account: acc.name})
		return
	}
	// Nobody will attach it in this session: the records go on, the outbox would only fill.
	acc.standBy(a)
	a.act(Note{What: NoteRefused, Account: acc.name, Reason: v.GetReason()})
}

func (a *Agent) receiveDrain(d *linkv1.Drain) {
	if a.session.draining != nil {
		return
	}
	a.session.draining = d
	a.session.leaveAt = a.now.Add(milliseconds(uint64(d.GetGraceMs())))
	a.act(Note{What: NoteDraining, Reason: d.GetReason()})
	a.leaveIfDone()
}

// leaveIfDone ends a session that is drained or left, once nothing of it is open: operations have been answered, and, when drained,
// what was sent is acknowledged. After the grace it ends anyway: operations go on and are asked for again in the next session.
func (a *Agent) leaveIfDone() {
	s := a.session
	if s == nil || s.ended || (s.draining == nil && a.leaving == "") {
		return
	}
	d := Disconnect{Code: linkv1.Close_CODE_DRAINED, Reason: a.leaving}
	if s.draining != nil {
		d.Addresses = s.draining.GetAddresses()
		d.Reason = s.draining.GetReason()
	}
	// An operation may be on its way that was sent before the goodbye was read: the bridge says when none is.
	gone := s.draining != nil && a.ledger.idle() && a.acknowledged()
	if !s.open() || gone || s.draining != nil && !a.now.Before(s.leaveAt) {
		s.goodbye = true
		a.end(d)
	}
}

func (a *Agent) acknowledged() bool {
	for _, acc := range a.order {
		if acc.phase == attached && len(acc.box.flights) > 0 {
			return false
		}
	}
	return true
}

func (a *Agent) tickSession() {
	s := a.session
	if s == nil || s.ended {
		return
	}
	if s.live.silent(a.now) {
		a.end(Disconnect{Code: linkv1.Close_CODE_SILENCE, Reason: fmt.Sprintf("nothing was heard from the bridge for %s", a.now.Sub(s.live.heard))})
		return
	}
	s.beatDue = s.beatDue || s.live.due(a.now)
	a.leaveIfDone()
}

// broken ends a session whose bridge broke the protocol.
func (a *Agent) broken(reason string) {
	a.end(Disconnect{Code: linkv1.Close_CODE_PROTOCOL, Reason: reason})
}

// end stops the session: nothing more is sent but a due goodbye, nothing more is taken, and the shell closes it.
func (a *Agent) end(d Disconnect) {
	if a.session == nil || a.session.ended {
		return
	}
	a.session.ended = true
	a.act(d)
}

// NextSession returns the next frame for the session stream, nil when there is none.
func (a *Agent) NextSession() *linkv1.SessionUp {
	s := a.session
	switch {
	case s == nil:
		return nil
	case s.helloDue && !s.ended:
		s.helloDue = false
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Hello{Hello: a.hello()}}
	case s.welcome == nil:
		return nil
	case s.beatDue && !s.ended:
		s.beatDue = false
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Heartbeat{Heartbeat: &linkv1.Heartbeat{Number: s.live.beats}}}
	case len(s.renewed) > 0 && s.declare && !s.ended:
		list := &linkv1.Accounts{Accounts: a.declaredBut(s.renewed), Removed: append([]string(nil), a.removed...)}
		s.renewed = nil
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: list}}
	case s.declare && !s.ended:
		s.declare = false
		list := &linkv1.Accounts{Accounts: a.declared(), Removed: append([]string(nil), a.removed...)}
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: list}}
	case len(s.unassigned) > 0 && !s.ended:
		var why *linkv1.Assigned
		why, s.unassigned = s.unassigned[0], s.unassigned[1:]
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Assigned{Assigned: why}}
	case s.goodbye:
		s.goodbye = false
		reason := a.leaving
		if reason == "" {
			reason = "drained"
		}
		return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Goodbye{Goodbye: &linkv1.Goodbye{Reason: reason}}}
	case s.factsDue && !s.ended:
		if facts := a.nextFacts(); facts != nil {
			return facts
		}
	}
	if s.comparedDue && !s.ended {
		return a.nextCompared()
	}
	return nil
}

func (a *Agent) nextCompared() *linkv1.SessionUp {
	for _, acc := range a.order {
		if acc.comparedDue || len(acc.agreed) > 0 {
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Compared{Compared: acc.compared()}}
		}
	}
	a.session.comparedDue = false
	return nil
}

// mostUnassigned bounds what waits to be said about accounts that the agent does not take; the bridge asks again about what was not said.
const mostUnassigned = 10_000

// Refuse says why the agent does not serve a dynamic account that it was given. A session that is over by then hears nothing: the next one's
// bridge gives the account anew.
func (a *Agent) Refuse(now time.Time, why *linkv1.Assigned) {
	a.tell(now)
	if s := a.session; s != nil && s.welcome != nil && len(s.unassigned) < mostUnassigned {
		s.unassigned = append(s.unassigned, why)
	}
}

func (a *Agent) nextFacts() *linkv1.SessionUp {
	for _, acc := range a.order {
		if acc.factsDue {
			acc.factsDue = false
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: acc.facts}}
		}
	}
	a.session.factsDue = false
	return nil
}

func (a *Agent) hello() *linkv1.Hello {
	h := &linkv1.Hello{
		Capability:        uint32(a.cfg.Capability),
		MinimumCapability: uint32(a.cfg.MinimumCapability),
		CatsFormat:        a.cfg.Format,
		Agent:             a.cfg.Agent,
		Accounts:          a.declared(),
	}
	a.session.declare, a.session.renewed = false, nil
	for _, acc := range a.order {
		if acc.epoch > 0 {
			h.Resumes = append(h.Resumes, &linkv1.Resume{Account: acc.name, Epoch: acc.epoch})
		}
	}
	// Those that left, too: they may come back during the session.
	for _, name := range sortedNames(a.epochs) {
		if a.accounts[name] == nil {
			h.Resumes = append(h.Resumes, &linkv1.Resume{Account: name, Epoch: a.epochs[name]})
		}
	}
	return h
}

func (a *Agent) declared() []*linkv1.Account { return a.declaredBut(nil) }

// declaredBut lists the accounts without some.
func (a *Agent) declaredBut(left map[string]bool) []*linkv1.Account {
	list := make([]*linkv1.Account, 0, len(a.order))
	for _, acc := range a.order {
		if !left[acc.name] {
			list = append(list, acc.declared)
		}
	}
	return list
}

func milliseconds(ms uint64) time.Duration {
	const most = uint64(365 * 24 * time.Hour / time.Millisecond)
	return time.Duration(min(ms, most)) * time.Millisecond
}

func clampInt(n uint64) int { return int(min(n, 1<<40)) }
