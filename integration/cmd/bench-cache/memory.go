package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// Limits of resident memory in MiB.
const (
	emptyLimit = 40.0
	smallLimit = 16.0 // more, at 10,000 objects
	largeLimit = 96.0 // more, at 100,000
)

// memory measures agents that watch nothing, and so many objects.
func memory(ctx context.Context, b *bench) error {
	empty, start, err := b.agentMemory(ctx, 1, 0)
	if err != nil {
		return err
	}
	b.Note(figure.Line{What: "one account of an empty cluster", Value: empty, Unit: "MiB", Wanted: "≤ 40 MiB", Met: figure.AtMost(empty, emptyLimit)})
	b.Note(figure.Line{What: "… at its peak, which is its start", Value: start, Unit: "MiB"})
	for shape := range strings.SplitSeq(b.memory, ",") {
		var accounts, objects int
		if _, err := fmt.Sscanf(shape, "%dx%d", &accounts, &objects); err != nil {
			return fmt.Errorf("-memory.objects %q: %w; write ACCOUNTSxOBJECTS, for instance 20x5000", shape, err)
		}
		steady, listing, err := b.agentMemory(ctx, accounts, objects)
		if err != nil {
			return err
		}
		more := figure.Line{What: fmt.Sprintf("%d × %d objects of 4 KiB: more than empty", accounts, objects), Value: steady - empty, Unit: "MiB"}
		switch accounts * objects {
		case 10_000:
			more.Wanted, more.Met = "≤ 16 MiB", figure.AtMost(more.Value, smallLimit)
		case 100_000:
			more.Wanted, more.Met = "≤ 96 MiB", figure.AtMost(more.Value, largeLimit)
		}
		b.Note(more)
		b.Note(figure.Line{What: "… peak of listing, beside what stays", Value: listing, Unit: "MiB", Beside: steady, Wanted: "≤ 1.5×", Met: figure.AtMost(listing, 1.5*steady)})
	}
	return nil
}

// listWaits is how long listings are held up, so that what the start of the program needs is not taken for what they do.
const listWaits = 8 * time.Second

// agentMemory is the resident memory of an agent that has listed everything, after a while, and its peak since the listings began; that of an
// agent without objects, since its start.
func (b *bench) agentMemory(ctx context.Context, accounts, objects int) (steady, peak float64, err error) {
	var mends []func()
	p, err := b.newPlace(ctx, accounts, testenvNone, func(_ int, c *fakekube.Cluster) {
		if objects > 0 {
			c.Populate(twenties(objects))
			for _, plural := range []string{"pods", "deployments", "replicasets", "services"} {
				mends = append(mends, c.Fault(fakekube.Fault{Resource: plural, Verb: "list", Delay: time.Hour}))
			}
		}
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = join(err, p.close()) }()
	if len(mends) > 0 {
		if err := sleep(ctx, listWaits); err != nil {
			return 0, 0, err
		}
		if err := forgetPeak(p.env.Agents[0].PID); err != nil {
			return 0, 0, err
		}
		for _, mend := range mends {
			mend()
		}
	}
	if err := p.awaitLive(ctx); err != nil {
		return 0, 0, err
	}
	b.Tell("everything is written; the agent is left alone for %s", b.settle)
	if err := sleep(ctx, b.settle); err != nil {
		return 0, 0, err
	}
	if steady, peak, err = resident(p.env.Agents[0].PID); err != nil {
		return 0, 0, err
	}
	return steady, peak, p.heap(ctx, fmt.Sprintf("memory-%dx%d", accounts, objects))
}
