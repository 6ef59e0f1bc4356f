package link

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

var (
	simulationSteps = flag.Int("steps", 200_000, "steps of the simulation")
	simulationSeed  = flag.Uint64("seed", 0, "seed of the simulation; 0: one from the clock, printed")
)

// episodeSteps of chaos, then calm until everything agrees: then the next world begins.
const episodeSteps = 3_000

// A simulation is one world under faults, with the invariants of the design checked after each step. Everything that happens follows from
// the seed.
type simulation struct {
	*world
	t      *testing.T
	seed   uint64
	steps  int
	failed string
	calm   bool

	accounts []string
	names    []string
	backup   map[string]*tables
	ops      int
	open     map[string]*bridgeNode
	// committed and restored remember writes by account, epoch and number; ended the last pages that agents sent.
	committed map[stepKey]bool
	batches   map[epochKey][]uint64
	ended     map[stepKey]groupKey
	// never holds ids whose caller was told that they did not begin.
	never map[string]bool

	mutant mutant
	trace  []string
}

type epochKey struct {
	account, instance string
	epoch             uint64
}

type stepKey struct {
	epochKey
	seq uint64
}

// mutant plants one bug.
type mutant string

const (
	sound             mutant = ""
	acksBeforeCommit  mutant = "the bridge acknowledges a batch before its commit"
	sweepsPartly      mutant = "an agent calls a snapshot complete after its first page"
	ignoresFence      mutant = "the database does not look at fences"
	forgetsOperations mutant = "an agent forgets its ledger with its session"
	losesWants        mutant = "an agent ignores what the bridge wants"
)

func newSimulation(t *testing.T, seed uint64, m mutant) *simulation {
	s := &simulation{world: newWorld(seed), t: t, seed: seed, mutant: m,
		accounts: []string{"prod", "stage"}, open: map[string]*bridgeNode{}, committed: map[stepKey]bool{},
		batches: map[epochKey][]uint64{}, ended: map[stepKey]groupKey{}, never: map[string]bool{}, backup: map[string]*tables{}}
	s.random = seeded(seed)
	for i := range 9 {
		s.names = append(s.names, string(rune('a'+i%3))+strconv.Itoa(i))
	}
	s.db.fenceless, s.db.maxBody = m == ignoresFence, 100
	s.db.regressed = func(account, key string, before written, version int) {
		s.fail("row %s of %s went from version %d back to %d by the same process", key, account, before.version, version)
	}
	s.watch = watcher{write: s.wrote, sweep: s.swept, sent: s.sentInventory, ack: s.acknowledged, finished: s.finished}
	for i := range 2 {
		b := s.addBridge("bridge"+strconv.Itoa(i), s.tuneBridge(s.random), OperationsConfig{Window: 8 + s.random.IntN(20)})
		b.skew = s.skew()
	}
	for i, accounts := range [][]string{{"prod", "stage"}, {"prod"}, {"stage"}} {
		n := s.addAgent("agent"+strconv.Itoa(i), accounts, s.tuneAgent(s.random))
		n.skew = s.skew()
	}
	return s
}

func (s *simulation) skew() time.Duration {
	return time.Duration(s.random.IntN(20*60)-10*60) * time.Second
}

// tuneAgent makes everything small, so that limits are met.
func (s *simulation) tuneAgent(r *rand.Rand) func(*AgentConfig) {
	outbox, batch, page, fetch := 200+r.IntN(2000), 60+r.IntN(400), 1+r.IntN(4), 1+r.IntN(3)
	running := 1 + r.IntN(3)
	return func(c *AgentConfig) {
		c.OutboxBytes, c.BatchBytes, c.BatchChanges, c.PageEntries, c.FetchKeys = outbox, batch, 1+batch/40, page, fetch
		c.CheckInterval = time.Minute
		c.Ledger = LedgerConfig{Running: running, Waiting: 2, Results: 3}
	}
}

func (s *simulation) tuneBridge(r *rand.Rand) func(*BridgeConfig) {
	window, pipeline, resyncs, backlog := 100+r.IntN(2000), 1+r.IntN(4), 1+r.IntN(2), 4+r.IntN(20)
	return func(c *BridgeConfig) {
		c.Window, c.Pipeline, c.Resyncs, c.Backlog = window, pipeline, resyncs, backlog
		if pipeline > 2 {
			// Otherwise only the database knows the limit.
			c.MaximumBody = s.db.maxBody
		}
		c.ResyncWait, c.Age, c.Grace = 20*time.Second, 10*time.Minute, 10*time.Second
	}
}

func (s *simulation) fail(format string, args ...any) {
	if s.failed == "" {
		s.failed = fmt.Sprintf(format, args...)
	}
}

