package link

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file models the shells: agent and bridge processes, and the connections between them.

// world is everything there is.
type world struct {
	now      time.Time
	random   *rand.Rand
	db       *database
	clusters map[string]*cluster
	agents   []*agentNode
	bridges  []*bridgeNode
	instance int
	session  int
	// effects counts, for each operation id, how often a change took effect.
	effects map[string]int
	// seen is called for each thing that a check may want to look at.
	watch watcher
}

// watcher sees what happens, for invariants. All of it is optional.
type watcher struct {
	write    func(Write, WriteResult)
	sweep    func(Sweep, SweepResult)
	sent     func(*agentNode, *linkv1.InventoryUp)
	ack      func(*agentNode, *linkv1.Ack)
	finished func(*bridgeNode, Finished)
	note     func(node string, n Note)
}

func newWorld(seed uint64) *world {
	return &world{now: epochStart, random: seeded(seed), db: newDatabase(), clusters: map[string]*cluster{}, effects: map[string]int{}}
}

// agentNode is an agent process and its shell.
type agentNode struct {
	w     *world
	name  string
	bare  bool
	skew  time.Duration
	names []string
	tune  func(*AgentConfig)

	core    *Agent
	records map[string]*inventory
	watches map[string]*watchNode
	session *connection
	fetches []Fetch
	runs    map[string]*run
	order   []string
	retryAt time.Time
	final   bool
}

// run is an operation that the agent's shell executes.
type run struct {
	start     StartOperation
	cancelled string
	effect    bool
	left      int
}

// bridgeNode is a bridge process and its shell.
type bridgeNode struct {
	w        *world
	name     string
	skew     time.Duration
	tune     func(*BridgeConfig)
	ops      *Operations
	sessions []*connection
	// requests go to the database; they may stay there, in the hand of a bridge that is stopped.
	requests []request
	outputs  map[string]string
	ended    map[string]Finished
	stopped  bool
	// operations limits the bridge's operations; stalled callers take no output.
	operations OperationsConfig
	stalled    map[string]bool
	// last tells how the last request ended, for scripts.
	last string
}

type request struct {
	conn   *connection
	action Action
}

// connection is one session: both ends' streams, each a queue of frames on their way.
type connection struct {
	id     string
	agent  *agentNode
	bridge *bridgeNode
	core   *Bridge

	up     []*linkv1.SessionUp
	down   []*linkv1.SessionDown
	invUp  []*linkv1.InventoryUp
	invDn  []*linkv1.InventoryDown
	opUp   []*linkv1.OperationUp
	opDn   []*linkv1.OperationDown
	opened bool
	// cut streams deliver nothing any more, in one direction.
	cutUp, cutDown bool
	// started is the last order to start, for delivering it once more.
	started *linkv1.OperationDown
	// left: the agent's end is gone; hung: the bridge's end.
	left, hung bool
	instance   string
}

func (w *world) addAgent(name string, accounts []string, tune func(*AgentConfig)) *agentNode {
	n := &agentNode{w: w, name: name, names: accounts, tune: tune}
	for _, a := range accounts {
		if w.clusters[a] == nil {
			w.clusters[a] = newCluster(a)
		}
	}
	w.agents = append(w.agents, n)
	n.start()
	return n
}

func (n *agentNode) instance() string { return n.core.cfg.Agent.GetInstance() }

func (n *agentNode) types() []string {
	if n.bare {
		return []string{podType}
	}
	return []string{podType, svcType, appType}
}

func (n *agentNode) clock() time.Time { return n.w.now.Add(n.skew) }

// start makes a new process: nothing is left of an earlier one.
func (n *agentNode) start() {
	n.w.instance++
	cfg := AgentConfig{
		Agent:  &linkv1.Agent{Instance: "i" + strconv.Itoa(n.w.instance), Name: n.name},
		Format: 1,
		Rand:   seeded(uint64(n.w.instance)),
	}
	if n.tune != nil {
		n.tune(&cfg)
	}
	core, err := NewAgent(cfg)
	if err != nil {
		panic(err)
	}
	n.core = core
	n.records, n.watches = map[string]*inventory{}, map[string]*watchNode{}
	n.fetches, n.runs, n.order, n.final = nil, map[string]*run{}, nil, false
	n.session = nil
	core.Tick(n.clock())
	n.declare(nil)
}

