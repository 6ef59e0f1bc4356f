package memory

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestOnlyACalmHeapWithMuchToGiveBackIsCollected(t *testing.T) {
	const mib = 1 << 20
	for what, c := range map[string]struct {
		before, now heap
		want        bool
	}{
		"lists are over":           {heap{allocated: 900 * mib}, heap{live: 40 * mib, resident: 90 * mib, allocated: 901 * mib}, true},
		"lists are under way":      {heap{allocated: 800 * mib}, heap{live: 40 * mib, resident: 90 * mib, allocated: 901 * mib}, false},
		"there is little":          {heap{allocated: 901 * mib}, heap{live: 4 * mib, resident: 7 * mib, allocated: 901 * mib}, false},
		"little of a large heap":   {heap{allocated: 901 * mib}, heap{live: 400 * mib, resident: 430 * mib, allocated: 901 * mib}, false},
		"it is needed again soon":  {heap{allocated: 900 * mib}, heap{live: 10 * mib, resident: 20 * mib, allocated: 906 * mib}, false},
		"no collection was so far": {heap{}, heap{live: 0, resident: 3 * mib, allocated: 3 * mib}, false},
		"live is above resident":   {heap{}, heap{live: 9, resident: 3}, false},
	} {
		if got := calm(c.before, c.now); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

var kept []byte

func TestTheHeapIsSeenAsItIs(t *testing.T) {
	debug.FreeOSMemory()
	before := read()
	kept = make([]byte, 64<<20)
	for i := range kept {
		kept[i] = 1
	}
	runtime.GC()
	with := read()
	kept = nil
	runtime.GC()
	after := read()
	debug.FreeOSMemory()
	given := read()
	if grown := with.live - before.live; grown < 60<<20 || with.allocated-before.allocated < 60<<20 {
		t.Errorf("live grew by %d", grown)
	}
	if after.surplus() < 60<<20 || !calm(after, after) || given.surplus() > 10<<20 {
		t.Errorf("surplus %d, given back: %d", after.surplus(), given.surplus())
	}
}
