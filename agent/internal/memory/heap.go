package memory

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// percent is how much may be allocated between two collections, of what is live: Go's own 100 would have twice resident of what is used. An agent's
	// live heap is small and changes little; what it allocates is objects that it reads and lets go.
	percent = 50
	// look is how often the heap is looked at, and the time after which an agent may count as calm.
	look = 15 * time.Second
	// leastSurplus is what is worth a collection.
	leastSurplus = 4 << 20
)

// Bound sets how far the heap may grow beyond what is live, unless GOGC says it.
func Bound() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// heap is the process's heap at one moment, in bytes.
type heap struct {
	// live is what the last collection left, resident what the heap has from the operating system; allocated is the sum since the start.
	live, resident, allocated uint64
}

// surplus is what could be given back now, about.
func (h heap) surplus() uint64 {
	if h.resident < h.live {
		return 0
	}
	return h.resident - h.live
}

// calm tells whether it is worth while to collect and to give back what is not used: there is much, and it would not be needed again soon.
func calm(before, now heap) bool {
	surplus := now.surplus()
	return surplus >= max(leastSurplus, now.live/8) && now.allocated-before.allocated < surplus/2
}

func read() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 { return samples[i].Value.Uint64() }
	return heap{live: value(0), allocated: value(1), resident: value(2) + value(3) + value(4)}
}

// Settle gives back what lists have left of the heap, once they are over, until ctx ends. Go itself collects every two minutes when little happens, and
// gives back slowly.
func Settle(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for before := read(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := read()
		if calm(before, now) {
			debug.FreeOSMemory()
			now = read()
		}
		before = now
	}
}