func (n *agentNode) declare(removed []string) {
	for a := range n.records {
		if !slices.Contains(n.names, a) {
			delete(n.records, a)
			delete(n.watches, a)
		}
	}
	var served []Served
	for _, a := range n.names {
		if n.records[a] == nil {
			n.records[a], n.watches[a] = newInventory(a), &watchNode{}
			n.records[a].bare = n.bare
		}
		served = append(served, Served{Account: &linkv1.Account{Name: a}, Records: n.records[a]})
	}
	n.core.SetAccounts(n.clock(), served, removed)
	for _, a := range n.names {
		n.core.Watches(a, n.types())
		n.core.SetFacts(&linkv1.Facts{Account: a, ServerVersion: "v1"})
	}
	n.actions()
}

// watchNode is an agent's list and watch of one account.
type watchNode struct {
	listed, listing bool
	list            []event
	// from is the next event to read; seen the newest version that was read of each object.
	from int
	seen map[string]int
}

// relist begins a list, as at the start and after a broken watch. It is a consistent snapshot, and the watch goes on from it.
func (n *agentNode) relist(account string) {
	inv, c, wn := n.records[account], n.w.clusters[account], n.watches[account]
	inv.listing = map[string]bool{}
	for name := range inv.objects {
		inv.listing[name] = true
	}
	*wn = watchNode{listed: true, listing: true, from: len(c.events), seen: map[string]int{}}
	for _, name := range toItems(c.objects).sorted() {
		wn.list = append(wn.list, event{name: name, version: c.objects[name]})
	}
	for _, typ := range n.types() {
		n.core.NotLive(account, typ)
	}
	n.actions()
}

// observe reads one object of a list or one event of a watch; false if there is none or no room.
func (n *agentNode) observe(account string) bool {
	inv, c, wn := n.records[account], n.w.clusters[account], n.watches[account]
	switch {
	case inv == nil || !n.core.Room(account):
		return false
	case !wn.listed:
		n.relist(account)
	case wn.listing && len(wn.list) > 0:
		e := wn.list[0]
		wn.list = wn.list[1:]
		n.see(account, e)
	case wn.listing:
		for _, name := range boolItems(inv.listing).sorted() {
			n.put(account, inv.delete(name))
		}
		wn.listing, inv.listing = false, nil
		for _, typ := range n.types() {
			n.core.Live(n.clock(), account, typ)
		}
	case wn.from < len(c.events):
		wn.from++
		n.see(account, c.events[wn.from-1])
	default:
		return false
	}
	n.actions()
	return true
}

// see takes one state of an object, unless a newer one was seen.
func (n *agentNode) see(account string, e event) {
	inv, wn := n.records[account], n.watches[account]
	if e.version < wn.seen[e.name] {
		return
	}
	wn.seen[e.name] = e.version
	if e.gone {
		n.put(account, inv.delete(e.name))
	} else {
		n.put(account, inv.put(e.name, e.version))
	}
}

func toItems(m map[string]int) items {
	r := items{}
	for k := range m {
		r[k] = 0
	}
	return r
}

func boolItems(m map[string]bool) items {
	r := items{}
	for k := range m {
		r[k] = 0
	}
	return r
}

func (n *agentNode) put(account string, changes []*linkv1.Change) {
	if len(changes) > 0 {
		n.core.Put(account, changes)
	}
}

// actions does what the core asks for.
func (n *agentNode) actions() {
	for action := n.core.NextAction(); action != nil; action = n.core.NextAction() {
		switch a := action.(type) {
		case OpenStreams:
			if n.session != nil {
				n.session.open()
			}
		case Disconnect:
			n.final = a.Final
			n.retryAt = n.w.now.Add(a.RetryAfter)
			if n.session != nil {
				n.flush()
				n.lose("asked to")
			}
		case Fetch:
			n.fetches = append(n.fetches, a)
		case StartOperation:
			n.runs[a.ID] = &run{start: a, left: 3}
			n.order = append(n.order, a.ID)
		case CancelOperation:
			if r := n.runs[a.ID]; r != nil {
				r.cancelled = a.Reason
			}
		case Note:
			if n.w.watch.note != nil {
				n.w.watch.note(n.name, a)
			}
		}
	}
}

// flush sends what the session stream still has.
func (n *agentNode) flush() {
	for f := n.core.NextSession(); f != nil; f = n.core.NextSession() {
		if !n.session.cutUp {
			n.session.up = append(n.session.up, f)
		}
	}
}

// fetch answers the oldest Fetch, from what the API server holds now.
func (n *agentNode) fetch() bool {
	if len(n.fetches) == 0 {
		return false
	}
	f := n.fetches[0]
	n.fetches = n.fetches[1:]
	inv, c := n.records[f.Account], n.w.clusters[f.Account]
	if inv == nil {
		return true
	}
	for _, key := range f.Keys {
		name := strings.TrimPrefix(key, "ns/")
		version, there := c.objects[name]
		old, known := inv.objects[name]
		switch {
		case !there:
			n.see(f.Account, event{name: name, version: c.last[name], gone: true})
		case known && old == version:
			n.put(f.Account, inv.render(name, version))
		default:
			n.see(f.Account, event{name: name, version: version})
		}
	}
	n.core.FetchDone(n.clock(), f.Account, f.Type)
	n.actions()
	return true
}

