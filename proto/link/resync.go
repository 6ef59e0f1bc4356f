package link

import (
	"fmt"
	"sort"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// sameResults after resyncs in a row, or maxResyncs with any result, and the bridge gives a group up.
	sameResults = 2
	maxResyncs  = 6
	// maxTouched bytes of keys that changed during a snapshot are remembered; more make the snapshot void, and it is asked for again.
	maxTouched = 16 << 20
)

// comparison is what the bridge remembers of a group of one attach.
type comparison struct {
	// permit: the agent may send a snapshot, and one of the session's resyncs is taken for it since at.
	permit bool
	at     time.Time
	// waiting: it stands in line for a permit, which answers the digest of that number.
	waiting bool
	seq     uint64
	// resynced: a snapshot was completed since the last digest. same and total count digests that differed after one.
	resynced    bool
	last        [4]uint64
	same, total int
	// agreed: so it was said before, and saying it again is no news.
	agreed bool
	// recheck: somebody asked for the comparison (Bridge.Recheck) and waits for its end.
	recheck bool
}

// permit is a group whose verdict waits until a resync ends.
type permit struct {
	acc   *bridgeAccount
	epoch uint64
	key   groupKey
}

// knows finds or makes the comparison of a group.
func (acc *bridgeAccount) knows(key groupKey) bool {
	if acc.groups[key] != nil {
		return true
	}
	if key.typ == "" || len(acc.groups) >= maxGroups {
		return false
	}
	if acc.groups == nil {
		acc.groups = make(map[groupKey]*comparison)
	}
	acc.groups[key] = &comparison{}
	return true
}

// compare answers a digest. Different groups get a permit each to send their snapshot, as far as resyncs are free.
func (b *Bridge) compare(acc *bridgeAccount, d *linkv1.Digest, r DigestResult) {
	key := groupOf(d.GetGroup())
	c := acc.groups[key]
	note := Note{Account: acc.name, Epoch: acc.epoch, Group: d.GetGroup()}
	verdict := &linkv1.Verdict{Account: acc.name, Epoch: acc.epoch, Seq: r.Seq, Group: d.GetGroup()}
	result := [4]uint64{d.GetCount(), d.GetXor(), r.Count, r.Xor}
	if acc.pages != nil && acc.pages.key == key {
		// The agent gave its snapshot up.
		acc.pages = nil
	}
	switch {
	case d.GetCount() == r.Count && d.GetXor() == r.Xor:
		b.release(c)
		b.checked(acc, c, d.GetGroup(), "agreed")
		if c.agreed {
			note.What = 0
		} else {
			note.What = NoteAgreed
		}
		*c = comparison{agreed: true}
		verdict.Equal, verdict.Group = true, nil // most digests get this answer; the agent knows what it asked
	case c.differsStill(result):
		b.release(c)
		b.checked(acc, c, d.GetGroup(), "gave up")
		*c = comparison{}
		verdict.GiveUp, note.What = true, NoteGaveUp
	default:
		note.What, c.agreed = NoteDiffers, false
		b.act(note)
		c.seq = r.Seq
		if !c.permit {
			if !c.waiting {
				c.waiting = true
				b.permits.push(permit{acc: acc, epoch: acc.epoch, key: key})
			}
			b.givePermits()
			return
		}
		c.at = b.now
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: verdict}})
		return
	}
	if note.What != 0 {
		b.act(note)
	}
	b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: verdict}})
}

// receiveCompared takes the agent's word for comparisons of before the session. What was compared in it is known better.
func (b *Bridge) receiveCompared(f *linkv1.Compared) {
	acc := b.accounts[f.GetAccount()]
	if acc == nil || acc.epoch == 0 || acc.epoch != f.GetEpoch() {
		b.act(Note{What: NoteDiscarded, Account: f.GetAccount(), Epoch: f.GetEpoch()})
		return
	}
	for i, groups := range [][]*linkv1.Group{f.GetAgreed(), f.GetOpen()} {
		for _, g := range groups {
			key := groupOf(g)
			if !acc.knows(key) {
				b.broken(fmt.Sprintf("the agent has compared more than %d groups of account %q, or one without a type", maxGroups, acc.name))
				return
			}
			if c := acc.groups[key]; *c == (comparison{}) {
				c.agreed = i == 0
				b.act(Note{What: NoteRemembered, Account: acc.name, Epoch: acc.epoch, Group: g, Agreed: c.agreed})
			}
		}
	}
}

