package cluster

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is a pause that doubles, with jitter, so that accounts of one API server do not knock together.
type backoff struct {
	base, most time.Duration
	failures   int
}

// next is the pause after one more failure: between half and all of base·2ⁿ, at most most.
func (b *backoff) next() time.Duration {
	d := b.base << min(b.failures, 16)
	if d > b.most || d <= 0 {
		d = b.most
	}
	b.failures++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failures = 0 }

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
