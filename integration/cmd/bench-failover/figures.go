package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// during changes objects, and has callers do operations at bridges 0 and 2, while f runs.
func (b *bench) during(ctx context.Context, f func(ctx context.Context) error) (c calls, took []float64, err error) {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { fakekube.Churn(ctx, b.applications[2*b.quiet:], b.rate, 1) })
	all.Go(func() { c = b.call(ctx, 0, 2) })
	all.Go(func() { took = b.fresh(ctx) })
	if err = sleep(ctx, 2*time.Second); err == nil {
		err = f(ctx)
	}
	stop()
	all.Wait()
	return c, took, err
}

// kill kills bridge 1, where a third of the agents are.
func kill(ctx context.Context, b *bench) error {
	// Sessions that have just begun come back after another pause than those that worked.
	if err := sleep(ctx, 15*time.Second); err != nil {
		return err
	}
	before, err := b.connected(ctx, "")
	if err != nil {
		return err
	}
	if err := b.tellMissing(ctx); err != nil {
		return err
	}
	elsewhere, err := b.connected(ctx, "bridge-1")
	if err != nil {
		return err
	}
	var most99, all time.Duration
	c, _, err := b.during(ctx, func(ctx context.Context) error {
		began := time.Now()
		if err := b.env.Stop(ctx, "bridge", 1, true); err != nil {
			return err
		}
		for all == 0 {
			n, err := b.connected(ctx, "bridge-1")
			if err != nil {
				return err
			}
			if most99 == 0 && 100*n >= 99*before {
				most99 = time.Since(began)
			}
			if n >= before {
				all = time.Since(began)
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
			if time.Since(began) > 5*time.Minute {
				return fmt.Errorf("%d of %d agents are back after five minutes", n, before)
			}
		}
		return sleep(ctx, 5*time.Second)
	})
	if err != nil {
		return err
	}
	b.Note(figure.Line{What: fmt.Sprintf("%d agents, %d of them at the bridge that is killed: 99 %% are connected", before, before-elsewhere), Value: most99.Seconds(), Unit: "s", Wanted: "≤ 20 s", Met: figure.AtMost(most99.Seconds(), 20)})
	b.Note(figure.Line{What: "… all are", Value: all.Seconds(), Unit: "s", Wanted: "≤ 60 s", Met: figure.AtMost(all.Seconds(), 60)})
	b.noteCalls(c)
	began := time.Now()
	if err := b.agree(ctx, 5*time.Minute); err != nil {
		return err
	}
	b.Note(figure.Line{What: "tables agree with the clusters after the end of the changes", Value: time.Since(began).Seconds(), Unit: "s"})
	if err := b.untouched(ctx); err != nil {
		return err
	}
	began = time.Now()
	if err := b.env.Start(ctx, "bridge", 1); err != nil {
		return err
	}
	return b.takesShare(ctx, began)
}

// takesShare waits until the bridge that came back has most of its share.
func (b *bench) takesShare(ctx context.Context, began time.Time) error {
	for time.Since(began) < 3*time.Minute {
		others, err := b.connected(ctx, "bridge-1")
		if err != nil {
			return err
		}
		if have := b.agents - others; 10*have*3 >= 8*b.agents {
			b.Note(figure.Line{What: "the bridge that came back has four fifths of its share", Value: time.Since(began).Seconds(), Unit: "s", Wanted: "≤ 60 s", Met: figure.AtMost(time.Since(began).Seconds(), 60)})
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	others, err := b.connected(ctx, "bridge-1")
	b.Note(figure.Line{What: "agents at the bridge that came back, after three minutes", Value: float64(b.agents - others), Wanted: "a third", Met: figure.AtMost(1, 0)})
	return err
}

// database ends MariaDB for a while.
func database(ctx context.Context, b *bench) error {
	before := b.resident()
	peak := slices.Clone(before)
	c, _, err := b.during(ctx, func(ctx context.Context) error {
		if err := b.env.Stop(ctx, "mysql", 0, true); err != nil {
			return err
		}
		for until := time.Now().Add(b.away); time.Now().Before(until); {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			for i, now := range b.resident() {
				peak[i] = max(peak[i], now)
			}
		}
		return b.env.Start(ctx, "mysql", 0)
	})
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.agree(ctx, 10*time.Minute); err != nil {
		return err
	}
	b.Note(figure.Line{What: fmt.Sprintf("away for %s: tables agree after its return and the end of the changes", b.away), Value: time.Since(began).Seconds(), Unit: "s", Wanted: "≤ 120 s", Met: figure.AtMost(time.Since(began).Seconds(), 120)})
	grown := 0.0
	for i := range 3 {
		grown = max(grown, peak[i]-before[i])
	}
	b.Note(figure.Line{What: "more resident memory of a bridge meanwhile", Value: grown, Unit: "MiB", Wanted: "≤ 64 MiB", Met: figure.AtMost(grown, 64)})
	b.Note(figure.Line{What: fmt.Sprintf("more resident memory of %d agents in one process", b.agents), Value: peak[3] - before[3], Unit: "MiB"})
	b.noteCalls(c)
	return b.untouched(ctx)
}

// rolling restarts bridges 1 and 2 (callers are at 0 and 2), then all agents.
func rolling(ctx context.Context, b *bench) error {
	c, took, err := b.during(ctx, func(ctx context.Context) error {
		for _, n := range []int{0, 1, 2} {
			if err := b.env.Stop(ctx, "bridge", n, false); err != nil {
				return err
			}
			if err := b.env.Start(ctx, "bridge", n); err != nil {
				return err
			}
			if err := sleep(ctx, b.rollingPause); err != nil {
				return err
			}
		}
		b.stopFleet()
		if err := b.startFleet(); err != nil {
			return err
		}
		return sleep(ctx, b.rollingPause)
	})
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.agree(ctx, 10*time.Minute); err != nil {
		return err
	}
	b.Note(figure.Line{What: fmt.Sprintf("three bridges, then %d agents at once: a change is in the table, p50 of %d", b.agents, len(took)), Value: percentile(took, 0.5), Unit: "s"})
	b.Note(figure.Line{What: "… p99", Value: percentile(took, 0.99), Unit: "s", Wanted: "≤ 10 s", Met: figure.AtMost(percentile(took, 0.99), 10)})
	b.Note(figure.Line{What: "tables agree after the end of the changes", Value: time.Since(began).Seconds(), Unit: "s"})
	b.noteCalls(c)
	return b.untouched(ctx)
}

// flapping resets all connections at random moments.
func flapping(ctx context.Context, b *bench) error {
	var early []float64
	flaps := 0
	c, took, err := b.during(ctx, func(ctx context.Context) error {
		for until := time.Now().Add(b.flapping); time.Now().Before(until); flaps++ {
			pause := b.flapShort + time.Duration(rand.Float64()*float64(b.flapLong-b.flapShort)) //nolint:gosec // spreads flaps
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			if err := b.env.ResetNetwork(ctx); err != nil {
				return err
			}
			if early == nil && time.Until(until) < b.flapping*3/4 {
				early = b.resident()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	late := b.resident()
	began := time.Now()
	if err := b.agree(ctx, 10*time.Minute); err != nil {
		return err
	}
	b.Note(figure.Line{What: fmt.Sprintf("%d flaps in %s: tables agree after the last", flaps, b.flapping), Value: time.Since(began).Seconds(), Unit: "s"})
	for i, what := range []string{"bridge 0", "bridge 1", "bridge 2", "all agents"} {
		b.Note(figure.Line{What: "resident memory of " + what + ", beside the same after a quarter of the time", Value: late[i], Beside: early[i], Unit: "MiB"})
	}
	b.Note(figure.Line{What: fmt.Sprintf("a change is in the table, p99 of %d", len(took)), Value: percentile(took, 0.99), Unit: "s"})
	b.noteCalls(c)
	return b.untouched(ctx)
}

// resident is the memory of each bridge and of the fleet, in MiB; 0 of what does not run.
func (b *bench) resident() []float64 {
	list := make([]float64, 0, 4)
	for _, bridge := range b.env.Bridges {
		list = append(list, resident(bridge.PID))
	}
	return append(list, resident(b.fleet.Process.Pid))
}

func resident(pid int) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for text := range strings.Lines(string(content)) {
		var kibibytes float64
		if rest, ok := strings.CutPrefix(text, "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &kibibytes); err == nil {
				return kibibytes / 1024
			}
		}
	}
	return 0
}
