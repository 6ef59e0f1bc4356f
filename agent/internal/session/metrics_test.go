package session

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestEachCommittedEventIsMeasuredFromItsReading(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.Collectors()...)
	sink := watch(t, a)
	p := b.session()
	p.welcome(1 << 20)
	p.attach(1)
	inventory := next(t, "the inventory stream", p.inventory)
	sink.Watches([]cats.Type{"pod"})
	sink.Begin("pod")
	sink.Live("pod")
	// value is a gauge's or counter's value, and how often a histogram was told something.
	value := func(name string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if m := f.GetMetric()[0]; f.GetName() == "fairlead_agent_"+name {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		t.Fatal("no metric ", name)
		return 0
	}
	count := func() float64 { return value("commit_seconds") }
	ack := func(f *linkv1.InventoryUp) {
		inventory.say(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Ack{Ack: &linkv1.Ack{Account: "a", Epoch: 1, Seq: f.GetSeq()}}})
	}
	until(t, "the digest of pods", inventory.up, func(f *linkv1.InventoryUp) bool {
		ack(f)
		group := f.GetDigest().GetGroup()
		inventory.say(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: &linkv1.Verdict{Account: "a", Epoch: 1, Seq: f.GetSeq(), Group: group, Equal: true}}})
		return group.GetType() == "pod"
	})
	if err := sink.Put(t.Context(), pod("one", "first")); err != nil {
		t.Fatal(err)
	}
	frame := until(t, "the pod", inventory.up, func(f *linkv1.InventoryUp) bool { return len(f.GetBatch().GetChanges()) > 0 })
	if n := count(); n != 0 {
		t.Errorf("%v events count as committed before the bridge has said so", n)
	}
	if value("outbox_bytes") == 0 || value("outbox_changes") == 0 || value("connected") != 1 {
		t.Error("nothing is in the outbox, and the bridge has not acknowledged")
	}
	ack(frame)
	eventually(t, "the commit is counted", func() bool { return count() == 1 })
	if err := sink.Put(t.Context(), pod("one", "first")); err != nil { // changes nothing
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%v commits of an event that changed nothing", n-1)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
