package link

import (
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file holds what must be true after each step of the simulation.

// wrote: no write at an old epoch.
func (s *simulation) wrote(w Write, r WriteResult) {
	if r.Err != nil || r.Fenced {
		return
	}
	if t := s.db.tables(w.Account); t.epoch != w.Epoch || t.holder != w.Instance {
		s.fail("a write of %s at epoch %d was committed while the fence was at %d", w.Account, w.Epoch, t.epoch)
	}
	s.committed[stepKey{epochKey{w.Account, w.Instance, w.Epoch}, w.Seq}] = true
}

func (s *simulation) sentInventory(n *agentNode, f *linkv1.InventoryUp) {
	if *simulationStory {
		s.log("%s sends %s epoch %d: %s", n.name, f.GetAccount(), f.GetEpoch(), inventoryUpText(f))
	}
	switch {
	case f.GetBatch() != nil:
		k := epochKey{f.GetAccount(), n.instance(), f.GetEpoch()}
		s.batches[k] = append(s.batches[k], f.GetSeq())
	case f.GetPage() != nil:
		if f.GetPage().GetEnd() {
			s.ended[stepKey{epochKey{f.GetAccount(), n.instance(), f.GetEpoch()}, f.GetSeq()}] = groupOf(f.GetPage().GetGroup())
		} else if s.mutant == sweepsPartly {
			f.GetPage().End = true
		}
	}
}

// acknowledged: no acknowledged state is lost.
func (s *simulation) acknowledged(n *agentNode, ack *linkv1.Ack) {
	acc := n.core.current(ack.GetAccount(), ack.GetEpoch())
	if acc == nil {
		return
	}
	k := epochKey{ack.GetAccount(), n.instance(), ack.GetEpoch()}
	left := s.batches[k][:0]
	for _, seq := range s.batches[k] {
		if seq > ack.GetSeq() {
			left = append(left, seq)
		} else if !s.committed[stepKey{k, seq}] {
			s.fail("step %d of %s at epoch %d was acknowledged and not committed", seq, k.account, k.epoch)
		}
	}
	s.batches[k] = left
}

// swept: no sweep without a completed snapshot, and never of what the agent still has.
func (s *simulation) swept(w Sweep, r SweepResult) {
	if r.Err != nil || r.Fenced {
		return
	}
	t := s.db.tables(w.Account)
	if t.epoch != w.Epoch || t.holder != w.Instance {
		s.fail("a sweep of %s at epoch %d was committed while the fence was at %d", w.Account, w.Epoch, t.epoch)
		return
	}
	key := groupOf(w.Group)
	if s.ended[stepKey{epochKey{w.Account, w.Instance, w.Epoch}, w.Seq}] != key {
		s.fail("group %v of %s was swept by step %d, which did not end a complete snapshot", key, w.Account, w.Seq)
	}
	for _, n := range s.agents {
		acc := n.core.accounts[w.Account]
		if n.instance() != t.holder || acc == nil || acc.epoch != w.Epoch || !acc.kept {
			// Not the one whose snapshot it was, or one that will compare everything with its next attach.
			continue
		}
		for _, k := range w.Keys {
			if _, has := n.records[w.Account].groups[key][k]; has && !s.onTheWay(n, acc, key, k) {
				s.fail("%s of group %v of %s was swept, and its agent has it", k, key, w.Account)
			}
		}
	}
}

func (s *simulation) onTheWay(n *agentNode, acc *agentAccount, key groupKey, k string) bool {
	g, found := acc.groups[key], false
	acc.box.each(g, func(it *item) {
		entry := rowKey(it.key.from)
		if l := linkOf(it.change); l != nil {
			entry = modelLinkID(acc.name, l)
		}
		found = found || entry == k
	})
	_, rejected := g.rejected[k]
	return found || rejected
}

// finished: at most one effect, and the caller is told the truth.
func (s *simulation) finished(b *bridgeNode, f Finished) {
	mutation := strings.HasPrefix(f.ID, "m")
	delete(s.open, f.ID)
	switch f.Outcome.GetState() {
	case linkv1.Outcome_STATE_NOT_STARTED:
		if s.effects[f.ID] > 0 {
			s.fail("operation %s took effect and its caller was told that it did not begin", f.ID)
		}
		s.never[f.ID] = true
	case linkv1.Outcome_STATE_DONE:
		if mutation && s.effects[f.ID] != 1 {
			s.fail("operation %s is done and took effect %d times", f.ID, s.effects[f.ID])
		}
		if got := b.outputs[f.ID]; got != "part1 part2 part3 " {
			s.fail("operation %s is done and its output was %q", f.ID, got)
		}
	}
	delete(b.outputs, f.ID)
	delete(b.ended, f.ID)
}

func (s *simulation) checkEffect(id string) {
	if s.effects[id] > 1 {
		s.fail("operation %s took effect %d times", id, s.effects[id])
	}
	if s.effects[id] > 0 && s.never[id] {
		s.fail("operation %s took effect after its caller was told that it did not begin", id)
	}
}

// bounds: every queue keeps its limit.
func (s *simulation) bounds() {
	const frame = 2_000 // larger than any frame of this world
	for _, n := range s.agents {
		sum := 0
		for _, acc := range n.core.order {
			sum += acc.box.bytes
			if acc.box.bytes > n.core.cfg.OutboxBytes+frame || acc.box.bytes < 0 || acc.box.pending < 0 || acc.wants < 0 {
				s.fail("%s: the outbox of %s has %d bytes, %d pending, %d wanted", n.name, acc.name, acc.box.bytes, acc.box.pending, acc.wants)
			}
		}
		if most := n.core.cfg.TotalBytes + len(n.core.order)*(n.core.cfg.ShareBytes+frame); sum > most {
			s.fail("%s: its outboxes have %d bytes, %d at most", n.name, sum, most)
		}
		if sum != n.core.bytes {
			s.fail("%s: its outboxes have %d bytes and it counts %d", n.name, sum, n.core.bytes)
		}
		if l := &n.core.ledger; l.running > l.cfg.Running+len(n.core.accounts) || l.results > l.cfg.Results || len(l.finished) > 5*l.cfg.Results || l.bytes < 0 {
			s.fail("%s: %d operations run, %d results, %d bytes", n.name, l.running, len(l.finished), l.bytes)
		}
	}
	for _, b := range s.bridges {
		for _, c := range b.sessions {
			core := c.core
			if core.held < 0 || core.owed < 0 || core.owed > core.held || core.held > core.cfg.Window+frame || core.resyncs < 0 || core.resyncs > core.cfg.Resyncs {
				s.fail("%s: %d bytes held, %d owed, %d resyncs", c.id, core.held, core.owed, core.resyncs)
			}
		}
	}
}
