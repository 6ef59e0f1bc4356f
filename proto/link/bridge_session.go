package link

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// ReceivedSession takes a frame of the session stream.
func (b *Bridge) ReceivedSession(now time.Time, frame *linkv1.SessionUp) {
	b.tell(now)
	if b.ended {
		return
	}
	b.live.hear(b.now)
	if b.agent == nil {
		b.receiveHello(frame.GetHello())
		return
	}
	if b.out.len() > 8*b.cfg.Accounts {
		b.end(linkv1.Close_CODE_PROTOCOL, "the agent does not read the answers to its accounts")
		return
	}
	switch f := frame.GetFrame().(type) {
	case *linkv1.SessionUp_Hello:
		b.broken("the agent sent a second hello")
	case *linkv1.SessionUp_Proof:
		b.broken("the agent sent a proof that nobody asked for")
	case *linkv1.SessionUp_Accounts:
		b.declare(f.Accounts.GetAccounts(), f.Accounts.GetRemoved())
	case *linkv1.SessionUp_Facts:
		b.receiveFacts(f.Facts)
	case *linkv1.SessionUp_Compared:
		b.receiveCompared(f.Compared)
	case *linkv1.SessionUp_Assigned:
		b.act(Unassigned{Assigned: f.Assigned})
	case *linkv1.SessionUp_Heartbeat:
		b.echo = f.Heartbeat
	case *linkv1.SessionUp_Goodbye:
		if !b.leaving {
			b.leaving = true
			b.act(Note{What: NoteDraining, Reason: f.Goodbye.GetReason()})
		}
	}
}

func (b *Bridge) receiveHello(h *linkv1.Hello) {
	agent := Capability(h.GetCapability())
	switch {
	case h == nil:
		b.broken("the agent's first frame was not hello")
	case agent < b.cfg.MinimumCapability:
		b.Close(b.now, linkv1.Close_CODE_REFUSED, fmt.Sprintf(
			"agent version %q has capability %d and this bridge needs at least %d: upgrade the agent", h.GetAgent().GetVersion(), agent, b.cfg.MinimumCapability), 0)
	case Capability(h.GetMinimumCapability()) > b.cfg.Capability:
		b.Close(b.now, linkv1.Close_CODE_REFUSED, fmt.Sprintf(
			"agent version %q needs a bridge of capability %d and this one has %d: upgrade the bridge", h.GetAgent().GetVersion(), h.GetMinimumCapability(), b.cfg.Capability), 0)
	case h.GetCatsFormat() != b.cfg.Format:
		b.Close(b.now, linkv1.Close_CODE_REFUSED, fmt.Sprintf(
			"the agent renders cache format %d and the tables hold %d: upgrade the older one", h.GetCatsFormat(), b.cfg.Format), 0)
	case h.GetAgent().GetInstance() == "":
		b.broken("the agent's hello names no instance")
	default:
		b.welcome(h)
	}
}

// welcome accepts a session.
func (b *Bridge) welcome(h *linkv1.Hello) {
	b.agent = h.GetAgent()
	b.live.begin(b.now, b.cfg.Heartbeat, b.cfg.Silence)
	if b.cfg.Age > 0 {
		b.until = b.now.Add(time.Duration(float64(b.cfg.Age) * (0.8 + 0.4*b.cfg.Rand.Float64())))
	}
	for _, r := range h.GetResumes() {
		if len(b.resumes) < b.cfg.Accounts {
			b.resumes[r.GetAccount()] = r.GetEpoch()
		}
	}
	b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Welcome{Welcome: &linkv1.Welcome{
		Capability:          uint32(b.cfg.Capability),
		CatsFormat:          b.cfg.Format,
		Bridge:              b.cfg.Bridge,
		Session:             b.cfg.Session,
		SessionSecret:       b.cfg.Secret,
		HeartbeatIntervalMs: uint32(b.cfg.Heartbeat.Milliseconds()),
		SilenceMs:           uint32(b.cfg.Silence.Milliseconds()),
		MaximumAgeMs:        uint64(max(b.cfg.Age, 0).Milliseconds()),
		InventoryCredit:     uint64(b.cfg.Window),
		MaximumBodyBytes:    uint32(b.cfg.MaximumBody),
		CheckIntervalMs:     uint32(b.cfg.CheckInterval.Milliseconds()),
		MetricsIntervalMs:   uint32(b.cfg.MetricsInterval.Milliseconds()),
	}}})
	b.declare(h.GetAccounts(), nil)
}

func (b *Bridge) send(frame *linkv1.SessionDown) { b.out.push(frame) }

