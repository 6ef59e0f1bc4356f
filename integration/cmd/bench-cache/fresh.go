package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

const commitSeconds = "fairlead_agent_commit_seconds"

// fresh measures the time from an event's reading to its acknowledged commit at one rate, how soon Clouddriver shows a change meanwhile,
// and the highest rate at which that goes well.
func fresh(ctx context.Context, b *bench) (err error) {
	var applications []*fakekube.Application
	p, err := b.newPlace(ctx, b.freshAccounts, b.clouddriver, func(_ int, c *fakekube.Cluster) {
		applications = append(applications, c.Populate(twenties(200))...)
	})
	if err != nil {
		return err
	}
	defer func() { err = join(err, p.close()) }()
	if err := p.awaitLive(ctx); err != nil {
		return err
	}
	probe := p.clusters[0].Populate(fakekube.Population{Prefix: "probe", Applications: 1, Pods: 1, Bytes: objectBytes})[0]
	at, shown, err := p.churn(ctx, applications, b.rate, probe)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%.0f events/s over %d accounts", b.rate, b.freshAccounts)
	b.Note(figure.Line{What: what + ", watch event to acknowledged commit: p50", Value: 1000 * at.quantile(0.5), Unit: "ms", Wanted: "≤ 250 ms", Met: figure.AtMost(at.quantile(0.5), 0.25)})
	b.Note(figure.Line{What: what + ", watch event to acknowledged commit: p99", Value: 1000 * at.quantile(0.99), Unit: "ms", Wanted: "≤ 1 s", Met: figure.AtMost(at.quantile(0.99), 1)})
	b.Note(figure.Line{What: what + ": commits that were measured", Value: at.count(), Unit: "events"})
	if len(shown) > 0 {
		b.Note(figure.Line{What: fmt.Sprintf("a change by REST meanwhile, of %d: p50", len(shown)), Value: 1000 * percentile(shown, 0.5), Unit: "ms"})
		b.Note(figure.Line{What: "a change by REST meanwhile: slowest", Value: 1000 * percentile(shown, 1), Unit: "ms"})
	}
	return p.ramp(ctx, applications)
}

// ramp looks for the highest rate that keeps p99 within a second.
func (p *place) ramp(ctx context.Context, applications []*fakekube.Application) error {
	b := p.bench
	best := 0.0
	for rate := b.rate * 2; rate <= b.highest; rate *= 1.4 {
		h, _, err := p.churn(ctx, applications, rate, nil)
		if err != nil {
			return err
		}
		b.Note(figure.Line{What: fmt.Sprintf("%.0f events/s: p99", rate), Value: 1000 * h.quantile(0.99), Unit: "ms"})
		if h.quantile(0.99) > 1 {
			break
		}
		best = rate
	}
	if best == 0 {
		best = b.rate
	}
	b.Note(figure.Line{What: "highest rate tried that keeps p99 within 1 s, fleet, agent, bridge and MariaDB on one machine", Value: best, Unit: "events/s"})
	return nil
}

// churn keeps a rate for a while and returns what the agent measured of it; with a probe, how long its changes took to show by REST too.
func (p *place) churn(ctx context.Context, applications []*fakekube.Application, rate float64, probe *fakekube.Application) (h histogram, shown []float64, err error) {
	p.bench.Tell("%.0f events/s for %s", rate, p.bench.steps)
	before, err := scrape(ctx, p.agentMetrics, commitSeconds)
	if err != nil {
		return nil, nil, err
	}
	used := [4]float64{processor(p.env.Agents[0].PID), processor(p.env.Bridges[0].PID), processor(p.env.MySQL.PID)}
	defer p.profile(fmt.Sprintf("fresh-%.0f", rate), p.bench.steps)()
	limited, stop := context.WithTimeout(ctx, p.bench.steps)
	defer stop()
	g := &errgroup.Group{}
	made := 0
	g.Go(func() error {
		made = fakekube.Churn(limited, applications, rate, 1)
		return nil
	})
	if probe != nil && p.env.Clouddriver != nil {
		g.Go(func() error {
			shown, err = p.probe(limited, probe)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	seconds := p.bench.steps.Seconds()
	p.bench.Tell("%d changes made; processor: agent %.0f %%, bridge %.0f %%, MariaDB %.0f %% of a core", made,
		100*(processor(p.env.Agents[0].PID)-used[0])/seconds, 100*(processor(p.env.Bridges[0].PID)-used[1])/seconds, 100*(processor(p.env.MySQL.PID)-used[2])/seconds)
	// What waits is measured when it commits.
	if err := sleep(ctx, 3*time.Second); err != nil {
		return nil, nil, err
	}
	after, err := scrape(ctx, p.agentMetrics, commitSeconds)
	if err != nil {
		return nil, nil, err
	}
	return after.since(before), shown, nil
}

// probe changes a replica set again and again and looks for each change in Clouddriver's cached view of it.
func (p *place) probe(ctx context.Context, a *fakekube.Application) (took []float64, err error) {
	path := "/applications/" + a.Name + "/serverGroups/" + a.Cluster.Name + "/" + a.Namespace + "/replicaSet%20" + a.ReplicaSet()
	shows := func(text string) (bool, error) {
		var view struct{ BuildInfo struct{ Images []string } }
		if err := p.env.REST().Get(ctx, path, &view); err != nil {
			return false, err
		}
		return strings.HasSuffix(strings.Join(view.BuildInfo.Images, ","), text), nil
	}
	for round := 1; ctx.Err() == nil; round++ {
		began := time.Now()
		a.Cluster.Touch("replicasets", a.Namespace, a.ReplicaSet())
		// The time is over when ctx is; what did not show by then is not counted.
		for is := false; !is && ctx.Err() == nil; _ = sleep(ctx, 5*time.Millisecond) {
			if is, err = shows(fmt.Sprintf(".%d", round)); is {
				took = append(took, time.Since(began).Seconds())
			}
			if err != nil && ctx.Err() == nil && time.Since(began) > 10*time.Second {
				return nil, err
			}
		}
		_ = sleep(ctx, 300*time.Millisecond)
	}
	return took, nil
}