// Recheck has an attached account's groups compared now, those of a type ("": all of them) with the links from and to it. Each ends with a
// NoteChecked, unless the account is detached before. It returns the groups; none if the account is not attached.
func (b *Bridge) Recheck(now time.Time, account, typ string) (groups []*linkv1.Group) {
	b.tell(now)
	acc := b.accounts[account]
	if acc == nil || acc.epoch == 0 {
		return nil
	}
	for _, key := range sortedGroups(acc.groups) {
		if typ != "" && key.typ != typ && key.rel != typ {
			continue
		}
		acc.groups[key].recheck = true
		groups = append(groups, key.message())
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: &linkv1.Want{Account: acc.name, Epoch: acc.epoch, Group: key.message()}}})
	}
	return groups
}

// Ask has the agent of an attached account compare a group, known or not.
func (b *Bridge) Ask(now time.Time, account string, g *linkv1.Group) {
	b.tell(now)
	if acc := b.accounts[account]; acc != nil && acc.epoch > 0 {
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: &linkv1.Want{Account: acc.name, Epoch: acc.epoch, Group: g}}})
	}
}

func (b *Bridge) checked(acc *bridgeAccount, c *comparison, g *linkv1.Group, how string) {
	if c.recheck {
		c.recheck = false
		b.act(Note{What: NoteChecked, Account: acc.name, Epoch: acc.epoch, Group: g, Reason: how})
	}
}

// differsStill counts a difference, and tells whether resyncs do not help.
func (c *comparison) differsStill(result [4]uint64) bool {
	if c.resynced {
		c.total++
		if c.same > 0 && c.last == result {
			c.same++
		} else {
			c.same = 1
		}
		c.last = result
	}
	c.resynced = false
	return c.same >= sameResults || c.total >= maxResyncs
}

func (b *Bridge) release(c *comparison) {
	if c != nil && c.permit {
		c.permit = false
		b.resyncs--
	}
}

// givePermits answers digests that differed, as far as resyncs are free.
func (b *Bridge) givePermits() {
	for b.resyncs < b.cfg.Resyncs {
		p, ok := b.permits.pop()
		if !ok {
			return
		}
		if b.accounts[p.acc.name] != p.acc || p.acc.epoch != p.epoch {
			continue
		}
		c := p.acc.groups[p.key]
		if !c.waiting {
			// It agreed meanwhile.
			continue
		}
		c.waiting, c.permit, c.at = false, true, b.now
		b.resyncs++
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: &linkv1.Verdict{
			Account: p.acc.name, Epoch: p.epoch, Seq: c.seq, Group: p.key.message()}}})
	}
}

// expirePermits takes permits back whose snapshot does not come: the agent's watch broke, say.
func (b *Bridge) expirePermits(acc *bridgeAccount) {
	for _, c := range acc.groups {
		if c.permit && b.now.Sub(c.at) >= b.cfg.ResyncWait {
			b.release(c)
		}
	}
}

// snapshot compares a group's pages, which come in the order of the keys, with its rows in the tables.
//
// Rows that a page's range should hold and does not are swept when the end comes; items that the tables lack are wanted at once. What a
// change between the first page and the last one is about is left alone by both: the change is newer than the rows that were
// read, and possibly newer than the page.
type snapshot struct {
	key   groupKey
	group *linkv1.Group
	// void: pages are only acknowledged. The agent had no permit, or too much changed.
	void             bool
	loaded, sweeping bool
	rows             []*linkv1.Entry
	at               int
	last             string
	touched          map[string]struct{}
	touchedBytes     int
	absent           []string
}

func (s *snapshot) touch(key string) {
	if s.void {
		return
	}
	const overhead = 32
	if s.touchedBytes += len(key) + overhead; s.touchedBytes > maxTouched {
		*s = snapshot{key: s.key, group: s.group, void: true, last: s.last}
		return
	}
	s.touched[key] = struct{}{}
}