func (s *simulation) log(format string, args ...any) {
	if *simulationTrace {
		s.trace = append(s.trace, fmt.Sprintf("%6d ", s.steps)+fmt.Sprintf(format, args...))
	}
}

var simulationTrace = flag.Bool("story", false, "print what the simulation did when it fails")

// ---- invariants

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
		if n.instance() != t.holder || acc == nil || acc.epoch != w.Epoch {
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
		if sum != n.core.bytes {
			s.fail("%s: its outboxes have %d bytes and it counts %d", n.name, sum, n.core.bytes)
		}
		if l := &n.core.ledger; l.running > l.cfg.Running || l.results > l.cfg.Results || len(l.finished) > 5*l.cfg.Results || l.bytes < 0 {
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

// ---- steps

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
	if a, ok := b.requests[i].action.(Attach); ok && s.held(b.requests[i].conn, a) {
		return
	}
	if w, ok := b.requests[i].action.(Write); ok && s.mutant == acksBeforeCommit && s.random.IntN(20) == 0 {
		conn.core.WriteDone(b.clock(), WriteResult{Account: w.Account, Epoch: w.Epoch, Seq: w.Seq})
		conn.actions()
		return
	}
	s.log("%s: %T %s", b.name, b.requests[i].action, account)
	b.request(i)
}

// held answers an attach when the directory knows that another agent has the account. In chaos the directory is sometimes behind.
func (s *simulation) held(c *connection, a Attach) bool {
	t := s.db.tables(a.Account)
	if t.holder == "" || t.holder == a.Instance || !s.calm && s.random.IntN(4) == 0 || !s.live(a.Account, t) {
		return false
	}
	b := c.bridge
	for i := range b.requests {
		if b.requests[i].conn == c && b.requests[i].action == Action(a) {
			b.requests = append(b.requests[:i:i], b.requests[i+1:]...)
			break
		}
	}
	c.core.AttachDone(b.clock(), AttachResult{Account: a.Account, HeldBy: t.holder})
	c.actions()
	return true
}

// live tells whether the fence's holder has a session that works.
func (s *simulation) live(account string, t *tables) bool {
	for _, b := range s.bridges {
		for _, c := range b.sessions {
			if acc := c.core.accounts[account]; c.instance == t.holder && acc != nil && acc.epoch == t.epoch {
				return true
			}
		}
	}
	return false
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
			if acc := c.core.accounts[account]; acc != nil && acc.standby && !s.live(account, s.db.tables(account)) {
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
			s.db.attach(a)
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
			if c.core.held != 0 && !c.left && c.core.agent != nil {
				return fmt.Sprintf("%s: %d bytes of credit were not given back", c.id, c.core.held)
			}
		}
	}
	if len(s.open) > 0 {
		return fmt.Sprintf("%d callers still wait", len(s.open))
	}
	return ""
}

// episode runs one world; it returns its steps and what failed.
func episode(t *testing.T, seed uint64, m mutant) (steps int, failed string) {
	s := newSimulation(t, seed, m)
	for s.failed == "" && s.steps < episodeSteps {
		s.step()
	}
	if s.failed == "" {
		s.converge()
	}
	if s.failed != "" && *simulationTrace {
		t.Log("\n" + strings.Join(s.trace, "\n"))
	}
	return s.steps, s.failed
}

func TestSimulationUnderFaults(t *testing.T) {
	seed := *simulationSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	begin, steps := time.Now(), 0
	for i := uint64(0); steps < *simulationSteps; i++ {
		n, failed := episode(t, seed+i, sound)
		steps += n
		if failed != "" {
			t.Fatalf("after %d steps: %s\nreplay: go test ./proto/link -run Simulation -steps=%d -seed=%d -story", steps, failed, episodeSteps, seed+i)
		}
	}
	t.Logf("%d steps from seed %d, %.0f steps/s", steps, seed, float64(steps)/time.Since(begin).Seconds())
}

// TestSimulationFindsPlantedBugs shows that the invariants are looked at: each has a bug that only it keeps out.
func TestSimulationFindsPlantedBugs(t *testing.T) {
	for m, says := range map[mutant]string{
		acksBeforeCommit:  "was acknowledged and not committed",
		sweepsPartly:      "did not end a complete snapshot",
		ignoresFence:      "was committed while the fence was at",
		forgetsOperations: "took effect",
		losesWants:        "after the last fault",
	} {
		t.Run(string(m), func(t *testing.T) {
			total := 0
			for seed := uint64(1); total < 2_000_000; seed++ {
				steps, failed := episode(t, seed, m)
				total += steps
				if strings.Contains(failed, says) {
					t.Logf("found after %d steps: %s", total, failed)
					return
				}
				if failed != "" {
					t.Logf("seed %d: something else first: %s", seed, failed)
				}
			}
			t.Fatalf("not found in %d steps", total)
		})
	}
}
