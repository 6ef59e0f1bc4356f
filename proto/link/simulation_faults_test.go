package link

// fault breaks something.
func (s *simulation) fault() {
	p := s.random.IntN(100)
	switch c := s.connection(); {
	case p < 20 && c != nil:
		s.log("%s breaks", c.id)
		s.cut(c)
	case p < 28 && c != nil:
		s.log("%s is half-open", c.id)
		up, down := s.random.IntN(2) == 0, s.random.IntN(2) == 0
		c.cutUp, c.cutDown = c.cutUp || up, c.cutDown || down
	case p < 40 && c != nil:
		s.duplicate(c)
	case p < 44 && c != nil:
		s.disorder(c)
	case p < 52:
		n := s.agent()
		s.log("%s crashes", n.name)
		if n.session != nil {
			n.session.left = true
		}
		n.start()
		n.skew = s.skew()
	case p < 58:
		s.crash(s.bridge())
	case p < 66:
		b := s.bridge()
		b.stopped = !b.stopped
		s.log("%s is stopped: %v", b.name, b.stopped)
	case p < 74:
		s.db.away = !s.db.away
		s.log("the database is away: %v", s.db.away)
	case p < 78:
		for _, a := range s.accounts {
			s.backup[a] = s.db.tables(a).clone()
		}
	case p < 80:
		s.restore()
	case p < 88:
		n := s.agent()
		n.relist(n.names[s.random.IntN(len(n.names))])
	case p < 92 && c != nil && !c.bridge.stopped:
		c.core.Drain(c.bridge.clock(), nil, "a test")
		c.actions()
	case p < 94:
		for _, a := range s.accounts {
			s.db.tables(a).group(groupKey{typ: "old"})["ns/old"] = 1
		}
	case p < 97:
		n := s.agents[0]
		if n.names = []string{"prod"}; s.random.IntN(2) == 0 {
			n.names = s.accounts
		}
		s.log("%s serves %v", n.name, n.names)
		n.declare(nil)
	default:
		n := s.agent()
		s.log("%s says goodbye", n.name)
		n.core.Goodbye(n.clock(), "")
		n.actions()
	}
}

// cut breaks a connection: of each stream some of the frames on their way arrive. The ends find out later.
func (s *simulation) cut(c *connection) {
	c.cutUp, c.cutDown = true, true
	c.up = c.up[:s.random.IntN(len(c.up)+1)]
	c.down = c.down[:s.random.IntN(len(c.down)+1)]
	c.invUp = c.invUp[:s.random.IntN(len(c.invUp)+1)]
	c.invDn = c.invDn[:s.random.IntN(len(c.invDn)+1)]
	c.opUp = c.opUp[:s.random.IntN(len(c.opUp)+1)]
	c.opDn = c.opDn[:s.random.IntN(len(c.opDn)+1)]
	if s.random.IntN(2) == 0 && c.agent.session == c {
		c.agent.lose("the connection broke")
	}
	if s.random.IntN(2) == 0 && !c.bridge.stopped {
		c.hang()
	}
}

// crash ends a bridge process. What it had asked of the database may have been done or not; nobody learns.
func (s *simulation) crash(b *bridgeNode) {
	s.log("%s crashes", b.name)
	for _, r := range b.requests {
		switch a := r.action.(type) {
		case Write:
			if s.random.IntN(2) == 0 {
				break
			}
			s.wrote(a, s.db.write(a))
			continue
		case Sweep:
			if s.random.IntN(2) == 0 {
				break
			}
			s.swept(a, s.db.sweep(a))
			continue
		case Attach:
			s.db.attach(a, false)
			continue
		}
		break
	}
	for id, at := range s.open {
		if at == b {
			delete(s.open, id)
		}
	}
	b.start()
	b.skew, b.stopped = s.skew(), false
}

func (s *simulation) restore() {
	s.log("the database is restored")
	s.db.restores++
	for a, t := range s.backup {
		s.db.accounts[a] = t.clone()
	}
}

// duplicate delivers a frame twice, against the transport's promise.
func (s *simulation) duplicate(c *connection) {
	switch s.random.IntN(6) {
	case 0:
		c.up = twice(c.up)
	case 1:
		c.down = twice(c.down)
	case 2:
		c.invUp = twice(c.invUp)
	case 3:
		c.invDn = twice(c.invDn)
	case 4:
		c.opUp = twice(c.opUp)
	case 5:
		c.opDn = twice(c.opDn)
	}
}

func twice[T any](q []T) []T {
	if len(q) == 0 {
		return q
	}
	return append([]T{q[0]}, q...)
}

// disorder swaps or loses a frame, against the transport's promise. Output is left out: a missing end of it is not noticed.
func (s *simulation) disorder(c *connection) {
	lose := s.random.IntN(2) == 0
	switch s.random.IntN(3) {
	case 0:
		c.invUp = disordered(c.invUp, lose)
	case 1:
		c.invDn = disordered(c.invDn, lose)
	case 2:
		c.opDn = disordered(c.opDn, lose)
	}
}

func disordered[T any](q []T, lose bool) []T {
	if len(q) < 2 {
		return q
	}
	if lose {
		return q[1:]
	}
	q[0], q[1] = q[1], q[0]
	return q
}
