package session

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

type inventoryWire = wire[linkv1.InventoryUp, linkv1.InventoryDown]

func ack(f *linkv1.InventoryUp) *linkv1.InventoryDown {
	return &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Ack{Ack: &linkv1.Ack{Account: f.GetAccount(), Epoch: f.GetEpoch(), Seq: f.GetSeq()}}}
}

func credit(bytes uint64) *linkv1.InventoryDown {
	return &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Credit{Credit: &linkv1.Credit{Bytes: bytes}}}
}

// agree answers digests with "equal" and acknowledges everything, until a frame fits.
func agree(t *testing.T, w *inventoryWire, what string, fits func(*linkv1.InventoryUp) bool) *linkv1.InventoryUp {
	t.Helper()
	return until(t, what, w.up, func(f *linkv1.InventoryUp) bool {
		t.Helper()
		if d := f.GetDigest(); d != nil {
			w.say(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: &linkv1.Verdict{Account: f.GetAccount(), Epoch: f.GetEpoch(), Seq: f.GetSeq(), Group: d.GetGroup(), Equal: true}}})
		}
		w.say(ack(f))
		w.say(credit(1 << 30))
		return fits(f)
	})
}

// watch tells the agent's session of a cluster that has pods, all of them listed.
func watch(t *testing.T, a *agent) cluster.Sink {
	t.Helper()
	sink := next(t, "the cluster's sink", a.sink)
	sink.Watches([]cats.Type{"pod"})
	sink.Begin("pod")
	sink.Live("pod")
	return sink
}

func isDigest(typ string) func(*linkv1.InventoryUp) bool {
	return func(f *linkv1.InventoryUp) bool { return f.GetDigest().GetGroup().GetType() == typ }
}

func TestWatchWaitsWhileTheOutboxIsFullAndGoesOnWhenItIsNot(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	sink := watch(t, a)
	p := b.session()
	p.welcome(1 << 20)
	p.attach(1)
	w := next(t, "the inventory stream", p.inventory)
	agree(t, w, "the digest of pods", isDigest("pod"))
	const objects = 120
	var put atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := range objects {
			if err := sink.Put(t.Context(), pod(fmt.Sprint("p", i), strings.Repeat("x", 300<<10))); err != nil {
				done <- err
				return
			}
			put.Add(1)
		}
		done <- nil
	}()
	full := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !a.core.Room("a")
	}
	eventually(t, "the outbox is full", full)
	if n := put.Load(); n >= objects {
		t.Fatalf("all %d objects were taken, nothing waits", n)
	}
	seen := map[string]bool{}
	for len(seen) < objects {
		f := agree(t, w, "a batch", func(f *linkv1.InventoryUp) bool { return f.GetBatch() != nil })
		for _, c := range f.GetBatch().GetChanges() {
			if k := c.GetPutRow().GetKey(); k.GetType() == "pod" {
				seen[k.GetName()] = true
			}
		}
	}
	if err := next(t, "the last object", done); err != nil {
		t.Error(err)
	}
}

func TestWatchThatWaitsForRoomEndsWithItsContext(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	sink := watch(t, a)
	p := b.session()
	p.welcome(1 << 20)
	p.attach(1)
	w := next(t, "the inventory stream", p.inventory)
	agree(t, w, "the digest of pods", isDigest("pod"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			if err := sink.Put(ctx, pod(fmt.Sprint("p", i), strings.Repeat("x", 300<<10))); err != nil {
				done <- err
				return
			}
		}
	}()
	eventually(t, "the outbox is full", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !a.core.Room("a")
	})
	cancel()
	if err := next(t, "the end of the waiting", done); err == nil {
		t.Error("it did not end by its context")
	}
}

func TestObjectsThatABridgeLacksAreReadAndSentAndThoseThatAreGoneAreNot(t *testing.T) {
	b := newBridge(t)
	asked := make(chan []cats.Key, 10)
	a := start(t, b.address, func(_ *Config, s *scripted) {
		s.fetch = func(_ context.Context, _ cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error {
			asked <- keys
			for _, k := range keys {
				var obj map[string]any
				var err error
				switch k.Name {
				case "there":
					obj = pod("there", "old")
				case "gone":
					err = apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, k.Name)
				default:
					err = errBroken
				}
				if err := each(k, obj, err); err != nil {
					return err
				}
			}
			return nil
		}
	})
	sink := watch(t, a)
	for _, name := range []string{"there", "gone", "hidden"} {
		if err := sink.Put(t.Context(), pod(name, "old")); err != nil {
			t.Fatal(err)
		}
	}
	p := b.session()
	p.welcome(1 << 20)
	p.attach(1)
	w := next(t, "the inventory stream", p.inventory)
	d := until(t, "the digest of pods", w.up, isDigest("pod"))
	if d.GetDigest().GetCount() != 3 {
		t.Errorf("digest %v", d)
	}
	w.say(ack(d))
	w.say(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: &linkv1.Want{Account: "a", Epoch: 1, Group: d.GetDigest().GetGroup(), Keys: []string{"n/there", "n/gone", "n/hidden", "n/never was"}}}})
	if keys := next(t, "a fetch", asked); len(keys) < 3 {
		t.Errorf("asked for %v", keys)
	}
	f := agree(t, w, "a batch of what is there", func(f *linkv1.InventoryUp) bool {
		for _, c := range f.GetBatch().GetChanges() {
			if c.GetPutRow().GetKey().GetType() == "pod" {
				return true
			}
		}
		return false
	})
	for _, c := range f.GetBatch().GetChanges() {
		if k := c.GetPutRow().GetKey(); k.GetType() == "pod" && (k.GetName() != "there" || !strings.Contains(string(c.GetPutRow().GetBody()), `old`)) {
			t.Errorf("sent %v", c)
		}
		if c.GetDeleteRow().GetType() == "pod" {
			t.Errorf("%s was deleted because it could not be read", c.GetDeleteRow().GetName())
		}
	}
}

func TestFactsOfAClusterAreToldToEachBridge(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	sink := next(t, "the cluster's sink", a.sink)
	sink.Facts(&linkv1.Facts{Account: "a", Namespaces: []string{"x"}})
	isFacts := func(f *linkv1.SessionUp) bool { return f.GetFacts() != nil }
	for range 2 {
		p := b.session()
		p.welcome(1 << 20)
		if f := until(t, "facts", p.up, isFacts).GetFacts(); f.GetNamespaces()[0] != "x" {
			t.Errorf("%v", f)
		}
		p.end()
	}
	p := b.session()
	p.welcome(1 << 20)
	until(t, "facts", p.up, isFacts)
	sink.Facts(&linkv1.Facts{Account: "a", Namespaces: []string{"y"}})
	if f := until(t, "newer facts", p.up, isFacts).GetFacts(); f.GetNamespaces()[0] != "y" {
		t.Errorf("%v", f)
	}
}
