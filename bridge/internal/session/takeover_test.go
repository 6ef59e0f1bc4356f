package session_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	one.until("the directory has the session", func() bool { return d.Count(t, "fairlead_session", "TRUE") == 1 })
	second := two.connect("second", "a")
	second.standsBy("a")
	for seq := range uint64(10) {
		firstInventory.say(batch("a", epoch, seq+1, fmt.Sprint("p", seq), 10))
		until(t, "the acknowledgement, as the account was not taken", firstInventory.down, acked(seq+1))
	}
	// The holder's connection breaks: the other one attaches, and what the first one had in its hand is not written.
	first.cut()
	taken := second.attached("a")
	if taken.GetEpoch() <= epoch || taken.GetContinues() {
		t.Errorf("attached %v after epoch %d", taken, epoch)
	}
	again := one.resume("first", []*linkv1.Resume{{Account: "a", Epoch: epoch}}, "a")
	again.standsBy("a")
	again.inventory().say(batch("a", epoch, 11, "late", 10))
	secondInventory := second.inventory()
	secondInventory.say(batch("a", taken.GetEpoch(), 1, "new", 10))
	until(t, "the acknowledgement", secondInventory.down, acked(1))
	one.sleepChecks()
	if n := d.Count(t, "cats_v1_pod", "id LIKE '%late'"); n != 0 {
		t.Error("a write of the former holder was committed")
	}
	// One that says goodbye is not waited for.
	second.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Goodbye{Goodbye: &linkv1.Goodbye{Reason: "stops"}}})
	if got := again.attached("a"); got.GetEpoch() <= taken.GetEpoch() {
		t.Errorf("attached %v after epoch %d", got, taken.GetEpoch())
	}
}

// shared is how many accounts each process holds, by the fences.
func shared(t *testing.T, d *storetest.DB) map[string]int {
	held := map[string]int{}
	for _, holder := range d.Strings(t, "SELECT holder FROM fairlead_fence") {
		held[holder]++
	}
	return held
}

func shares(t *testing.T, d *storetest.DB, _ int) {
	const all = 40
	var names []string
	for i := range all {
		names = append(names, fmt.Sprintf("acct-%02d", i))
	}
	one, two := newWorld(t, d, "one", cache.Options{}), newWorld(t, d, "two", cache.Options{})
	evenly := func(instances ...string) {
		t.Helper()
		one.until(fmt.Sprint("evenly by ", instances), func() bool {
			held := shared(t, d)
			for _, i := range instances {
				if held[i] < all/len(instances)-1 || held[i] > all/len(instances)+2 {
					return false
				}
			}
			return len(held) == len(instances)
		})
	}
	epochs := func() string {
		return strings.Join(d.Strings(t, "SELECT CONCAT(account, holder, epoch) FROM fairlead_fence ORDER BY account"), "\n")
	}
	a := one.connect("a", names...)
	evenly("a")
	b := one.connect("b", names...)
	evenly("a", "b")
	c := two.connect("c", names...)
	evenly("a", "b", "c")
	dd := two.connect("d", names...)
	evenly("a", "b", "c", "d")

	// Each session knows what it has, and nobody has what another one has.
	known := func(agents ...*agent) {
		t.Helper()
		one.until("each account is attached in one session", func() bool {
			seen := map[string]bool{}
			for _, x := range agents {
				for name := range x.holds() {
					if seen[name] {
						return false
					}
					seen[name] = true
				}
			}
			return len(seen) == all
		})
	}
	known(a, b, c, dd)
	before := epochs()
	one.sleepChecks()
	two.sleepChecks()
	if after := epochs(); after != before {
		t.Errorf("accounts move although nothing has changed:\n%s\n%s", before, after)
	}

	b.cut()
	evenly("a", "c", "d")
	kept := 0
	for i, line := range strings.Split(epochs(), "\n") {
		if line == strings.Split(before, "\n")[i] {
			kept++
		}
	}
	// Those of the one that went, and what makes the rest even.
	if kept < all*3/4-3 {
		t.Errorf("%d accounts stayed where they were when a fourth of the group went, want about %d", kept, all*3/4)
	}
	dd.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Goodbye{Goodbye: &linkv1.Goodbye{Reason: "stops"}}})
	evenly("a", "c")
	known(a, c)
	// What is written, is written at the epochs of now.
	for _, x := range []*agent{a, c} {
		inventory := x.inventory()
		for name, epoch := range x.holds() {
			inventory.say(batch(name, epoch, 1, "p", 10))
			until(t, "the acknowledgement", inventory.down, func(f *linkv1.InventoryDown) bool { return f.GetAck().GetAccount() == name })
		}
	}
	if n := d.Count(t, "cats_v1_pod", "TRUE"); n != all {
		t.Errorf("%d pods in the tables, want one of each account", n)
	}
}

func moves(t *testing.T, d *storetest.DB, _ int) {
	one, two := newWorld(t, d, "one", cache.Options{}), newWorld(t, d, "two", cache.Options{})
	first := one.connect("same", "a", "b")
	epoch := first.attached("a").GetEpoch()
	first.attached("b")
	inventory := first.inventory()
	one.until("the directory has the session", func() bool { return d.Count(t, "fairlead_session", "TRUE") == 2 })
	// The process came to the other bridge, and the first has not noticed that the connection is dead.
	second := two.resume("same", []*linkv1.Resume{{Account: "a", Epoch: epoch}}, "a", "b")
	got := second.attached("a")
	if !got.GetContinues() || got.GetEpoch() <= epoch {
		t.Errorf("attached %v, want it to continue epoch %d", got, epoch)
	}
	two.until("the directory has the new session", func() bool { return d.Count(t, "fairlead_session", "bridge = 'two'") == 2 })
	inventory.say(batch("a", epoch, 1, "late", 10))
	first.get("the loss", func(f *linkv1.SessionDown) bool { return f.GetDetached().GetEpoch() == epoch })
	first.standsBy("a")
	one.sleepChecks()
	next := second.inventory()
	next.say(batch("a", got.GetEpoch(), 1, "new", 10))
	until(t, "the acknowledgement, as the old session did not take it back", next.down, acked(1))
	if n := d.Count(t, "cats_v1_pod", "id LIKE '%late'"); n != 0 {
		t.Error("a write of the old session was committed")
	}
	// The new session breaks, and the old one turns out to live.
	second.cut()
	if back := first.attached("a"); back.GetEpoch() <= got.GetEpoch() {
		t.Errorf("attached %v after epoch %d", back, got.GetEpoch())
	}
}

// rush opens far more sessions than may begin in the time that one waits. What becomes of them afterwards is nothing to it: they have no token.
func rush(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	codesOf := map[codes.Code]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 2000 {
		all.Go(func() {
			a := w.open("")
			a.listen()
			err := a.over()
			mu.Lock()
			defer mu.Unlock()
			codesOf[status.Code(err)]++
		})
	}
	all.Wait()
	if codesOf[codes.Unauthenticated] < 100 || codesOf[codes.Unavailable] == 0 || codesOf[codes.Unauthenticated]+codesOf[codes.Unavailable] != 2000 {
		t.Errorf("of 2000 sessions: %v", codesOf)
	}
	w.connect("later", "a").attached("a")
}