func (s *snapshot) load(rows []*linkv1.Entry) {
	less := func(i, j int) bool { return rows[i].GetKey() < rows[j].GetKey() }
	if !sort.SliceIsSorted(rows, less) {
		sort.Slice(rows, less)
	}
	s.rows, s.loaded = rows, true
}

// compare takes a page: which of its items are wanted.
func (s *snapshot) compare(page *linkv1.Page) (wanted []string) {
	for _, e := range page.GetEntries() {
		for s.at < len(s.rows) && s.rows[s.at].GetKey() < e.GetKey() {
			s.absent = append(s.absent, s.rows[s.at].GetKey())
			s.at++
		}
		same := false
		if s.at < len(s.rows) && s.rows[s.at].GetKey() == e.GetKey() {
			same = s.rows[s.at].GetHash() == e.GetHash()
			s.at++
		}
		if _, touched := s.touched[e.GetKey()]; !same && !touched {
			wanted = append(wanted, e.GetKey())
		}
	}
	if page.GetEnd() {
		for ; s.at < len(s.rows); s.at++ {
			s.absent = append(s.absent, s.rows[s.at].GetKey())
		}
	}
	return wanted
}

// sweep is what a complete snapshot does not hold.
func (s *snapshot) sweep() []string {
	keys := s.absent[:0]
	for _, k := range s.absent {
		if _, touched := s.touched[k]; !touched {
			keys = append(keys, k)
		}
	}
	return keys
}

// page handles a page whose turn has come.
func (b *Bridge) page(acc *bridgeAccount, s step, page *linkv1.Page) {
	key := groupOf(page.GetGroup())
	if page.GetBegin() {
		if !acc.knows(key) {
			b.broken(fmt.Sprintf("the agent sends snapshots of more than %d groups of account %q, or of one without a type", maxGroups, acc.name))
			return
		}
		if acc.pages != nil {
			b.release(acc.groups[acc.pages.key])
		}
		acc.pages = &snapshot{key: key, group: page.GetGroup(), void: !acc.groups[key].permit, touched: make(map[string]struct{})}
	}
	if acc.pages == nil || acc.pages.key != key {
		b.broken(fmt.Sprintf("the agent sent a page of group %s/%s of account %q without its first page", key.typ, key.rel, acc.name))
		return
	}
	for _, e := range page.GetEntries() {
		if e.GetKey() <= acc.pages.last {
			b.broken(fmt.Sprintf("the pages of group %s/%s of account %q are not in the order of their keys", key.typ, key.rel, acc.name))
			return
		}
		acc.pages.last = e.GetKey()
	}
	acc.asked = s
	acc.groups[key].at = b.now
	switch {
	case acc.pages.void:
		if page.GetEnd() {
			acc.pages = nil
		}
		b.settle(acc)
	case page.GetBegin():
		b.act(ReadEntries{Account: acc.name, Epoch: acc.epoch, Seq: s.frame.GetSeq(), Group: page.GetGroup()})
	default:
		b.comparePage(acc, page)
	}
}

func (b *Bridge) comparePage(acc *bridgeAccount, page *linkv1.Page) {
	if wanted := acc.pages.compare(page); len(wanted) > 0 {
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: &linkv1.Want{
			Account: acc.name, Epoch: acc.epoch, Group: acc.pages.group, Keys: wanted}}})
	}
	if !page.GetEnd() {
		b.settle(acc)
		return
	}
	if keys := acc.pages.sweep(); len(keys) > 0 {
		acc.pages.sweeping = true
		b.act(Sweep{Account: acc.name, Instance: b.agent.GetInstance(), Epoch: acc.epoch, Seq: acc.asked.frame.GetSeq(), Group: acc.pages.group, Keys: keys})
		return
	}
	b.endSnapshot(acc)
}

// endSnapshot is the handling of a complete snapshot's last page.
func (b *Bridge) endSnapshot(acc *bridgeAccount) {
	c := acc.groups[acc.pages.key]
	acc.pages = nil
	c.resynced = true
	b.release(c)
	b.settle(acc)
	b.givePermits()
}
