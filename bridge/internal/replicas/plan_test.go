package replicas_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/replicas"
)

// fleet is who serves and who holds what.
type fleet map[string]*replicas.Account

func newFleet(accounts int, instances ...string) fleet {
	f := fleet{}
	for i := range accounts {
		name := fmt.Sprintf("account-%03d", i)
		f[name] = &replicas.Account{Name: name, Replicas: slices.Clone(instances)}
	}
	return f
}

func (f fleet) list() []replicas.Account {
	var list []replicas.Account // in the map's order, which must not matter
	for _, a := range f {
		list = append(list, *a)
	}
	return list
}

func (f fleet) join(instance string) {
	for _, a := range f {
		a.Replicas = append(a.Replicas, instance)
	}
}

func (f fleet) leave(instance string) {
	for _, a := range f {
		a.Replicas = slices.DeleteFunc(a.Replicas, func(r string) bool { return r == instance })
	}
}

func always(string) bool { return true }

// apply does what the plan says, and fails if it says something impossible.
func (f fleet) apply(t *testing.T, settled func(string) bool) []replicas.Move {
	t.Helper()
	moves := replicas.Plan(f.list(), settled)
	for _, m := range moves {
		a := f[m.Account]
		if !slices.Contains(a.Replicas, m.To) || m.To == a.Holder || m.From != "" && m.From != a.Holder {
			t.Fatalf("%+v of %+v", m, a)
		}
		a.Holder = m.To
	}
	if again := replicas.Plan(f.list(), settled); len(again) > 0 {
		t.Fatalf("%d more moves once all were made: %v", len(again), again)
	}
	return moves
}

func (f fleet) loads() map[string]int {
	loads := map[string]int{}
	for _, a := range f {
		loads[a.Holder]++
	}
	return loads
}

func (f fleet) evenly(t *testing.T, within int, instances ...string) {
	t.Helper()
	loads := f.loads()
	for _, i := range instances {
		if fair := len(f) / len(instances); loads[i] < fair-within || loads[i] > fair+within {
			t.Errorf("loads %v, want %d ± %d at %s", loads, fair, within, i)
		}
	}
}

func TestFourReplicasHaveAHundredAccountsEachAndMoveFewWhenTheGroupChanges(t *testing.T) {
	f := newFleet(400, "a")
	f.apply(t, always)
	for i, next := range []string{"b", "c", "d"} {
		f.join(next)
		moves := f.apply(t, always)
		if most := 400/(i+2) + 1; len(moves) > most {
			t.Errorf("%d moves for %s, want %d at most", len(moves), next, most)
		}
		for _, m := range moves {
			if m.To != next {
				t.Errorf("%+v: only the one that came is given something", m)
			}
		}
	}
	f.evenly(t, 10, "a", "b", "c", "d")

	f.leave("b")
	orphans := f.loads()["b"]
	moves := f.apply(t, always)
	if len(moves) != orphans {
		t.Errorf("%d moves for %d accounts of the one that left", len(moves), orphans)
	}
	f.evenly(t, 10, "a", "c", "d")
}

func TestARollingUpdateLeavesTheGroupEvenAndMovesEachAccountFewTimes(t *testing.T) {
	f := newFleet(400, "a1", "b1", "c1", "d1")
	f.apply(t, always)
	moved := 0
	for _, r := range []string{"a", "b", "c", "d"} {
		// The new one stands beside the old one for a while, and has not settled when that leaves.
		f.join(r + "2")
		moved += len(f.apply(t, func(i string) bool { return i != r+"2" }))
		f.leave(r + "1")
		moved += len(f.apply(t, always))
	}
	f.evenly(t, 10, "a2", "b2", "c2", "d2")
	if moved > 500 {
		t.Errorf("%d moves of 400 accounts", moved)
	}
}

func TestAProcessThatHasJustComeIsGivenOnlyWhatNobodyHas(t *testing.T) {
	f := newFleet(10, "a")
	f.apply(t, always)
	f.join("new")
	settled := func(i string) bool { return i != "new" }
	if moves := f.apply(t, settled); len(moves) > 0 {
		t.Errorf("moves %v", moves)
	}
	f["account-003"].Holder = "gone"
	if moves := f.apply(t, settled); len(moves) != 1 || moves[0].To != "new" || moves[0].From != "" {
		t.Errorf("moves %v", moves)
	}
	f.apply(t, always)
	f.evenly(t, 0, "a", "new")
}

func TestSmallDifferencesAreLeftAlone(t *testing.T) {
	for _, c := range []struct{ one, other, moves int }{
		{1, 0, 0}, {2, 0, 1}, {2, 1, 0}, {6, 4, 1}, {100, 99, 0}, {102, 98, 0}, {104, 100, 0}, {104, 96, 4}, {100, 0, 50},
	} {
		f := newFleet(c.one+c.other, "a", "b")
		i := 0
		for _, a := range f {
			a.Holder = "a"
			if i >= c.one {
				a.Holder = "b"
			}
			i++
		}
		if moves := f.apply(t, always); len(moves) != c.moves {
			t.Errorf("%d and %d: %d moves, want %d", c.one, c.other, len(moves), c.moves)
		}
	}
}

func TestAccountsThatNobodyServesStayAndOverlappingGroupsAreLevelledTogether(t *testing.T) {
	f := newFleet(30, "a", "b")
	for i := range 30 {
		name := fmt.Sprintf("other-%03d", i)
		f[name] = &replicas.Account{Name: name, Replicas: []string{"b", "c"}}
	}
	f["alone"] = &replicas.Account{Name: "alone", Holder: "gone"}
	f.apply(t, always)
	if f["alone"].Holder != "gone" {
		t.Error("an account without replicas moved")
	}
	delete(f, "alone")
	f.evenly(t, 1, "a", "b", "c")
}

// TestWhateverHappensEachAccountHasOneReplicaAndGroupsAreEven plays random fleets.
func TestWhateverHappensEachAccountHasOneReplicaAndGroupsAreEven(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		f := newFleet(1+random.IntN(60), "i0")
		f.apply(t, always)
		there := []string{"i0"}
		for step := range 20 {
			if len(there) > 1 && random.IntN(2) == 0 {
				gone := random.IntN(len(there))
				f.leave(there[gone])
				there = slices.Delete(there, gone, gone+1)
			} else {
				next := fmt.Sprintf("i%d", step+1)
				f.join(next)
				there = append(there, next)
			}
			young := there[random.IntN(len(there))]
			f.apply(t, func(i string) bool { return i != young })
			for name, a := range f {
				if !slices.Contains(a.Replicas, a.Holder) {
					t.Fatalf("seed %d: %s is held by %s, which does not serve it", seed, name, a.Holder)
				}
			}
		}
		f.apply(t, always)
		f.evenly(t, max(1, len(f)/len(there)/10+1), there...)
		one, other := replicas.Plan(newFleet(50, there...).list(), always), replicas.Plan(newFleet(50, there...).list(), always)
		if !slices.Equal(one, other) {
			t.Fatalf("seed %d: two bridges make different plans of one view", seed)
		}
	}
}

func BenchmarkTenThousandAccountsOnEightReplicas(b *testing.B) {
	f := newFleet(10_000, "a", "b", "c", "d", "e", "f", "g", "h")
	for _, a := range f {
		a.Holder = "a"
	}
	list := f.list()
	for b.Loop() {
		if moves := replicas.Plan(list, always); len(moves) != 8_750 {
			b.Fatal(len(moves))
		}
	}
}
