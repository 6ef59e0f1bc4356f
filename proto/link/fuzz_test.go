package link

import (
	"encoding/binary"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// The fuzz targets feed one end with whatever a peer may send. The input is a list of records: one byte for the stream (and for what
// happens besides), two for the length, a frame. Frames that do not parse never reach the machines; the transport ends the session then.

const (
	sessionStream = iota
	inventoryStream
	operationStream
	// timePasses: the length is seconds, no frame follows.
	timePasses
	streams
)

// maxInput keeps one execution short.
const maxInput = 64 << 10

func records(data []byte, feed func(kind int, frame []byte, length int)) {
	for data = data[:min(len(data), maxInput)]; len(data) >= 3; {
		kind, length := int(data[0])%streams, int(binary.BigEndian.Uint16(data[1:]))
		data = data[3:]
		frame := data[:min(length, len(data))]
		if kind != timePasses {
			data = data[len(frame):]
		}
		feed(kind, frame, length)
	}
}

func record(kind int, frame proto.Message) []byte {
	data, err := proto.Marshal(frame)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint16([]byte{byte(kind)}, uint16(len(data))), data...)
}

// FuzzBridge: an agent may send anything; the bridge's end never panics and keeps its bounds.
func FuzzBridge(f *testing.F) {
	for _, up := range recorded() {
		f.Add(up.up)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorld(1)
		w.clusters["prod"] = newCluster("prod")
		b := w.addBridge("bridge", func(c *BridgeConfig) { c.Window, c.Backlog, c.Accounts = 20_000, 16, 16 }, OperationsConfig{Window: 64})
		core, err := NewBridge(w.now, BridgeConfig{Session: "s", Secret: "x", Format: 1, Rand: seeded(1), LinkID: modelLinkID,
			Window: 20_000, Backlog: 16, Accounts: 16})
		if err != nil {
			t.Fatal(err)
		}
		c := &connection{id: "s", bridge: b, core: core, instance: "i", opened: true}
		b.sessions = append(b.sessions, c)
		b.ops.Open(w.now, "s", "i")
		for _, id := range []string{"m1", "r2"} {
			_ = b.ops.Submit(w.now, Request{ID: id, Account: "prod", Mutation: id == "m1", Operation: &linkv1.Operation{}, Deadline: w.now.Add(time.Minute), AbsentWait: time.Hour})
		}
		records(data, func(kind int, frame []byte, length int) {
			feedBridge(c, kind, frame, length)
			checkBridge(t, c)
		})
	})
}

func feedBridge(c *connection, kind int, data []byte, length int) {
	b := c.bridge
	switch kind {
	case sessionStream:
		frame := &linkv1.SessionUp{}
		if proto.Unmarshal(data, frame) == nil {
			c.core.ReceivedSession(b.clock(), frame)
		}
	case inventoryStream:
		frame := &linkv1.InventoryUp{}
		if proto.Unmarshal(data, frame) == nil {
			c.core.ReceivedInventory(b.clock(), frame)
		}
	case operationStream:
		frame := &linkv1.OperationUp{}
		if proto.Unmarshal(data, frame) == nil {
			if err := b.ops.Received(b.clock(), c.id, frame); err != nil {
				c.core.Close(b.clock(), linkv1.Close_CODE_PROTOCOL, err.Error(), 0)
			}
			b.events()
		}
	case timePasses:
		b.w.now = b.w.now.Add(time.Duration(length%3600) * time.Second)
		b.tick()
	}
	c.actions()
	// The database is a step behind, and the agent takes one frame of each stream.
	if len(b.requests) > 2 || kind == timePasses {
		for len(b.requests) > 0 {
			b.request(0)
		}
	}
	c.core.NextSession()
	c.core.NextInventory()
	c.actions()
	b.ops.Next(b.clock(), c.id)
	b.events()
}

func checkBridge(t *testing.T, c *connection) {
	core := c.core
	if core.held < 0 || core.owed < 0 || core.owed > core.held && !core.ended {
		t.Fatalf("%d bytes held, %d owed", core.held, core.owed)
	}
	if core.held > core.cfg.Window+maxInput {
		t.Fatalf("%d bytes held, the window is %d", core.held, core.cfg.Window)
	}
	if core.resyncs < 0 || core.resyncs > core.cfg.Resyncs || len(core.accounts) > core.cfg.Accounts {
		t.Fatalf("%d resyncs, %d accounts", core.resyncs, len(core.accounts))
	}
	for _, acc := range core.order {
		if len(acc.writes) > core.cfg.Pipeline || len(acc.groups) > maxGroups {
			t.Fatalf("%d writes, %d groups", len(acc.writes), len(acc.groups))
		}
	}
	if n := core.down.len(); n > core.cfg.Backlog+2*len(core.open)+maxGroups {
		t.Fatalf("%d frames wait for the agent", n)
	}
}

