package link

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// wake puts an account into the list of those that may have something to send.
func (a *Agent) wake(acc *agentAccount) {
	if !acc.queued && acc.phase == attached {
		acc.queued = true
		a.ready.push(acc)
	}
}

// NextInventory returns the next frame for the inventory stream, nil when there is none or no credit. Accounts take turns.
func (a *Agent) NextInventory() *linkv1.InventoryUp {
	s := a.session
	if !s.open() || s.draining != nil {
		return nil
	}
	for s.credit > 0 {
		acc, ok := a.ready.pop()
		if !ok {
			return nil
		}
		acc.queued = false
		if a.accounts[acc.name] != acc || acc.phase != attached {
			continue
		}
		frame := acc.next(a)
		if a.pump(acc) || frame != nil {
			a.wake(acc)
		}
		if frame == nil {
			continue
		}
		// The last frame may overdraw: a window smaller than a change set must not stop it for ever.
		s.credit -= proto.Size(frame)
		return frame
	}
	return nil
}

// next makes the account's next step, nil if there is none now.
func (acc *agentAccount) next(a *Agent) *linkv1.InventoryUp {
	frame := &linkv1.InventoryUp{Account: acc.name, Epoch: acc.epoch, Seq: acc.seq + 1}
	switch {
	case acc.digest(a, frame):
	case acc.page(a, frame):
	case acc.batch(a, frame):
	case acc.page(a, frame): // it let a batch go first, and there was none
	default:
		return nil
	}
	acc.seq++
	return frame
}

// digest sends the digest of a group that is due. Nothing of the group may be unsent: the digest is compared with what the steps
// before it made. A group that is empty on both sides, as the survey said, agrees without one, the first time.
func (acc *agentAccount) digest(a *Agent, frame *linkv1.InventoryUp) bool {
	for _, g := range acc.order {
		if g.stage != due || g.pending > 0 || len(g.wanted) > 0 || acc.fetch == g || !acc.isLive(g) {
			continue
		}
		digest := g.digest(acc.records)
		if digest.GetCount() == 0 && acc.surveyed && !g.occupied {
			g.settle(a)
			g.known, g.occupied = true, true
			acc.agreed = append(acc.agreed, g.message)
			a.session.comparedDue = true
			continue
		}
		frame.Step = &linkv1.InventoryUp_Digest{Digest: digest}
		g.stage, g.askedSeq, g.occupied = asked, frame.Seq, true
		acc.box.sent(frame.Seq, nil)
		return true
	}
	return false
}

// page sends the next page of the snapshot that is under way. Pages and batches alternate, so that neither waits for all of the other.
func (acc *agentAccount) page(a *Agent, frame *linkv1.InventoryUp) bool {
	if acc.paged && acc.box.pending > 0 {
		acc.paged = false
		return false
	}
	begin := false
	for acc.paging == nil {
		if len(acc.unequal) == 0 {
			return false
		}
		g := acc.unequal[0]
		acc.unequal = acc.unequal[1:]
		if !acc.isLive(g) {
			g.stage = due
			continue
		}
		acc.paging, g.stage, g.after, begin = g, paging, "", true
	}
	g := acc.paging
	page := g.page(acc.records, a.cfg.PageEntries, begin)
	frame.Step = &linkv1.InventoryUp_Page{Page: page}
	acc.box.sent(frame.Seq, nil)
	acc.paged = true
	if page.End {
		acc.paging, g.stage, g.endedSeq = nil, ended, frame.Seq
	}
	return true
}

// batch sends what is unsent, oldest first.
func (acc *agentAccount) batch(a *Agent, frame *linkv1.InventoryUp) bool {
	for acc.box.pending > 0 {
		before := acc.box.bytes
		sets := acc.box.take(a.cfg.BatchBytes, a.cfg.BatchChanges)
		n := 0
		for _, set := range sets {
			acc.quarantine(a, set)
			n += len(set.items)
		}
		a.bytes += acc.box.bytes - before
		if n == 0 {
			continue
		}
		batch := &linkv1.Batch{Changes: make([]*linkv1.Change, 0, n)}
		for _, set := range sets {
			for i := range set.items {
				batch.Changes = append(batch.Changes, set.items[i].change)
			}
		}
		frame.Step = &linkv1.InventoryUp_Batch{Batch: batch}
		acc.box.sent(frame.Seq, sets)
		return true
	}
	return false
}

// quarantine takes bodies out that the bridge would not store; what else their sets hold goes on.
func (acc *agentAccount) quarantine(a *Agent, set *changeSet) {
	most := int(a.session.welcome.GetMaximumBodyBytes())
	if most == 0 || set.bytes <= most {
		return
	}
	for i := len(set.items) - 1; i >= 0; i-- {
		it := set.items[i]
		body := it.change.GetPutRow().GetBody()
		if len(body) <= most {
			continue
		}
		acc.box.drop(set, i)
		acc.reject(a, it.group, rowKey(it.key.from), bodyHash(body), fmt.Sprintf("its body of %d bytes is larger than the bridge's limit of %d", len(body), most))
	}
}

