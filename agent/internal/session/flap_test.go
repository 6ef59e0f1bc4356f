package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// flaps is how often the link breaks. Each is at another point of a session.
const flaps = 1_000

func TestAThousandBreaksOfTheLinkLoseNoRegistrationAndLeaveMemoryAsItWas(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	sink := watch(t, a)
	// Meanwhile objects change.
	ctx, stop := context.WithCancel(t.Context())
	var changing sync.WaitGroup
	more := make(chan int, flaps)
	changing.Go(func() {
		for i := range more {
			for name := range 50 {
				_ = sink.Put(ctx, pod(fmt.Sprint("p", name), fmt.Sprint(i))) // ends with the test
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	var before runtime.MemStats
	var goroutines int
	slowest := time.Duration(0)
	for i := range flaps {
		more <- i
		began := time.Now()
		p := next(t, "the agent's next session", b.came)
		slowest = max(slowest, time.Since(began))
		switch r.IntN(4) {
		case 0: // before anything was said
		case 1:
			p.hello()
		case 2:
			p.welcome(1 << 16)
		case 3:
			p.welcome(1 << 16)
			p.attach(uint64(i) + 1)
			next(t, "the inventory stream", p.inventory)
		}
		p.end()
		b.forget(p)
		if i == flaps/10 {
			before, goroutines = weighed()
		}
	}
	after, left := weighed()
	stop()
	close(more)
	changing.Wait()
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 || left > goroutines+50 {
		t.Errorf("%d bytes and %d goroutines more after %d further breaks", grown, left-goroutines, flaps*9/10)
	}
	a.mu.Lock()
	_, bytes := a.core.Outbox("a")
	a.mu.Unlock()
	if bytes > 32<<20 {
		t.Errorf("%d bytes are in the outbox", bytes)
	}
	t.Logf("the slowest of %d registrations came after %s", flaps, slowest.Round(time.Millisecond))
}

func weighed() (m runtime.MemStats, goroutines int) {
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m, runtime.NumGoroutine()
}
