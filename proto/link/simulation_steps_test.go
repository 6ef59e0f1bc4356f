package link

import (
	"strconv"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file holds what happens in the simulation.

func (s *simulation) agent() *agentNode   { return s.agents[s.random.IntN(len(s.agents))] }
func (s *simulation) bridge() *bridgeNode { return s.bridges[s.random.IntN(len(s.bridges))] }

func (s *simulation) connection() *connection {
	list := s.connections()
	if len(list) == 0 {
		return nil
	}
	return list[s.random.IntN(len(list))]
}

func (s *simulation) step() {
	s.steps++
	switch p := s.random.IntN(1000); {
	case p < 40:
		s.change()
	case p < 150:
		n := s.agent()
		n.observe(n.names[s.random.IntN(len(n.names))])
	case p < 180:
		s.agent().fetch()
	case p < 350:
		n := s.agent()
		if c := n.session; c != nil && len(c.up)+len(c.invUp)+len(c.opUp) < 12 {
			n.sendUp()
		}
	case p < 780:
		s.move()
	case p < 900:
		if b := s.bridge(); !b.stopped && len(b.requests) > 0 {
			s.request(b)
		}
	case p < 960:
		s.operate()
	case p < 980:
		s.time()
	case p < 993:
		s.connect()
	case s.steps > 300:
		s.fault()
	}
	s.bounds()
}

func (s *simulation) change() {
	c := s.clusters[s.accounts[s.random.IntN(len(s.accounts))]]
	name := s.names[s.random.IntN(len(s.names))]
	if s.random.IntN(3) == 0 {
		c.delete(name)
	} else {
		c.put(name)
	}
	s.log("cluster %s: %s is at %d", c.account, name, c.objects[name])
}

// move makes one step of one connection: what comes first is chance.
func (s *simulation) move() {
	c := s.connection()
	if c == nil {
		return
	}
	c.openStreams()
	first := s.random.IntN(8)
	for i := range 8 {
		if s.moveStream(c, (first+i)%8) {
			break
		}
	}
	if n := c.agent; s.mutant == forgetsOperations && n.session == nil {
		n.core.ledger = newLedger(n.core.cfg.Ledger, n.core.act)
	}
}

func (s *simulation) moveStream(c *connection, stream int) bool {
	runs := !c.bridge.stopped
	switch stream {
	case 0:
		return c.deliverSessionDown()
	case 1:
		if s.mutant == losesWants && len(c.invDn) > 0 && len(c.invDn[0].GetWant().GetKeys()) > 0 {
			c.invDn = c.invDn[1:]
		}
		return c.deliverInventoryDown()
	case 2:
		return c.deliverOperationDown()
	case 3:
		return runs && len(c.down)+len(c.invDn)+len(c.opDn) < 12 && c.sendDown()
	case 4:
		return runs && c.deliverSessionUp()
	case 5:
		return runs && c.deliverInventoryUp()
	case 6:
		return runs && c.deliverOperationUp()
	default:
		return runs && c.deliverEnd()
	}
}

// request lets the database take one request: of one account and session in order, of different ones in any.
func (s *simulation) request(b *bridgeNode) {
	i := s.random.IntN(len(b.requests))
	account, conn := accountOf(b.requests[i].action), b.requests[i].conn
	for j := range b.requests[:i] {
		if accountOf(b.requests[j].action) == account && b.requests[j].conn == conn {
			i = j
			break
		}
	}
	// The directory tells who has an account; in chaos it is sometimes behind.
	s.directory = s.calm || s.random.IntN(4) > 0
	if w, ok := b.requests[i].action.(Write); ok && s.mutant == acksBeforeCommit && s.random.IntN(20) == 0 {
		conn.core.WriteDone(b.clock(), WriteResult{Account: w.Account, Epoch: w.Epoch, Seq: w.Seq})
		conn.actions()
		return
	}
	text := requestText(b.requests[i].action)
	b.request(i)
	s.log("%s: %s of %s%s", b.name, text, account, b.last)
}

func accountOf(a Action) string {
	switch a := a.(type) {
	case Attach:
		return a.Account
	case Write:
		return a.Account
	case ReadDigest:
		return a.Account
	case ReadEntries:
		return a.Account
	case ReadGroups:
		return a.Account
	case Sweep:
		return a.Account
	}
	return ""
}

// operate submits, cancels or executes operations.
func (s *simulation) operate() {
	switch s.random.IntN(6) {
	case 0:
		if b := s.bridge(); !b.stopped && len(s.open) < 8 {
			s.submit(b)
		}
	case 1:
		if b := s.bridge(); !b.stopped && len(b.ops.order) > 0 && s.random.IntN(4) == 0 {
			b.ops.Cancel(b.clock(), b.ops.order[s.random.IntN(len(b.ops.order))].ID, "its caller went away")
			b.events()
		}
	default:
		n := s.agent()
		if len(n.order) > 0 {
			id := n.order[s.random.IntN(len(n.order))]
			n.execute(id)
			s.checkEffect(strings.SplitN(id, "~", 2)[0])
		}
	}
}

func (s *simulation) submit(b *bridgeNode) {
	s.ops++
	r := Request{ID: "m" + strconv.Itoa(s.ops), Account: s.accounts[s.random.IntN(len(s.accounts))], Mutation: true,
		Operation: &linkv1.Operation{}, Deadline: b.clock().Add(time.Duration(5+s.random.IntN(120)) * time.Second),
		AbsentWait: time.Duration(s.random.IntN(15)) * time.Second}
	if s.random.IntN(2) == 0 {
		r.ID, r.Mutation = "r"+strconv.Itoa(s.ops), false
	}
	s.open[r.ID] = b
	if err := b.ops.Submit(b.clock(), r); err != nil {
		s.fail("operation %s was refused: %v", r.ID, err)
	}
	b.events()
}

// time lets some go by; processes see it at different moments.
func (s *simulation) time() {
	s.now = s.now.Add(time.Duration(s.random.IntN(1500)) * time.Millisecond)
	for _, n := range s.agents {
		if s.random.IntN(3) > 0 {
			n.tick()
		}
	}
	for _, b := range s.bridges {
		if !b.stopped && s.random.IntN(3) > 0 {
			b.tick()
			s.retryStandby(b)
		}
	}
}

// retryStandby is the directory's part: a session that stands by attaches when the holder is gone.
func (s *simulation) retryStandby(b *bridgeNode) {
	for _, c := range b.sessions {
		for _, account := range s.accounts {
			if acc := c.core.accounts[account]; acc != nil && acc.standby && !s.live(account) {
				c.core.AttachAgain(b.clock(), account)
				c.actions()
			}
		}
	}
}

func (s *simulation) connect() {
	n, b := s.agent(), s.bridge()
	if n.session == nil && !b.stopped && n.core.leaving == "" {
		s.log("%s connects to %s", n.name, b.name)
		n.connect(b)
	}
}