// declare takes the agent's list of accounts. Those that are not in it any more leave the session; only removed ones leave Clouddriver.
func (b *Bridge) declare(accounts []*linkv1.Account, removed []string) {
	if len(accounts) > b.cfg.Accounts || len(b.removed)+len(removed) > b.cfg.Accounts {
		b.broken(fmt.Sprintf("the agent declared more than %d accounts", b.cfg.Accounts))
		return
	}
	before := b.accounts
	b.accounts = make(map[string]*bridgeAccount, len(accounts))
	b.order = b.order[:0]
	for _, declared := range accounts {
		name := declared.GetName()
		if name == "" || b.accounts[name] != nil {
			b.broken(fmt.Sprintf("the agent declared account %q without a name or twice", name))
			return
		}
		acc := before[name]
		if acc == nil {
			acc = newBridgeAccount(name, b.resumes[name])
		}
		delete(before, name)
		// A name that comes back is not removed any more.
		b.removed = without(b.removed, name)
		acc.declared = declared
		b.accounts[name] = acc
		b.order = append(b.order, acc)
	}
	for _, name := range sortedNames(before) {
		b.withdraw(before[name], "the agent no longer declares it")
	}
	b.removed = append(b.removed, removed...)
	b.askRegistry()
}

// withdraw is the end of an account in this session.
func (b *Bridge) withdraw(acc *bridgeAccount, reason string) {
	b.detach(acc, reason)
	if len(b.resumes) < 2*b.cfg.Accounts {
		// If it comes back, no epoch may come up again for this process.
		b.resumes[acc.name] = acc.last
	}
	if acc.accepted {
		acc.accepted = false
		b.act(Note{What: NoteWithdrawn, Account: acc.name})
	}
}

// Removed says that an account was taken out of Clouddriver, by another agent or a person. This session does not serve it any more, although
// its agent declares it: asked once more, the registry would take it in again. The agent brings it back when it declares its accounts anew.
func (b *Bridge) Removed(now time.Time, account string) {
	b.tell(now)
	acc := b.accounts[account]
	if b.ended || acc == nil {
		return
	}
	delete(b.accounts, account)
	kept := b.order[:0]
	for _, other := range b.order {
		if other != acc {
			kept = append(kept, other)
		}
	}
	b.order = kept
	b.withdraw(acc, "the account was removed")
}

func (b *Bridge) askRegistry() {
	if b.declaring {
		b.redeclare = true
		return
	}
	list := make([]*linkv1.Account, len(b.order))
	for i, acc := range b.order {
		list[i] = acc.declared
	}
	b.declaring, b.redeclare = true, false
	b.act(Declare{Agent: b.agent, Accounts: list, Removed: append([]string(nil), b.removed...)})
}

// Reconsider asks the registry about all accounts once more: what it says of one of them may have changed.
func (b *Bridge) Reconsider(now time.Time) {
	b.tell(now)
	if !b.ended && b.agent != nil {
		b.askRegistry()
	}
}

// DeclareDone answers a Declare, with one verdict for each of its accounts and removed names; err: the registry cannot answer
// now, and is asked again later.
func (b *Bridge) DeclareDone(now time.Time, verdicts []*linkv1.AccountVerdict, err error) {
	b.tell(now)
	if b.ended || !b.declaring {
		return
	}
	b.declaring = false
	if err != nil {
		b.retry.failed(b.now, b.cfg.Rand)
		return
	}
	b.retry.worked()
	for _, v := range verdicts {
		b.verdict(v)
	}
	if b.redeclare {
		b.askRegistry()
	}
}

func (b *Bridge) verdict(v *linkv1.AccountVerdict) {
	frame := &linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: v}}
	if v.GetRemoved() {
		n := len(b.removed)
		if b.removed = without(b.removed, v.GetAccount()); len(b.removed) < n {
			b.send(frame)
		}
		return
	}
	acc := b.accounts[v.GetAccount()]
	if acc == nil {
		return // the agent has withdrawn it since it was asked about
	}
	if acc.judged && acc.accepted == v.GetAccepted() {
		if acc.accepted && !(proto.Equal(acc.verdict.GetCache(), v.GetCache()) && proto.Equal(acc.verdict.GetSettings(), v.GetSettings())) {
			acc.verdict = v // only what the bridge's configuration says is another
			b.send(frame)
		}
		return
	}
	acc.judged, acc.verdict = true, v
	b.send(frame)
	if !v.GetAccepted() {
		b.detach(acc, v.GetReason())
		if acc.accepted {
			b.act(Note{What: NoteWithdrawn, Account: acc.name})
		}
		acc.accepted = false
		b.act(Note{What: NoteRefused, Account: acc.name, Reason: v.GetReason()})
		return
	}
	acc.accepted = true
	b.act(Note{What: NoteAccepted, Account: acc.name})
	if acc.facts != nil {
		b.act(StoreFacts{Facts: acc.facts})
		acc.facts = nil
	}
	b.attach(acc)
}

