package link

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// sessionBytes lets one agent connect and everything settle, and returns how many bytes of frames passed, both ways.
func sessionBytes(w *world, n *agentNode, b *bridgeNode) (bytes int) {
	n.connect(b).tap = func(_ int, _ bool, frame proto.Message) { bytes += proto.Size(frame) }
	w.settle()
	return bytes
}

func TestARestartWithoutAChangeCostsDigestsWhateverTheNumberOfObjects(t *testing.T) {
	bytes := map[int]int{}
	for _, objects := range []int{10, 1000} {
		w := newWorld(1)
		b := w.addBridge("bridge", func(c *BridgeConfig) { c.Age = -1 }, OperationsConfig{})
		n := w.addAgent("agent", []string{"prod"}, nil)
		n.patient = true
		for i := range objects {
			// Each has an application of its own.
			w.clusters["prod"].put(string(rune(0x4e00+i)) + "1")
		}
		sessionBytes(w, n, b)
		if d := w.db.differs(w.clusters["prod"]); d != "" {
			t.Fatal(d)
		}
		if w.fetched != 0 {
			t.Errorf("%d objects: the agent was to read %d of them a second time", objects, w.fetched)
		}
		n.lose("it ends")
		n.start()
		writes := w.db.writes
		bytes[objects] = sessionBytes(w, n, b)
		if d := w.db.differs(w.clusters["prod"]); d != "" || w.db.writes != writes {
			t.Errorf("%d objects: %d writes; %s", objects, w.db.writes-writes, d)
		}
		for _, g := range n.core.accounts["prod"].order {
			if g.stage != agreed {
				t.Errorf("%d objects: group %v was not compared", objects, g.key)
			}
		}
	}
	// The same frames; only the counts in digests may need a byte or two more.
	if more := bytes[1000] - bytes[10]; more > 20 || bytes[1000] > 1024 {
		t.Errorf("%d bytes with 1,000 objects, %d with 10", bytes[1000], bytes[10])
	}
}

func TestABridgeThatRestartedKnowsAtOnceWhatAgreed(t *testing.T) {
	w := newWorld(1)
	b := w.addBridge("bridge", func(c *BridgeConfig) { c.Age = -1 }, OperationsConfig{})
	n := w.addAgent("agent", []string{"prod"}, nil)
	w.clusters["prod"].put("a1")
	sessionBytes(w, n, b)
	n.core.NotLive("prod", svcType) // says nothing about the rows
	b.start()
	n.lose("the bridge is gone")
	agrees := map[groupKey]bool{}
	w.watch.note = func(node string, note Note) {
		switch {
		case node != b.name:
		case note.What == NoteRemembered:
			agrees[groupOf(note.Group)] = note.Agreed
		case note.What == NoteAgreed || note.What == NoteDiffers:
			t.Errorf("%v was compared again", note.Group)
		}
	}
	sessionBytes(w, n, b)
	for _, key := range []groupKey{podGroup, linkGroup, appGroup, {typ: svcType}} {
		if !agrees[key] {
			t.Errorf("the bridge does not know that %v agreed", key)
		}
	}
	// A person may ask for a comparison of all of it.
	if groups := b.sessions[0].core.Recheck(w.now, "prod", ""); len(groups) != len(agrees) {
		t.Errorf("groups to compare are %v", groups)
	}
	// What was said of another attach, or of what was compared since, changes nothing.
	core, epoch := b.sessions[0].core, b.sessions[0].core.accounts["prod"].epoch
	clear(agrees)
	for _, told := range []*linkv1.Compared{{Account: "prod", Epoch: epoch - 1, Open: []*linkv1.Group{{Type: "new"}}}, {Account: "stage", Epoch: epoch}, {Account: "prod", Epoch: epoch, Open: []*linkv1.Group{podGroup.message()}}} {
		core.ReceivedSession(w.now, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Compared{Compared: told}})
	}
	b.sessions[0].actions()
	if len(agrees) != 0 {
		t.Errorf("it believes %v", agrees)
	}
	core.ReceivedSession(w.now, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Compared{Compared: &linkv1.Compared{Account: "prod", Epoch: epoch, Open: []*linkv1.Group{{}}}}})
	if !core.ended {
		t.Error("a group without a type is taken")
	}
}

func TestWhatRemembersLargeComparisonsIsLetGoAfterThem(t *testing.T) {
	const objects = 2_000
	w := newWorld(1)
	b := w.addBridge("bridge", func(c *BridgeConfig) { c.Age = -1 }, OperationsConfig{})
	n := w.addAgent("agent", []string{"prod"}, nil)
	for i := range objects {
		w.clusters["prod"].put(fmt.Sprint("a", i))
	}
	for n.observe("prod") { // before the agent is connected: all of it has to be wanted
	}
	sessionBytes(w, n, b)
	if w.fetched != objects {
		t.Fatalf("%d objects were fetched", w.fetched)
	}
	acc := n.core.accounts["prod"]
	for _, g := range acc.order {
		if g.wanted != nil || cap(g.wantedOrder.items) > 0 || cap(g.bodies.items) > 0 {
			t.Errorf("group %v keeps room for %d wanted items", g.key, cap(g.wantedOrder.items))
		}
	}
}

func TestAnOutboxThatWasLargeLetsItsIndexGo(t *testing.T) {
	for _, c := range []struct {
		items int
		kept  bool
	}{{keptIndex, true}, {keptIndex + 1, false}} {
		box, pods := outbox{maxSet: maxSetBytes}, &group{key: podGroup}
		for i := range c.items {
			box.put([]*linkv1.Change{putRow(podType, fmt.Sprint("a", i), nil)}, epochStart, func(itemKey) *group { return pods })
		}
		for box.pending > 0 {
			box.take(1000, 10)
		}
		if kept := box.index != nil; kept != c.kept {
			t.Errorf("after %d items the index is kept: %v", c.items, kept)
		}
	}
}