// connect dials a bridge.
func (n *agentNode) connect(b *bridgeNode) *connection {
	n.w.session++
	c := &connection{id: "s" + strconv.Itoa(n.w.session), agent: n, bridge: b, instance: n.core.cfg.Agent.GetInstance()}
	cfg := BridgeConfig{
		Bridge: b.name, Session: c.id, Secret: "secret-" + c.id, Format: 1,
		Rand: seeded(uint64(n.w.session)), LinkID: modelLinkID,
	}
	if b.tune != nil {
		b.tune(&cfg)
	}
	core, err := NewBridge(b.clock(), cfg)
	if err != nil {
		panic(err)
	}
	c.core = core
	b.sessions = append(b.sessions, c)
	n.session = c
	n.core.Connected(n.clock())
	return c
}

// lose is the end of the session, seen by the agent.
func (n *agentNode) lose(reason string) {
	if n.session == nil {
		return
	}
	n.session.left = true
	n.session = nil
	n.core.Lost(n.clock(), reason)
	n.actions()
}

func (n *agentNode) tick() {
	n.core.Tick(n.clock())
	n.actions()
}

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
				verdicts = append(verdicts, &linkv1.AccountVerdict{Account: name, Reason: "removed"})
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
		result := db.attach(a)
		b.last = howEnded(false, result.Err)
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

// execute lets the agent's shell go on with an operation.
func (n *agentNode) execute(id string) {
	r := n.runs[id]
	if r == nil {
		return
	}
	done := func(o *linkv1.Outcome) {
		delete(n.runs, id)
		for i := range n.order {
			if n.order[i] == id {
				n.order = append(n.order[:i:i], n.order[i+1:]...)
				break
			}
		}
		n.core.Finish(n.clock(), id, o)
		n.actions()
	}
	switch {
	case r.cancelled != "":
		done(&linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: r.cancelled})
	case r.start.Mutation && !r.effect:
		r.effect = true
		n.w.effects[id]++
	case r.left > 0:
		if n.core.OutputRoom(id) >= len("part1 ") {
			r.left--
			n.core.Output(id, []byte("part"+strconv.Itoa(3-r.left)+" "))
		}
	default:
		done(&linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	}
}

// ---- movement: each function makes one step and reports whether there was one to make.

// sendUp moves what the agent has for its streams onto the connection, one frame of each at most.
func (n *agentNode) sendUp() (moved bool) {
	c := n.session
	if c == nil {
		return false
	}
	if f := n.core.NextSession(); f != nil {
		moved = true
		if !c.cutUp {
			c.up = append(c.up, f)
		}
	}
	if !c.opened {
		return moved
	}
	return n.sendInventory() || n.sendOperation() || moved
}

func (n *agentNode) sendInventory() bool {
	c := n.session
	f := n.core.NextInventory()
	n.actions()
	if f == nil {
		return false
	}
	if n.w.watch.sent != nil {
		n.w.watch.sent(n, f)
	}
	if !c.cutUp {
		c.invUp = append(c.invUp, f)
	}
	return true
}

func (n *agentNode) sendOperation() bool {
	c := n.session
	if c == nil {
		return false
	}
	f := n.core.NextOperation()
	if f == nil {
		return false
	}
	if !c.cutUp {
		c.opUp = append(c.opUp, f)
	}
	return true
}

// sendDown moves what the bridge has for its streams onto the connection.
func (c *connection) sendDown() (moved bool) {
	if c.hung {
		return false
	}
	if f := c.core.NextSession(); f != nil {
		moved = true
		if !c.cutDown {
			c.down = append(c.down, f)
		}
	}
	if f := c.core.NextInventory(); f != nil {
		moved = true
		c.actions()
		if !c.cutDown {
			c.invDn = append(c.invDn, f)
		}
	}
	if !c.opened {
		return moved
	}
	if f := c.bridge.ops.Next(c.bridge.clock(), c.id); f != nil {
		moved = true
		if !c.cutDown {
			c.opDn = append(c.opDn, f)
		}
	}
	return moved
}

// deliverUp hands the bridge the oldest frame of each stream.
func (c *connection) deliverUp() (moved bool) {
	return c.deliverSessionUp() || c.deliverInventoryUp() || c.deliverOperationUp()
}

