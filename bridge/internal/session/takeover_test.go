package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func contains(j *journal, text string) bool { return strings.Contains(j.String(), text) }

func standby(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	holder := w.connect("holder", "a")
	epoch := holder.attached("a").GetEpoch()
	next := w.connect("next", "a")
	next.standsBy("a")
	holder.cut()
	if got := next.attached("a"); got.GetEpoch() <= epoch || got.GetContinues() {
		t.Errorf("attached %v after epoch %d", got, epoch)
	}
	w.until("the account has one session", func() bool { known, _ := w.registry.Get("a"); return len(known.Sessions) == 1 })
	// The holder goes at any moment between the standby's question and its answer; so does the first of two that stand by.
	for i := range 40 {
		first, second := w.connect(fmt.Sprint("first", i), "a"), w.connect(fmt.Sprint("second", i), "a")
		if i%2 == 0 {
			first.standsBy("a")
			second.standsBy("a")
		}
		first.cut()
		next.cut()
		second.attached("a")
		next = second
	}
}

func withdrawn(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	holder := w.connect("holder", "a", "b")
	holder.attached("a")
	holder.attached("b")
	next := w.connect("next", "a")
	next.standsBy("a")
	holder.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "b"}}}}})
	next.attached("a")
	w.until("one session serves it", func() bool { known, _ := w.registry.Get("a"); return len(known.Sessions) == 1 })
	// An account that comes and goes faster than it is attached is not kept from others.
	for i := range 20 {
		for _, list := range [][]*linkv1.Account{{{Name: "b"}, {Name: fmt.Sprint("c", i)}}, {{Name: "b"}}} {
			holder.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: list}}})
		}
		other := w.connect("other", fmt.Sprint("c", i))
		other.attached(fmt.Sprint("c", i))
		other.cut()
	}
	if contains(w.log, "cannot be looked at now") {
		t.Error("agents that declare the same new account at one moment disturb each other")
	}
	holder.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Removed: []string{"b"}}}})
	holder.get("the answer to the removal", func(f *linkv1.SessionDown) bool {
		return f.GetVerdict().GetRemoved() && f.GetVerdict().GetAccount() == "b"
	})
	w.until("the account has left", func() bool { _, known := w.registry.Get("b"); return !known })
}

func twoBridges(t *testing.T, d *storetest.DB, _ int) {
	one, two := newWorld(t, d, "one", cache.Options{}), newWorld(t, d, "two", cache.Options{})
	first := one.connect("first", "a")
	epoch := first.attached("a").GetEpoch()
	firstInventory := first.inventory()
	second := two.connect("second", "a")
	taken := second.attached("a").GetEpoch()
	secondInventory := second.inventory()
	one.until("the first bridge knows that the other one serves the account", func() bool { known, _ := one.registry.Get("a"); return len(known.Elsewhere) == 1 })

	firstInventory.say(batch("a", epoch, 1, "late", 10))
	first.get("the loss", func(f *linkv1.SessionDown) bool { return f.GetDetached().GetEpoch() == epoch })
	first.standsBy("a")
	for seq := range uint64(10) {
		secondInventory.say(batch("a", taken, seq+1, fmt.Sprint("p", seq), 10))
		until(t, "the acknowledgement, as the account was not taken back", secondInventory.down, acked(seq+1))
	}
	if n := d.Count(t, "cats_v1_pod", "id LIKE '%late'"); n != 0 {
		t.Error("a write of the former holder was committed")
	}
	second.cut()
	if got := first.attached("a"); got.GetEpoch() <= taken {
		t.Errorf("attached %v after epoch %d", got, taken)
	}
}
