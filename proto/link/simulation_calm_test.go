package link

import (
	"fmt"
	"strings"
	"time"
)

// converge ends all faults: within an hour everything must agree.
func (s *simulation) converge() {
	s.calm, s.db.away = true, false
	for _, b := range s.bridges {
		b.stopped = false
	}
	for _, n := range s.agents {
		if n.core.leaving != "" {
			n.lose("it ended")
			n.start()
		}
	}
	s.agents[0].names = s.accounts
	s.agents[0].declare(nil)
	for range 360 {
		for _, n := range s.agents {
			if n.session == nil {
				n.connect(s.bridge())
			}
		}
		s.calmly()
		if s.agrees() == "" {
			return
		}
		s.now = s.now.Add(10 * time.Second)
		for _, n := range s.agents {
			n.tick()
		}
		for _, b := range s.bridges {
			b.tick()
			s.retryStandby(b)
		}
		if s.failed != "" {
			return
		}
	}
	s.fail("an hour after the last fault: %s", s.agrees())
}

// calmly lets everything move until nothing can.
func (s *simulation) calmly() {
	for moved, turns := true, 0; moved && s.failed == ""; turns++ {
		moved = false
		if turns > 100_000 {
			s.fail("frames go round for ever")
		}
		for _, n := range s.agents {
			for _, a := range n.names {
				moved = n.observe(a) || moved
			}
			moved = n.fetch() || moved
			if n.session != nil {
				moved = n.sendUp() || moved
			}
			for _, id := range append([]string(nil), n.order...) {
				before := n.runs[id]
				if before == nil {
					continue
				}
				was := *before
				n.execute(id)
				s.checkEffect(strings.SplitN(id, "~", 2)[0])
				moved = moved || n.runs[id] == nil || *n.runs[id] != was
			}
		}
		for _, b := range s.bridges {
			for len(b.requests) > 0 {
				moved = true
				s.request(b)
			}
		}
		for _, c := range s.connections() {
			c.openStreams()
			moved = c.sendDown() || moved
			moved = c.deliverUp() || moved
			if s.mutant == losesWants && len(c.invDn) > 0 && len(c.invDn[0].GetWant().GetKeys()) > 0 {
				c.invDn = c.invDn[1:]
			}
			moved = c.deliverDown() || moved
		}
		s.bounds()
	}
}

// agrees tells what is not in agreement; empty: nothing.
func (s *simulation) agrees() string {
	for _, a := range s.accounts {
		if d := s.db.differs(s.clusters[a]); d != "" {
			return a + ": " + d
		}
	}
	for _, n := range s.agents {
		if n.session == nil {
			return n.name + " has no session"
		}
		for _, acc := range n.core.order {
			if acc.box.changes > 0 || acc.wants > 0 {
				return fmt.Sprintf("%s: %d changes of %s are in the outbox, %d items are wanted", n.name, acc.box.changes, acc.name, acc.wants)
			}
		}
	}
	for _, b := range s.bridges {
		if len(b.ops.open) > 0 {
			return b.name + " has open operations"
		}
		for _, c := range b.sessions {
			if c.core.held > c.core.cfg.Window/64 && !c.left && c.core.agent != nil {
				return fmt.Sprintf("%s: %d bytes of credit were not given back", c.id, c.core.held)
			}
		}
	}
	if len(s.open) > 0 {
		return fmt.Sprintf("%d callers still wait", len(s.open))
	}
	return ""
}
