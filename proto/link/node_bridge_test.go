package link

import (
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func (w *world) addBridge(name string, tune func(*BridgeConfig), limits OperationsConfig) *bridgeNode {
	b := &bridgeNode{w: w, name: name, tune: tune, operations: limits}
	w.bridges = append(w.bridges, b)
	b.start()
	return b
}

func (b *bridgeNode) clock() time.Time { return b.w.now.Add(b.skew) }

func (b *bridgeNode) start() {
	b.ops, _ = NewOperations(b.operations)
	b.stalled = map[string]bool{}
	b.outputs, b.ended = map[string]string{}, map[string]Finished{}
	b.requests = nil
	for _, c := range b.sessions {
		c.hung = true
	}
	b.sessions = nil
}

func (c *connection) open() {
	c.opened = true
}

// actions does what a session's core asks for; what needs the database waits in requests.
func (c *connection) actions() {
	b := c.bridge
	for action := c.core.NextAction(); action != nil; action = c.core.NextAction() {
		switch a := action.(type) {
		case Declare:
			var verdicts []*linkv1.AccountVerdict
			for _, acc := range a.Accounts {
				verdicts = append(verdicts, &linkv1.AccountVerdict{Account: acc.GetName(), Accepted: !strings.HasPrefix(acc.GetName(), "bad"), Reason: "its name"})
			}
			for _, name := range a.Removed {
				verdicts = append(verdicts, &linkv1.AccountVerdict{Account: name, Removed: true, Reason: "removed"})
			}
			// An agent's newer session replaces its older one.
			for _, other := range b.sessions {
				if other != c && other.instance == c.instance && !other.hung {
					other.core.Close(b.clock(), linkv1.Close_CODE_REPLACED, "the agent has a newer session", 0)
					other.actions()
				}
			}
			c.core.DeclareDone(b.clock(), verdicts, nil)
		case Hangup:
			c.flush()
			c.hang()
		case Note:
			c.route(a)
			if b.w.watch.note != nil {
				b.w.watch.note(b.name, a)
			}
		case StoreFacts:
		default:
			b.requests = append(b.requests, request{conn: c, action: action})
		}
	}
}

func (c *connection) route(n Note) {
	ops, now := c.bridge.ops, c.bridge.clock()
	if c.hung {
		return
	}
	switch n.What {
	case NoteAccepted:
		ops.Serve(now, c.id, n.Account, false)
	case NoteAttached, NoteContinued:
		ops.Serve(now, c.id, n.Account, true)
	case NoteDetached, NoteStandby:
		ops.Serve(now, c.id, n.Account, false)
	case NoteWithdrawn, NoteRefused:
		ops.Withdraw(now, c.id, n.Account)
	case NoteDraining:
		ops.Drain(now, c.id)
	}
}

func (c *connection) flush() {
	for f := c.core.NextSession(); f != nil; f = c.core.NextSession() {
		if !c.cutDown {
			c.down = append(c.down, f)
		}
	}
}

// hang is the end of the session, seen by the bridge.
func (c *connection) hang() {
	if c.hung {
		return
	}
	c.hung = true
	b := c.bridge
	kept := b.sessions[:0]
	for _, s := range b.sessions {
		if s != c {
			kept = append(kept, s)
		}
	}
	b.sessions = kept
	b.ops.Lost(b.clock(), c.id)
	c.core.Lost(b.clock(), "hung up")
	b.events()
}

// request lets the database answer the bridge's request at i.
func (b *bridgeNode) request(i int) {
	r := b.requests[i]
	b.requests = append(b.requests[:i:i], b.requests[i+1:]...)
	c, now, db := r.conn, b.clock(), b.w.db
	b.last = ""
	switch a := r.action.(type) {
	case Attach:
		result := db.attach(a, b.w.directory && b.w.live(a.Account))
		if b.last = howEnded(false, result.Err); result.HeldBy != "" {
			b.last = ": held"
		}
		c.core.AttachDone(now, result)
	case Write:
		result := db.write(a)
		b.last = howEnded(result.Fenced, result.Err)
		if b.w.watch.write != nil {
			b.w.watch.write(a, result)
		}
		c.core.WriteDone(now, result)
	case ReadDigest:
		result := db.digest(a)
		b.last = howEnded(false, result.Err)
		c.core.DigestDone(now, result)
	case ReadEntries:
		c.core.EntriesDone(now, db.entries(a))
	case ReadGroups:
		c.core.GroupsDone(now, db.groupsOf(a))
	case Sweep:
		result := db.sweep(a)
		b.last = howEnded(result.Fenced, result.Err)
		if b.w.watch.sweep != nil {
			b.w.watch.sweep(a, result)
		}
		c.core.SweepDone(now, result)
	}
	c.actions()
}

// live tells whether the fence's holder has a session that works, as a directory of sessions would.
func (w *world) live(account string) bool {
	t := w.db.tables(account)
	for _, b := range w.bridges {
		for _, c := range b.sessions {
			if acc := c.core.accounts[account]; c.instance == t.holder && acc != nil && acc.epoch == t.epoch {
				return true
			}
		}
	}
	return false
}

func howEnded(fenced bool, err error) string {
	switch {
	case fenced:
		return ": fenced"
	case err != nil:
		return ": failed"
	}
	return ""
}

// events hands the callers what is for them.
func (b *bridgeNode) events() {
	for e := b.ops.NextEvent(); e != nil; e = b.ops.NextEvent() {
		switch e := e.(type) {
		case Output:
			b.outputs[e.ID] += string(e.Data)
			if !b.stalled[e.ID] {
				b.ops.Consumed(e.ID, len(e.Data))
			}
		case Finished:
			b.ended[e.ID] = e
			if b.w.watch.finished != nil {
				b.w.watch.finished(b, e)
			}
		}
	}
}

func (b *bridgeNode) tick() {
	for _, c := range append([]*connection(nil), b.sessions...) {
		c.core.Busy(b.clock(), b.ops.Busy(c.id))
		c.core.Tick(b.clock())
		c.actions()
	}
	b.ops.Tick(b.clock())
	b.events()
}
