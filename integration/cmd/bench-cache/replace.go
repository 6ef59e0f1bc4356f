package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// replace measures how many rows a replaced pod writes, in a small replica set and in a large one.
func replace(ctx context.Context, b *bench) (err error) {
	sets := []int{10, b.replicas}
	var applications []*fakekube.Application
	p, err := b.newPlace(ctx, 1, testenvNone, func(_ int, c *fakekube.Cluster) {
		for _, pods := range sets {
			applications = append(applications, c.Populate(fakekube.Population{Prefix: fmt.Sprintf("set%d-", pods), Applications: 1, Pods: pods, Bytes: objectBytes})...)
		}
	})
	if err != nil {
		return err
	}
	defer func() { err = join(err, p.close()) }()
	if err := p.awaitLive(ctx); err != nil {
		return err
	}
	for i, a := range applications {
		written, err := p.written(ctx, func() error {
			a.RemovePod(0)
			a.AddPod()
			return nil
		})
		if err != nil {
			return err
		}
		what := fmt.Sprintf("a pod of %d replaced", sets[i])
		b.Note(figure.Line{What: what + ": bodies written or deleted", Value: float64(written[0]), Unit: "rows", Wanted: "2", Met: figure.AtMost(float64(written[0]), 2)})
		b.Note(figure.Line{What: what + ": links written or deleted", Value: float64(written[1]), Unit: "rows", Wanted: "2", Met: figure.AtMost(float64(written[1]), 2)})
		const changes = 5
		written, err = p.written(ctx, func() error {
			for range changes {
				a.Cluster.Touch("pods", a.Namespace, a.Pods[0])
				if err := sleep(ctx, time.Second); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.Note(figure.Line{What: fmt.Sprintf("… and %d times another status, a second apart: rows written", changes), Value: float64(written[0] + written[1]), Unit: "rows", Wanted: fmt.Sprint(changes), Met: figure.AtMost(float64(written[0]+written[1]), changes)})
	}
	return nil
}

// written is how many bodies and links something writes, until nothing has been written for two seconds.
func (p *place) written(ctx context.Context, something func() error) (rows [2]int64, err error) {
	bodies, links, err := p.rowsChanged(ctx)
	if err != nil {
		return rows, err
	}
	if err := something(); err != nil {
		return rows, err
	}
	last := rows
	for quiet := time.Now(); time.Since(quiet) < 2*time.Second; {
		nowBodies, nowLinks, err := p.rowsChanged(ctx)
		if err != nil {
			return rows, err
		}
		rows = [2]int64{nowBodies - bodies, nowLinks - links}
		if rows != last {
			last, quiet = rows, time.Now()
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