func (b *Bridge) receiveFacts(f *linkv1.Facts) {
	acc := b.accounts[f.GetAccount()]
	switch {
	case acc == nil:
		b.act(Note{What: NoteDiscarded, Account: f.GetAccount(), Reason: "facts of an account that is not declared"})
	case acc.accepted:
		b.act(StoreFacts{Facts: f})
	default:
		acc.facts = f
	}
}

// Heard tells that a frame came on the operations stream, which Operations handles: it counts as life.
func (b *Bridge) Heard(now time.Time) {
	b.tell(now)
	b.live.hear(b.now)
}

// Drain asks the agent to finish and to go elsewhere; the session ends when it has, or after the grace.
func (b *Bridge) Drain(now time.Time, addresses []string, reason string) {
	b.tell(now)
	if b.ended || b.draining {
		return
	}
	b.draining, b.drainUntil = true, b.now.Add(b.cfg.Grace)
	b.act(Note{What: NoteDraining, Reason: reason})
	if b.agent == nil {
		b.Close(b.now, linkv1.Close_CODE_DRAINED, reason, 0)
		return
	}
	b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Drain{Drain: &linkv1.Drain{
		GraceMs: uint32(b.cfg.Grace.Milliseconds()), Addresses: addresses, Reason: reason}}})
}

// Assign gives the agent a dynamic account, Withdraw takes it back. Nothing is sent before the session is open or after its end; who calls
// knows by what the agent declares whether it arrived.
func (b *Bridge) Assign(now time.Time, a *linkv1.Assign) {
	b.tell(now)
	if !b.ended && b.agent != nil {
		b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Assign{Assign: a}})
	}
}

// Withdraw takes a dynamic account from the agent.
func (b *Bridge) Withdraw(now time.Time, account string) {
	b.tell(now)
	if !b.ended && b.agent != nil {
		b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Withdraw{Withdraw: &linkv1.Withdraw{Account: account}}})
	}
}

// Busy tells whether operations of the session are open, at each tick: a session whose agent said goodbye ends when none is.
func (b *Bridge) Busy(now time.Time, busy bool) {
	b.tell(now)
	if b.leaving && !busy {
		b.Close(b.now, linkv1.Close_CODE_DRAINED, "the agent left", 0)
	}
}

// Close ends the session.
func (b *Bridge) Close(now time.Time, code linkv1.Close_Code, reason string, retryAfter time.Duration) {
	b.tell(now)
	if b.ended {
		return
	}
	b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Close{Close: &linkv1.Close{
		Code: code, Reason: reason, RetryAfterMs: uint32(retryAfter.Milliseconds())}}})
	b.end(code, reason)
}

// broken ends a session whose agent broke the protocol.
func (b *Bridge) broken(reason string) { b.Close(b.now, linkv1.Close_CODE_PROTOCOL, reason, 0) }

func (b *Bridge) end(code linkv1.Close_Code, reason string) {
	b.ended = true
	// What was asked for and not begun is not needed any more; nothing is handled after this.
	b.actions = queue[Action]{}
	b.down = queue[*linkv1.InventoryDown]{}
	b.accounts, b.order = nil, nil
	b.act(Hangup{Code: code, Reason: reason})
}

// Lost tells that the streams are gone. Results of actions may still be fed; they change nothing.
func (b *Bridge) Lost(now time.Time, reason string) {
	b.tell(now)
	if !b.ended {
		b.end(linkv1.Close_CODE_RETRY, reason)
	}
	b.out = queue[*linkv1.SessionDown]{}
}

// Tick tells the time; call it once a second or so.
func (b *Bridge) Tick(now time.Time) {
	b.tell(now)
	switch {
	case b.ended:
		return
	case b.live.silent(b.now):
		b.Close(b.now, linkv1.Close_CODE_SILENCE, fmt.Sprintf("nothing was heard from the agent for %s", b.now.Sub(b.live.heard)), 0)
		return
	case b.draining && !b.now.Before(b.drainUntil):
		b.Close(b.now, linkv1.Close_CODE_DRAINED, "the grace of the drain is over", 0)
		return
	case !b.draining && !b.until.IsZero() && !b.now.Before(b.until):
		b.Drain(b.now, nil, "the session is old enough to be balanced again")
	}
	if b.retry.due(b.now) && !b.declaring {
		b.askRegistry()
	}
	b.tickAccounts()
}

// NextSession returns the next frame for the session stream, nil when there is none.
func (b *Bridge) NextSession() *linkv1.SessionDown {
	if frame, ok := b.out.pop(); ok {
		return frame
	}
	if b.echo != nil && !b.ended {
		frame := &linkv1.SessionDown{Frame: &linkv1.SessionDown_Heartbeat{Heartbeat: b.echo}}
		b.echo = nil
		return frame
	}
	return nil
}
