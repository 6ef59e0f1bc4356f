package link

import (
	"fmt"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// phase is whether an account's inventory may be sent.
type phase int

const (
	// waiting: no bridge has given the account to this agent in this session; its outbox fills and then holds the watch.
	waiting phase = iota
	// attached: a bridge takes its inventory.
	attached
	// standby: another agent has its caching, or the bridge refused it. The records go on, the outbox stays empty.
	standby
)

// maxGroups bounds the groups of one account: its kinds, and the pairs of them that have links.
const maxGroups = 4096

// agentAccount is the agent's side of one account.
type agentAccount struct {
	name     string
	declared *linkv1.Account
	records  Records
	facts    *linkv1.Facts
	factsDue bool
	// comparedDue: the bridge has to be told what it does not know of former comparisons. agreed are groups that needed none.
	comparedDue bool
	agreed      []*linkv1.Group

	phase phase
	// epoch is the last one that this process was given. kept: the outbox holds everything since that was not acknowledged, so that
	// the next attach may continue.
	epoch uint64
	kept  bool
	// newest is the last one of this session: an older frame changes nothing.
	newest uint64
	seq    uint64
	box    outbox

	// surveyed: the bridge has named all groups that have rows in the tables.
	surveyed bool
	// policy waits for the survey until policyAt: what is listed before cannot be sent at once. begun: the account's first one was handed out.
	policy   *linkv1.CachePolicy
	policyAt time.Time
	begun    bool
	// telling: logical types are told although they are not complete, which begins at tellAt.
	telling bool
	tellAt  time.Time

	live, dropped map[string]bool
	// watches is the account's complete list of types; nil while it is not known.
	watches map[string]bool

	groups map[groupKey]*group
	order  []*group
	// unequal groups wait to be compared item by item; paging is the one whose pages are being sent; wants counts wanted items, and wished
	// tells that there were some since all was forgotten that remembers them.
	unequal []*group
	paging  *group
	paged   bool
	wants   int
	wished  bool
	fetch   *group

	queued bool
}

func newAgentAccount(records Records) *agentAccount {
	return &agentAccount{
		records: records,
		box:     outbox{maxSet: maxSetBytes},
		live:    make(map[string]bool),
		dropped: make(map[string]bool),
		groups:  make(map[groupKey]*group),
	}
}

// leave is the end of the account at this agent.
func (acc *agentAccount) leave(a *Agent) {
	acc.forget(a)
	if acc.epoch > 0 {
		a.epochs[acc.name] = acc.epoch
	}
}

// forget takes the account's outbox out of the agent's sum.
func (acc *agentAccount) forget(a *Agent) {
	a.bytes -= acc.box.bytes
	acc.box.reset()
}

// group finds or makes a group.
func (acc *agentAccount) group(key groupKey) *group {
	g := acc.groups[key]
	if g == nil {
		g = &group{key: key, message: key.message()}
		acc.groups[key] = g
		acc.order = append(acc.order, g)
	}
	return g
}

// isLive tells whether the records of a group are a complete snapshot. Types that are not watched have a complete one: nothing.
func (acc *agentAccount) isLive(g *group) bool {
	return acc.isComplete(g.key.typ) && (g.key.rel == "" || acc.isComplete(g.key.rel))
}

func (acc *agentAccount) isComplete(typ string) bool {
	return acc.live[typ] || acc.dropped[typ] || acc.watches != nil && !acc.watches[typ]
}

// put adds a change set to the outbox, without what a comparison will tell anyway: everything while nothing can continue, and groups whose
// first list is under way and that have rows in the tables. A restart with nothing changed therefore sends nothing but digests, and what
// the tables have nothing of is listed once.
func (acc *agentAccount) put(a *Agent, changes []*linkv1.Change, read time.Time) {
	kept := changes
	for i, c := range changes {
		key, ok := itemOf(c)
		keep := ok && acc.keeps(a, key)
		switch {
		case keep && len(kept) < len(changes):
			kept = append(kept, c)
		case !keep && len(kept) == len(changes):
			kept = append(make([]*linkv1.Change, 0, len(changes)-1), changes[:i]...)
		}
	}
	if len(kept) == 0 {
		return
	}
	before := acc.box.bytes
	acc.box.put(kept, read, func(key itemKey) *group { return acc.groups[key.group()] })
	a.bytes += acc.box.bytes - before
	a.wake(acc)
}

// keeps tells whether a change has to be told, and forgets what is known of the item's former state.
func (acc *agentAccount) keeps(a *Agent, key itemKey) bool {
	g := acc.group(key.group())
	g.supersede(acc, key)
	if acc.phase != attached && !acc.kept {
		return false
	}
	if g.stage == unknown {
		if !acc.isLive(g) {
			return acc.surveyed && !g.occupied || acc.telling && a.isLogical(g)
		}
		// New since its types became complete: all of it comes through the outbox. It is compared at its first check.
		g.settle(a)
	}
	return true
}

func (a *Agent) isLogical(g *group) bool {
	if g.key.rel != "" {
		return false
	}
	for _, typ := range a.cfg.Logical {
		if typ == g.key.typ {
			return true
		}
	}
	return false
}

// tellLate begins to tell of logical types that are not complete, when no further kind has become so for a while. To tell what the
// tables have mostly would cost a restart more than all of its digests.
func (acc *agentAccount) tellLate(a *Agent) {
	if acc.phase == attached && !acc.telling && !a.now.Before(acc.tellAt) {
		acc.telling = true
		acc.tellLogical(a)
	}
}

// tellLogical sends what the records know of logical types that are not complete: no comparison will find out soon.
func (acc *agentAccount) tellLogical(a *Agent) {
	for _, g := range acc.order {
		if g.stage != unknown || !a.isLogical(g) {
			continue
		}
		for after := ""; ; {
			page := acc.records.Page(g.message, after, a.cfg.PageEntries)
			for _, e := range page {
				after = e.GetKey()
				acc.wish(g, after)
			}
			if len(page) < a.cfg.PageEntries {
				break
			}
		}
	}
	a.pump(acc)
}

func (acc *agentAccount) setWatches(a *Agent, types []string) {
	acc.watches = make(map[string]bool, len(types))
	for _, t := range types {
		acc.watches[t] = true
	}
	acc.compareLive(a)
}

func (acc *agentAccount) setLive(a *Agent, typ string) {
	if !acc.live[typ] {
		acc.tellAt = a.now.Add(a.cfg.LogicalWait)
	}
	acc.live[typ] = true
	delete(acc.dropped, typ)
	acc.group(groupKey{typ: typ})
	acc.compareLive(a)
}

func (acc *agentAccount) setNotLive(typ string) {
	delete(acc.live, typ)
	for _, g := range acc.order {
		if g.has(typ) && (g.stage == unequal || g.stage == paging) {
			acc.abandon(g)
		}
	}
}

func (acc *agentAccount) setDropped(a *Agent, typ string) {
	delete(acc.live, typ)
	acc.dropped[typ] = true
	acc.group(groupKey{typ: typ})
	for _, g := range acc.order {
		if g.has(typ) {
			acc.abandon(g)
		}
	}
	acc.compareLive(a)
}

// compareLive makes all groups that became complete due, those that only the records know included.
func (acc *agentAccount) compareLive(a *Agent) {
	for _, g := range acc.records.Groups() {
		if len(acc.order) < maxGroups {
			acc.group(groupOf(g))
		}
	}
	for _, g := range acc.order {
		if g.stage == unknown && acc.isLive(g) {
			g.stage = due
		}
	}
	a.wake(acc)
}

// abandon stops comparing a group; it is due again once it is live.
func (acc *agentAccount) abandon(g *group) {
	if acc.paging == g {
		acc.paging = nil
	}
	kept := acc.unequal[:0]
	for _, u := range acc.unequal {
		if u != g {
			kept = append(kept, u)
		}
	}
	acc.unequal = kept
	acc.unwant(g)
	g.stage = due
}

func (acc *agentAccount) unwant(g *group) {
	acc.wants -= len(g.wanted)
	g.wanted, g.wantedOrder, g.bodies = nil, queue[string]{}, queue[string]{}
}

// disconnect is the loss of the session: nothing may be sent until the next attach. What was sent stays in the outbox.
func (acc *agentAccount) disconnect() {
	// After standby as well: the next bridge may give it to us, and what changes from now on is kept for it.
	acc.phase, acc.newest, acc.comparedDue, acc.agreed = waiting, 0, false, nil
}

// standBy empties the outbox: whoever is given the account later compares everything.
func (acc *agentAccount) standBy(a *Agent) {
	acc.forget(a)
	acc.phase, acc.kept = standby, false
	acc.begin(a)
}

// cacheBy takes what the bridge's configuration says. An account's first listing waits a moment for the survey.
func (acc *agentAccount) cacheBy(a *Agent, policy *linkv1.CachePolicy) {
	acc.policy = policy
	if acc.begun {
		acc.begin(a)
		return
	}
	acc.policyAt = a.now.Add(a.cfg.SurveyWait)
}

// begin hands out the policy that waits, if one does.
func (acc *agentAccount) begin(a *Agent) {
	if acc.policy != nil {
		a.act(CacheBy{Account: acc.name, Policy: acc.policy})
		acc.policy, acc.begun = nil, true
	}
}

func (acc *agentAccount) attached(a *Agent, f *linkv1.Attached) {
	if f.GetEpoch() == 0 {
		a.broken(fmt.Sprintf("the bridge attached account %q at epoch 0", acc.name))
		return
	}
	if f.GetEpoch() <= acc.newest {
		return
	}
	acc.newest = f.GetEpoch()
	continues := f.GetContinues() && acc.kept
	acc.phase, acc.kept, acc.epoch, acc.seq = attached, true, f.GetEpoch(), 0
	before := acc.box.bytes
	acc.box.requeue()
	a.bytes += acc.box.bytes - before
	acc.paging, acc.unequal = nil, nil
	acc.agreed = nil
	acc.surveyed, acc.telling = acc.surveyed && continues, acc.telling && continues
	acc.tellAt = a.now.Add(a.cfg.LogicalWait)
	for _, g := range acc.order {
		acc.unwant(g)
		g.reattach(continues)
	}
	acc.compareLive(a)
	if acc.telling {
		acc.tellLogical(a)
	}
	what := NoteAttached
	if continues {
		what = NoteContinued
		acc.comparedDue, a.session.comparedDue = true, true
		acc.begin(a) // there will be no survey
	}
	a.act(Note{What: what, Account: acc.name, Epoch: acc.epoch})
}

// compared tells how comparisons ended before the present session, or without a digest. One that was never made is not told.
func (acc *agentAccount) compared() *linkv1.Compared {
	told := &linkv1.Compared{Account: acc.name, Epoch: acc.epoch, Agreed: acc.agreed}
	acc.agreed = nil
	if !acc.comparedDue {
		return told
	}
	acc.comparedDue, told.Agreed = false, nil
	for _, g := range acc.order {
		switch {
		case g.known:
			told.Agreed = append(told.Agreed, g.message)
		case g.stage != unknown && g.stage != agreed:
			told.Open = append(told.Open, g.message)
		}
	}
	return told
}

func (acc *agentAccount) detached(a *Agent, f *linkv1.Detached) {
	switch {
	case f.GetEpoch() == 0:
		acc.standBy(a)
		a.act(Note{What: NoteStandby, Account: acc.name, Reason: f.GetReason()})
	case acc.phase == attached && f.GetEpoch() == acc.epoch:
		acc.phase = waiting
		a.act(Note{What: NoteDetached, Account: acc.name, Epoch: acc.epoch, Reason: f.GetReason()})
	}
}

// tick makes groups due whose check has come, and ends waits.
func (acc *agentAccount) tick(a *Agent) {
	if !a.now.Before(acc.policyAt) {
		acc.begin(a)
	}
	acc.tellLate(a)
	woke := false
	for _, g := range acc.order {
		if (g.stage == agreed || g.stage == resting) && !a.now.Before(g.at) {
			g.stage = due
			woke = true
		}
	}
	if woke {
		a.wake(acc)
	}
}