func (c *connection) deliverSessionUp() bool {
	if c.hung || len(c.up) == 0 {
		return false
	}
	f := c.up[0]
	c.up = c.up[1:]
	c.core.ReceivedSession(c.bridge.clock(), f)
	c.actions()
	return true
}

func (c *connection) deliverInventoryUp() bool {
	if c.hung || len(c.invUp) == 0 {
		return false
	}
	f := c.invUp[0]
	c.invUp = c.invUp[1:]
	c.core.ReceivedInventory(c.bridge.clock(), f)
	c.actions()
	return true
}

func (c *connection) deliverOperationUp() bool {
	b := c.bridge
	if c.hung || len(c.opUp) == 0 {
		return false
	}
	f := c.opUp[0]
	c.opUp = c.opUp[1:]
	c.core.Heard(b.clock())
	if err := b.ops.Received(b.clock(), c.id, f); err != nil {
		c.core.Close(b.clock(), linkv1.Close_CODE_PROTOCOL, err.Error(), 0)
	}
	b.events()
	c.actions()
	return true
}

// deliverDown hands the agent the oldest frame of each stream.
func (c *connection) deliverDown() bool {
	return c.deliverSessionDown() || c.deliverInventoryDown() || c.deliverOperationDown() || c.deliverEnd()
}

func (c *connection) deliverSessionDown() bool {
	if c.left || len(c.down) == 0 {
		return false
	}
	f := c.down[0]
	c.down = c.down[1:]
	c.agent.core.ReceivedSession(c.agent.clock(), f)
	c.agent.actions()
	return true
}

func (c *connection) deliverInventoryDown() bool {
	if c.left || len(c.invDn) == 0 {
		return false
	}
	f := c.invDn[0]
	c.invDn = c.invDn[1:]
	if ack := f.GetAck(); ack != nil && c.agent.w.watch.ack != nil {
		c.agent.w.watch.ack(c.agent, ack)
	}
	c.agent.core.ReceivedInventory(c.agent.clock(), f)
	c.agent.actions()
	return true
}

func (c *connection) deliverOperationDown() bool {
	if c.left || len(c.opDn) == 0 {
		return false
	}
	f := c.opDn[0]
	c.opDn = c.opDn[1:]
	if f.GetStart() != nil {
		c.started = f
	}
	c.agent.core.ReceivedOperation(c.agent.clock(), f)
	c.agent.actions()
	return true
}

// deliverEnd tells one end that the other is gone, after everything that was on its way.
func (c *connection) deliverEnd() bool {
	switch {
	case c.hung && !c.left && !c.cutDown && len(c.down)+len(c.invDn)+len(c.opDn) == 0 && c.agent.session == c:
		c.agent.lose("the bridge hung up")
		return true
	case c.left && !c.hung && !c.cutUp && len(c.up)+len(c.invUp)+len(c.opUp) == 0:
		c.hang()
		return true
	}
	return false
}

// openStreams tells the bridge that the operations stream is up, once.
func (c *connection) openStreams() {
	if c.opened && !c.hung && !c.left && c.bridge.ops.sessions[c.id] == nil || c.opened && !c.hung && !c.bridge.ops.session(c.id).up {
		c.bridge.ops.Open(c.bridge.clock(), c.id, c.instance)
		c.bridge.events()
	}
}

// settle lets everything move until nothing can, without time.
func (w *world) settle() {
	for moved := true; moved; {
		moved = false
		for _, n := range w.agents {
			for _, a := range n.names {
				moved = n.observe(a) || moved
			}
			moved = n.fetch() || n.sendUp() || moved
			for _, id := range append([]string(nil), n.order...) {
				left := n.runs[id].left
				n.execute(id)
				moved = moved || n.runs[id] == nil || n.runs[id].left < left || n.runs[id].effect && left == 3
			}
		}
		for _, b := range w.bridges {
			if b.stopped {
				continue
			}
			for len(b.requests) > 0 {
				moved = true
				b.request(0)
			}
		}
		for _, c := range w.connections() {
			if !c.bridge.stopped {
				c.openStreams()
				moved = c.sendDown() || c.deliverUp() || moved
			}
			moved = c.deliverDown() || moved
		}
	}
}

// connections lists all that have an end that lives.
func (w *world) connections() []*connection {
	var list []*connection
	for _, b := range w.bridges {
		list = append(list, b.sessions...)
	}
	for _, n := range w.agents {
		if c := n.session; c != nil && c.hung {
			list = append(list, c)
		}
	}
	return list
}

// pass lets time go by, with a tick each second.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		w.now = w.now.Add(min(d, time.Second))
		for _, n := range w.agents {
			n.tick()
		}
		for _, b := range w.bridges {
			if !b.stopped {
				b.tick()
			}
		}
		w.settle()
	}
}
