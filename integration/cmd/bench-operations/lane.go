package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/testenv/fakekube"
)

const (
	// laneTime is how long each rate of events is measured; laneCallers ask one after the other meanwhile.
	laneTime    = 15 * time.Second
	laneCallers = 4
	// firstRate of events a second is where the search for half of the machine begins; full is more than the machine can do.
	firstRate = 300.0
	fullRate  = 20_000.0
)

// lane measures operations while watch events of another account come in by the same agent, connection and bridge.
func (b *bench) lane(ctx context.Context) error {
	fmt.Printf("\n| watch events/s | of the machine | operations | errors | p50 | p99 | against idle |\n|---|---|---|---|---|---|---|\n")
	idle, _, err := b.measure(ctx, 0, 0)
	if err != nil {
		return err
	}
	// Another rate until the parts take about half of the machine, or what other programs leave of it.
	for rate, tries := firstRate, 0; tries < 4; tries++ {
		_, share, err := b.measure(ctx, rate, idle)
		if err != nil {
			return err
		}
		if share > .45 {
			break
		}
		rate *= min(.5/max(share, .05), 2)
	}
	_, _, err = b.measure(ctx, fullRate, idle)
	return err
}

// measure prints a row and returns the p99 and the part of the machine that all parts took, this process with its fake API server among them.
func (b *bench) measure(ctx context.Context, rate float64, idle time.Duration) (p99 time.Duration, share float64, err error) {
	c, err := b.newCaller()
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, laneTime)
	defer cancel()
	before, err := busy(b.work())
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	var all sync.WaitGroup
	made := 0
	if rate > 0 {
		all.Go(func() { made = fakekube.Churn(ctx, b.applications, rate, 1) })
	}
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	for i := range laneCallers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				stdin, argv := operation(fmt.Sprint("lane-", i), n)
				start := time.Now()
				// Its own context: the end of the measurement shall not fail it.
				err := c.do(context.WithoutCancel(ctx), b.env.Clusters[0].Account, stdin, argv...)
				mu.Lock()
				took = append(took, time.Since(start))
				if err != nil {
					failed = err
				}
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond): // so that the operations themselves take little of the machine
				}
			}
		})
	}
	all.Wait()
	seconds := time.Since(began).Seconds()
	after, err := busy(b.work())
	if err != nil || failed != nil {
		return 0, 0, fmt.Errorf("operations beside %.0f events/s: %w", rate, errors.Join(err, failed))
	}
	share = (after - before).Seconds() / seconds / float64(runtime.NumCPU())
	slices.Sort(took)
	p99 = quantile(took, .99)
	against := "1×"
	if idle > 0 {
		against = fmt.Sprintf("%.1f×", float64(p99)/float64(idle))
	}
	fmt.Printf("| %.0f | %.0f %% | %d | 0 | %s | %s | %s |\n", float64(made)/seconds, 100*share, len(took), quantile(took, .5), p99, against)
	return p99, share, nil
}

// work lists the processes that events and operations keep busy.
func (b *bench) work() []int {
	return []int{os.Getpid(), b.env.Bridges[0].PID, b.env.Agents[0].PID, b.env.MySQL.PID}
}

// busy is the processor time of processes so far.
func busy(pids []int) (total time.Duration, err error) {
	for _, pid := range pids {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The second field is the program's name in parentheses and may hold blanks.
		_, rest, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(rest)
		var user, system int64
		if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
			return 0, err
		}
		// USER_HZ is 100 on Linux.
		total += time.Duration(user+system) * time.Second / 100
	}
	return total, nil
}
