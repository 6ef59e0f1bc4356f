package link

import (
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestPlainPathFromConnectToAgreement(t *testing.T) {
	w := newWorld(1)
	b := w.addBridge("b", nil, OperationsConfig{})
	n := w.addAgent("a", []string{"prod"}, nil)
	for _, name := range []string{"alpha", "beta", "bravo"} {
		w.clusters["prod"].put(name)
	}
	w.watch.note = func(node string, n Note) { t.Log(node, n) }
	n.connect(b)
	w.settle()
	w.pass(3 * time.Second)
	if d := w.db.differs(w.clusters["prod"]); d != "" {
		t.Fatal(d)
	}
	w.clusters["prod"].delete("alpha")
	w.clusters["prod"].put("beta")
	w.settle()
	if d := w.db.differs(w.clusters["prod"]); d != "" {
		t.Fatal(d)
	}
	// What is lost in the tables comes back with the next check.
	clear(w.db.tables("prod").groups[podGroup])
	w.db.tables("prod").group(linkGroup)["stale"] = 0
	w.pass(10 * time.Minute)
	if d := w.db.differs(w.clusters["prod"]); d != "" {
		t.Fatal(d)
	}
	if err := b.ops.Submit(w.now, Request{ID: "op1", Account: "prod", Operation: &linkv1.Operation{}, Mutation: true, Deadline: w.now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if got := b.ended["op1"].Outcome.GetState(); got != linkv1.Outcome_STATE_DONE || b.outputs["op1"] != "part1 part2 part3 " || w.effects["op1"] != 1 {
		t.Fatal(got, b.outputs["op1"], w.effects)
	}
}
