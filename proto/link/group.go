package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// stage is how far the comparison of a group has come, seen by the agent.
//
//	unknown → due → asked → agreed → due …
//	                asked → unequal → paging → ended → due …
//	                asked → resting → due …                            (the bridge gave up)
type stage int

const (
	// unknown: never compared at this attach, and not complete yet.
	unknown stage = iota
	// due: its digest is sent as soon as it is complete and nothing of it is unsent.
	due
	// asked: the digest was sent.
	asked
	// unequal: it waits for its turn to send pages.
	unequal
	// paging: its pages are being sent.
	paging
	// ended: all pages were sent; further items may be wanted until the last one is acknowledged.
	ended
	// agreed: equal; compared again at the group's time.
	agreed
	// resting: the bridge gave up; compared again at the group's time.
	resting
)

// maxRejected bounds what a group remembers of rejected items; further ones make it unequal until the bridge gives up.
const maxRejected = 10_000

// maxWanted bounds the items that a bridge may want of one account at a time.
const maxWanted = 1 << 20

// group is the agent's side of comparing one group.
type group struct {
	key     groupKey
	message *linkv1.Group
	// pending counts its unsent changes in the outbox.
	pending int

	stage stage
	// occupied: the tables had rows of it when the account was attached, or there is another reason to compare it.
	occupied bool
	at       time.Time
	backoff  time.Duration
	// known: the bridge agreed at its last word, so that saying so again is no news.
	known bool
	// asked and ended are the numbers of the digest and of the last page.
	askedSeq, endedSeq uint64
	// after is the last key that was paged.
	after string

	// wanted items are not sent yet: wantedOrder those not looked at, bodies those whose objects have to be fetched.
	wanted      map[string]struct{}
	wantedOrder queue[string]
	bodies      queue[string]

	// rejected items, and their part of the digest. They count as absent until they change.
	rejected map[string]uint64
}

func (g *group) has(typ string) bool { return g.key.typ == typ || g.key.rel == typ }

// settle plans the next check.
func (g *group) settle(a *Agent) {
	interval := a.checkInterval()
	if own, ok := a.cfg.CheckIntervals[g.key.typ]; ok && g.key.rel == "" {
		interval = min(interval, own)
	}
	g.stage, g.backoff = agreed, 0
	g.at = a.now.Add(jitter(a, interval))
}

// rest plans the next check after the bridge gave up, later each time.
func (g *group) rest(a *Agent) {
	g.backoff = min(max(2*g.backoff, a.checkInterval()), maxBackoff)
	g.stage = resting
	g.at = a.now.Add(jitter(a, g.backoff))
}

// checkInterval is what the bridge of the present session said or, without that, the agent's own.
func (a *Agent) checkInterval() time.Duration {
	if a.session != nil {
		if told := a.session.welcome.GetCheckIntervalMs(); told > 0 {
			return time.Duration(told) * time.Millisecond
		}
	}
	return a.cfg.CheckInterval
}

// jitter is the interval ±50 %.
func jitter(a *Agent, interval time.Duration) time.Duration {
	return interval/2 + time.Duration(a.cfg.Rand.Float64()*float64(interval))
}

// reattach starts over what the former attach has not finished, or everything.
func (g *group) reattach(continues bool) {
	switch {
	case !continues:
		g.rejected = nil
		g.stage, g.backoff, g.known, g.occupied = unknown, 0, false, false
	case g.stage != unknown && g.stage != agreed && g.stage != resting:
		g.stage = due
	}
}

// supersede forgets what is known of an item that changes.
func (g *group) supersede(acc *agentAccount, key itemKey) {
	if len(g.wanted) == 0 && len(g.rejected) == 0 {
		return
	}
	if g.key.rel != "" {
		// A link's entry key is not known here. What is wanted is rebuilt from the records at its turn; what was rejected is judged again.
		g.rejected = nil
		return
	}
	entry := rowKey(key.from)
	delete(g.rejected, entry)
	if _, ok := g.wanted[entry]; ok {
		delete(g.wanted, entry)
		acc.wants--
	}
}

// digest is the records' digest without what was rejected.
func (g *group) digest(records Records) *linkv1.Digest {
	count, xor := records.Digest(g.message)
	for _, hash := range g.rejected {
		count--
		xor ^= hash
	}
	return &linkv1.Digest{Group: g.message, Count: count, Xor: xor}
}

// page is the next page of the group's snapshot.
func (g *group) page(records Records, limit int, begin bool) *linkv1.Page {
	entries := records.Page(g.message, g.after, limit)
	page := &linkv1.Page{Group: g.message, Begin: begin, End: len(entries) < limit, Entries: entries}
	if len(entries) > 0 {
		g.after = entries[len(entries)-1].GetKey()
	}
	if len(g.rejected) > 0 {
		kept := make([]*linkv1.Entry, 0, len(entries))
		for _, e := range entries {
			if _, ok := g.rejected[e.GetKey()]; !ok {
				kept = append(kept, e)
			}
		}
		page.Entries = kept
	}
	return page
}
