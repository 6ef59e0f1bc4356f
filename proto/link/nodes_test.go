package link

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

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
	// directory tells bridges which agent has an account.
	directory bool
	// fetched counts objects that agents were to read a second time.
	fetched int
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
	w    *world
	name string
	bare bool
	// never is a type that cannot be listed; logical types are not complete then.
	never string
	// patient: no list begins before the agent was told what to cache; policies are the accounts of which it was.
	patient  bool
	policies map[string]bool
	skew     time.Duration
	names    []string
	tune     func(*AgentConfig)

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
	// tap sees each frame that is delivered.
	tap func(kind int, up bool, frame proto.Message)
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
	n.records, n.watches, n.policies = map[string]*inventory{}, map[string]*watchNode{}, map[string]bool{}
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
		case CacheBy:
			n.policies[a.Account] = true
		case Fetch:
			n.fetches = append(n.fetches, a)
			n.w.fetched += len(a.Keys)
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