// reject remembers that an item cannot be stored. It counts as absent, so that the rest of its group can agree, and so that a
// complete snapshot removes its outdated row.
func (acc *agentAccount) reject(a *Agent, g *group, key string, hash uint64, reason string) {
	if g.rejected == nil {
		g.rejected = make(map[string]uint64)
	}
	if len(g.rejected) < maxRejected {
		g.rejected[key] = hash
	}
	a.act(Note{What: NoteRejected, Account: acc.name, Epoch: acc.epoch, Group: g.message, Key: key, Reason: reason})
}

// pump looks at wanted items while there is room for what they become: links and logical rows are rebuilt from the records, bodies are
// asked for. It reports whether there is more to send now.
func (a *Agent) pump(acc *agentAccount) (more bool) {
	if acc.wants == 0 {
		acc.forgetWishes()
		return false
	}
	if acc.phase != attached {
		return false
	}
	for _, g := range acc.order {
		for g.wantedOrder.len() > 0 && acc.box.pending < a.cfg.BatchChanges {
			key, _ := g.wantedOrder.pop()
			if _, ok := g.wanted[key]; !ok {
				continue
			}
			change, ok := acc.records.Change(g.message, key)
			if !ok && g.key.rel == "" {
				g.bodies.push(key)
				continue
			}
			delete(g.wanted, key)
			acc.wants--
			// What is gone meanwhile was told as a change.
			if ok {
				acc.put(a, []*linkv1.Change{change}, time.Time{})
				more = true
			}
		}
		if g.wantedOrder.len() > 0 {
			return more
		}
		if acc.fetch == nil && g.bodies.len() > 0 && a.Room(acc.name) {
			acc.fetchBodies(a, g)
		}
	}
	return more
}