// FuzzAgent: a bridge may send anything; the agent's end never panics and keeps its bounds.
func FuzzAgent(f *testing.F) {
	for _, down := range recorded() {
		f.Add(down.down)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorld(1)
		n := w.addAgent("agent", []string{"prod"}, func(c *AgentConfig) {
			c.OutboxBytes, c.PageEntries = 10_000, 2
			c.Ledger = LedgerConfig{Running: 2, Waiting: 2, Bytes: 4096, Results: 2, Marks: 8}
		})
		for _, name := range []string{"a1", "b2", "c3"} {
			w.clusters["prod"].put(name)
		}
		for n.observe("prod") {
		}
		c := &connection{id: "s", agent: n, instance: n.instance()}
		n.session = c
		n.core.Connected(w.now)
		records(data, func(kind int, frame []byte, length int) {
			feedAgent(n, kind, frame, length)
			checkAgent(t, n)
		})
	})
}

func feedAgent(n *agentNode, kind int, data []byte, length int) {
	switch kind {
	case sessionStream:
		frame := &linkv1.SessionDown{}
		if proto.Unmarshal(data, frame) == nil {
			n.core.ReceivedSession(n.clock(), frame)
		}
	case inventoryStream:
		frame := &linkv1.InventoryDown{}
		if proto.Unmarshal(data, frame) == nil {
			n.core.ReceivedInventory(n.clock(), frame)
		}
	case operationStream:
		frame := &linkv1.OperationDown{}
		if proto.Unmarshal(data, frame) == nil {
			n.core.ReceivedOperation(n.clock(), frame)
		}
	case timePasses:
		n.w.now = n.w.now.Add(time.Duration(length%3600) * time.Second)
		n.core.Tick(n.clock())
		n.w.clusters["prod"].put("a1")
		for range 4 {
			n.observe("prod")
		}
	}
	n.actions()
	n.fetch()
	n.core.NextSession()
	n.core.NextInventory()
	n.core.NextOperation()
	n.actions()
	if len(n.order) > 0 {
		n.execute(n.order[0])
	}
}

func checkAgent(t *testing.T, n *agentNode) {
	acc, l := n.core.accounts["prod"], &n.core.ledger
	if acc.box.bytes != n.core.bytes || acc.box.bytes < 0 || acc.box.bytes > n.core.cfg.OutboxBytes+maxInput {
		t.Fatalf("the outbox has %d bytes, the agent counts %d", acc.box.bytes, n.core.bytes)
	}
	if acc.wants < 0 || acc.wants > maxWanted || len(acc.order) > maxGroups {
		t.Fatalf("%d items wanted, %d groups", acc.wants, len(acc.order))
	}
	if l.running > l.cfg.Running+len(n.core.accounts) || len(l.active) > l.cfg.Running+l.cfg.Waiting+2*len(n.core.accounts) || l.results > l.cfg.Results || len(l.marks) > 4*l.cfg.Marks {
		t.Fatalf("%d run, %d active, %d results, %d marks", l.running, len(l.active), l.results, len(l.marks))
	}
	if l.bytes < 0 || l.bytes > l.cfg.Bytes+(l.cfg.Running+len(n.core.accounts))*minRoom {
		t.Fatalf("%d bytes of output are kept", l.bytes)
	}
	for id, count := range n.w.effects {
		if count > 1 {
			t.Fatalf("operation %s took effect %d times", id, count)
		}
	}
}

// recording is what went up and down in one session.
type recording struct{ up, down []byte }

// recorded plays sessions and records their frames, as seeds.
func recorded() (list []recording) {
	for seed := range uint64(3) {
		w := newWorld(seed + 1)
		b := w.addBridge("bridge", nil, OperationsConfig{Window: 64})
		n := w.addAgent("agent", []string{"prod"}, func(c *AgentConfig) { c.PageEntries = 2 })
		for _, name := range []string{"a1", "b2", "c3", "c4"}[:seed+2] {
			w.clusters["prod"].put(name)
		}
		c := n.connect(b)
		var r recording
		c.tap = func(kind int, up bool, frame proto.Message) {
			if up {
				r.up = append(r.up, record(kind, frame)...)
			} else {
				r.down = append(r.down, record(kind, frame)...)
			}
		}
		w.settle()
		_ = b.ops.Submit(w.now, Request{ID: "m1", Account: "prod", Mutation: true, Operation: &linkv1.Operation{}, Deadline: w.now.Add(time.Minute)})
		_ = b.ops.Submit(w.now, Request{ID: "r2", Account: "prod", Operation: &linkv1.Operation{}, Deadline: w.now.Add(time.Minute)})
		w.clusters["prod"].delete("a1")
		w.settle()
		w.pass(20 * time.Second)
		clear(w.db.tables("prod").groups[linkGroup])
		w.pass(10 * time.Minute)
		c.core.Drain(w.now, []string{"other:9091"}, "a test")
		w.settle()
		list = append(list, r)
	}
	return list
}
