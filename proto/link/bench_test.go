package link

import (
	"fmt"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// prepared is change sets of one row and one link each, with bodies of a pod's size.
func prepared(n int) [][]*linkv1.Change {
	sets := make([][]*linkv1.Change, n)
	for i := range sets {
		name := fmt.Sprintf("pod-%06d", i)
		sets[i] = []*linkv1.Change{putRow(podType, name, make([]byte, 2_000)), putLink(modelLink(name, i))}
	}
	return sets
}

// BenchmarkOutbox is one change set through the outbox: put, taken, acknowledged.
func BenchmarkOutbox(b *testing.B) {
	sets := prepared(1024)
	box, g := outbox{maxSet: maxSetBytes}, &group{}
	groups := func(itemKey) *group { return g }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		box.put(sets[i%len(sets)], time.Time{}, groups)
		if i%100 == 99 {
			box.sent(uint64(i), box.take(256<<10, 1000))
			box.ack(uint64(i), func(time.Time) {})
		}
	}
}

// BenchmarkChange is one change set all the way: from Agent.Put to its acknowledgement, without wire and database.
func BenchmarkChange(b *testing.B) {
	w := newWorld(1)
	bridge := w.addBridge("bridge", func(c *BridgeConfig) { c.Age = -1 }, OperationsConfig{})
	n := w.addAgent("agent", []string{"prod"}, nil)
	w.clusters["prod"].put("x")
	c := n.connect(bridge)
	w.settle()
	sets := prepared(1024)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.core.Put("prod", sets[i%len(sets)])
		if i%100 < 99 {
			continue
		}
		for f := n.core.NextInventory(); f != nil; f = n.core.NextInventory() {
			c.core.ReceivedInventory(w.now, f)
		}
		for a := c.core.NextAction(); a != nil; a = c.core.NextAction() {
			if write, ok := a.(Write); ok {
				c.core.WriteDone(w.now, WriteResult{Account: write.Account, Epoch: write.Epoch, Seq: write.Seq})
			}
		}
		for f := c.core.NextInventory(); f != nil; f = c.core.NextInventory() {
			n.core.ReceivedInventory(w.now, f)
		}
	}
}

// BenchmarkSnapshot is one entry of a snapshot of 100,000, compared with the tables.
func BenchmarkSnapshot(b *testing.B) {
	const entries, page = 100_000, 1_000
	list := make([]*linkv1.Entry, entries)
	for i := range list {
		list[i] = &linkv1.Entry{Key: fmt.Sprintf("ns/pod-%06d", i), Hash: uint64(i)}
	}
	var s *snapshot
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i % (entries / page) * page
		if at == 0 {
			s = &snapshot{touched: map[string]struct{}{}}
			s.load(list)
		}
		s.compare(&linkv1.Page{Entries: list[at : at+page], End: at+page == entries})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/page, "ns/entry")
}

// BenchmarkOperation is one operation: submitted, begun, ended, received, without wire and execution.
func BenchmarkOperation(b *testing.B) {
	a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1)})
	if err != nil {
		b.Fatal(err)
	}
	a.SetAccounts(epochStart, []Served{{Account: &linkv1.Account{Name: "prod"}, Records: newInventory("prod")}}, nil)
	connectAgent(a, epochStart)
	o, _ := NewOperations(OperationsConfig{})
	o.Open(epochStart, "s", "i")
	o.Serve(epochStart, "s", "prod", true)
	op := &linkv1.Operation{}
	now := epochStart
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("r", i)
		if err := o.Submit(now, Request{ID: id, Account: "prod", Operation: op, Deadline: now.Add(time.Minute)}); err != nil {
			b.Fatal(err)
		}
		a.ReceivedOperation(now, o.Next(now, "s"))
		a.NextAction()
		a.Output(id, []byte("output"))
		a.Finish(now, id, &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
		for f := a.NextOperation(); f != nil; f = a.NextOperation() {
			if err := o.Received(now, "s", f); err != nil {
				b.Fatal(err)
			}
		}
		a.ReceivedOperation(now, o.Next(now, "s"))
		for o.NextEvent() != nil {
		}
	}
}

// BenchmarkIdleTick is a second of an agent with 1,000 accounts of 30 groups in which nothing happens.
func BenchmarkIdleTick(b *testing.B) {
	a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1)})
	if err != nil {
		b.Fatal(err)
	}
	var served []Served
	for i := range 1000 {
		served = append(served, Served{Account: &linkv1.Account{Name: fmt.Sprint("a", i)}, Records: newInventory("a")})
	}
	a.SetAccounts(epochStart, served, nil)
	for i := range 1000 {
		for g := range 30 {
			a.Live(epochStart, fmt.Sprint("a", i), fmt.Sprint("t", g))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Tick(epochStart)
		a.NextSession()
		a.NextInventory()
	}
}