func (acc *agentAccount) fetchBodies(a *Agent, g *group) {
	var keys []string
	for len(keys) < a.cfg.FetchKeys {
		key, ok := g.bodies.pop()
		if !ok {
			break
		}
		if _, ok := g.wanted[key]; ok {
			delete(g.wanted, key)
			acc.wants--
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		acc.fetch = g
		a.act(Fetch{Account: acc.name, Type: g.key.typ, Keys: keys, Left: g.bodies.len()})
	}
}

func (acc *agentAccount) fetchDone(a *Agent, typ string) {
	if acc.fetch != nil && acc.fetch.key.typ == typ {
		acc.fetch = nil
	}
	a.pump(acc)
	a.wake(acc)
}

// ReceivedInventory takes a frame of the inventory stream.
func (a *Agent) ReceivedInventory(now time.Time, frame *linkv1.InventoryDown) {
	a.tell(now)
	s := a.session
	if !s.open() {
		return
	}
	s.live.hear(a.now)
	switch f := frame.GetFrame().(type) {
	case *linkv1.InventoryDown_Credit:
		window := clampInt(s.welcome.GetInventoryCredit())
		s.credit = min(s.credit+clampInt(f.Credit.GetBytes()), window)
	case *linkv1.InventoryDown_Ack:
		if acc := a.current(f.Ack.GetAccount(), f.Ack.GetEpoch()); acc != nil {
			acc.acknowledge(a, f.Ack.GetSeq())
		}
	case *linkv1.InventoryDown_Verdict:
		if acc := a.current(f.Verdict.GetAccount(), f.Verdict.GetEpoch()); acc != nil {
			// What is judged was handled.
			acc.acknowledge(a, f.Verdict.GetSeq())
			acc.verdict(a, f.Verdict)
		}
	case *linkv1.InventoryDown_Want:
		if acc := a.current(f.Want.GetAccount(), f.Want.GetEpoch()); acc != nil {
			acc.want(a, f.Want)
		}
	case *linkv1.InventoryDown_Rejected:
		if acc := a.current(f.Rejected.GetAccount(), f.Rejected.GetEpoch()); acc != nil {
			acc.rejected(a, f.Rejected)
		}
	}
}

// current finds an account that is attached at the epoch: answers of a former attach say nothing.
func (a *Agent) current(account string, epoch uint64) *agentAccount {
	acc := a.accounts[account]
	if acc == nil || acc.phase != attached || acc.epoch != epoch {
		return nil
	}
	return acc
}

func (acc *agentAccount) acknowledge(a *Agent, seq uint64) {
	if seq > acc.seq {
		a.broken(fmt.Sprintf("the bridge acknowledged step %d of account %q, and only %d were sent", seq, acc.name, acc.seq))
		return
	}
	before := acc.box.bytes
	var waits []time.Duration
	acc.box.ack(seq, func(read time.Time) { waits = append(waits, max(a.now.Sub(read), 0)) })
	if len(waits) > 0 {
		a.act(Committed{Account: acc.name, Waits: waits})
	}
	a.bytes += acc.box.bytes - before
	for _, g := range acc.order {
		if g.stage == ended && g.endedSeq <= seq {
			// All that is wanted has been named. The digest goes once none of it is left.
			g.stage = due
		}
	}
	a.pump(acc)
	a.wake(acc)
	a.leaveIfDone()
}

// askedBy finds the group whose digest a step was, while its verdict is awaited.
func (acc *agentAccount) askedBy(seq uint64) *group {
	for _, g := range acc.order {
		if g.stage == asked && g.askedSeq == seq {
			return g
		}
	}
	return nil
}

func (acc *agentAccount) verdict(a *Agent, v *linkv1.Verdict) {
	g := acc.askedBy(v.GetSeq())
	if g == nil {
		return
	}
	note := Note{Account: acc.name, Epoch: acc.epoch, Group: g.message}
	switch {
	case v.GetEqual():
		g.settle(a)
		a.wake(acc)
		if g.known {
			return
		}
		note.What, g.known = NoteAgreed, true
	case v.GetGiveUp():
		note.What, g.known = NoteGaveUp, false
		g.rest(a)
	default:
		note.What, g.known = NoteDiffers, false
		g.stage = unequal
		acc.unequal = append(acc.unequal, g)
	}
	a.act(note)
	a.wake(acc)
}

// survey takes the names of the groups that have rows in the tables.
func (acc *agentAccount) survey(a *Agent, s *linkv1.Survey) {
	for _, named := range s.GetGroups() {
		if key := groupOf(named); acc.groups[key] != nil || key.typ != "" && len(acc.order) < maxGroups {
			acc.group(key).occupied = true
		}
	}
	acc.surveyed = true
	acc.compareLive(a)
	acc.begin(a)
}

// want takes the names of items that the tables lack. Without names it asks for a comparison.
func (acc *agentAccount) want(a *Agent, w *linkv1.Want) {
	key := groupOf(w.GetGroup())
	if acc.groups[key] == nil && (key.typ == "" || len(acc.order) >= maxGroups) {
		return
	}
	g := acc.group(key)
	if len(w.GetKeys()) == 0 {
		g.occupied = true
		if g.stage == agreed || g.stage == resting {
			g.stage, g.backoff = unknown, 0
		}
		acc.compareLive(a)
		return
	}
	if acc.wants+len(w.GetKeys()) > maxWanted {
		a.broken(fmt.Sprintf("the bridge wants more than %d items of account %q", maxWanted, acc.name))
		return
	}
	onTheWay := acc.onTheWay(g)
	for _, k := range w.GetKeys() {
		_, sent := onTheWay[k]
		if _, rejected := g.rejected[k]; !rejected && !sent {
			acc.wish(g, k)
		}
	}
	a.pump(acc)
	a.wake(acc)
}

// forgetWishes lets go of what remembers wanted items, once there are none: maps and queues keep the room of their largest size.
func (acc *agentAccount) forgetWishes() {
	if !acc.wished {
		return
	}
	acc.wished = false
	for _, g := range acc.order {
		acc.unwant(g)
	}
}

// wish adds an item to those that are wanted.
func (acc *agentAccount) wish(g *group, key string) {
	if g.wanted == nil {
		g.wanted = make(map[string]struct{})
	}
	if _, twice := g.wanted[key]; twice {
		return
	}
	g.wanted[key] = struct{}{}
	g.wantedOrder.push(key)
	acc.wants++
	acc.wished = true
}

// onTheWay names the rows of a group whose newest state is unsent or unacknowledged: sending it again would tell nothing new.
func (acc *agentAccount) onTheWay(g *group) map[string]struct{} {
	if g.key.rel != "" {
		return nil
	}
	keys := make(map[string]struct{})
	acc.box.each(g, func(it *item) { keys[rowKey(it.key.from)] = struct{}{} })
	return keys
}

// rejected takes the bridge's word that an item cannot be stored. Only the state that was sent is meant, which is unacknowledged still.
func (acc *agentAccount) rejected(a *Agent, r *linkv1.Rejected) {
	g := acc.groups[groupOf(r.GetGroup())]
	if g == nil {
		return
	}
	if g.key.rel != "" {
		hash, ok := linkHash(r.GetKey())
		if _, there := acc.records.Change(g.message, r.GetKey()); ok && there {
			acc.reject(a, g, r.GetKey(), hash, r.GetReason())
		}
		return
	}
	// With several states on the way it is open which one was meant. Then the group stays unequal, and the item is wanted again.
	var sent *linkv1.Change
	states := 0
	acc.box.each(g, func(it *item) {
		if rowKey(it.key.from) == r.GetKey() {
			sent = it.change
			states++
		}
	})
	if row := sent.GetPutRow(); row != nil && states == 1 && !acc.isUnsent(row.GetKey()) {
		acc.reject(a, g, r.GetKey(), bodyHash(row.GetBody()), r.GetReason())
	}
}

func (acc *agentAccount) isUnsent(k *linkv1.Key) bool {
	_, ok := acc.box.index[itemKey{from: nameOf(k)}]
	return ok
}
