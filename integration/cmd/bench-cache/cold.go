package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// objectBytes is what the figures' objects have.
const objectBytes = 4096

// twenties are applications of twenty objects: a deployment, a replica set, a service, 17 pods.
func twenties(objects int) fakekube.Population {
	return fakekube.Population{Applications: max(objects/20, 1), Pods: 17, Bytes: objectBytes}
}

// cold measures how long it takes until everything is in the tables, and what restarts cost after that.
func cold(ctx context.Context, b *bench) (err error) {
	p, err := b.newPlace(ctx, b.coldAccounts, testenvNone, func(_ int, c *fakekube.Cluster) { c.Populate(twenties(b.coldObjects)) })
	if err != nil {
		return err
	}
	defer func() { err = join(err, p.close()) }()
	// The environment is up when the agent is: it has been at work since. Everything goes, and comes again under the clock.
	if err := p.awaitLive(ctx); err != nil {
		return err
	}
	if err := p.env.Stop(ctx, "agent", 0, false); err != nil {
		return err
	}
	if err := p.truncate(ctx); err != nil {
		return err
	}
	used := func() [3]float64 {
		return [3]float64{processor(p.env.Agents[0].PID), processor(p.env.Bridges[0].PID), processor(p.env.MySQL.PID)}
	}
	defer p.profile("cold", 30*time.Second)()
	before := used()
	before[0] = 0 // another process
	began, sent := time.Now(), p.wire.bytes()
	if err := p.env.Start(ctx, "agent", 0); err != nil {
		return err
	}
	if err := p.awaitLive(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	after := used()
	tables, err := contents(ctx, p.db)
	if err != nil {
		return err
	}
	rows, links := 0, 0
	for _, t := range tables {
		if isLinks(t.name) {
			links += len(t.rows)
		} else {
			rows += len(t.rows)
		}
	}
	raw, err := upsertRaw(ctx, p.env.MySQL.DSN, tables)
	if err != nil {
		return err
	}
	l := figure.Line{What: fmt.Sprintf("%d objects cold over %d accounts: %d rows and %d links", p.objects(), b.coldAccounts, rows, links), Value: took.Seconds(), Unit: "s", Beside: raw.Seconds(), Wanted: "≤ 2× raw upserts"}
	l.Met = figure.AtMost(l.Value, 2*l.Beside)
	b.Note(l)
	b.Note(figure.Line{What: "objects a second", Value: float64(p.objects()) / took.Seconds(), Unit: "/s"})
	for i, name := range []string{"agent", "bridge", "MariaDB"} {
		b.Note(figure.Line{What: "processor time of the " + name + ", of that", Value: after[i] - before[i], Unit: "s"})
	}
	b.Note(figure.Line{What: "sent meanwhile", Value: float64(p.wire.bytes()-sent) / mebibyte, Unit: "MiB"})
	for _, part := range []string{"agent", "bridge"} {
		if err := restart(ctx, b, p, part); err != nil {
			return err
		}
	}
	return nil
}

// afterwards is how long is watched what a part does that has come back.
const afterwards = 10 * time.Second

// restart measures what a part's restart writes and sends, when nothing has changed.
func restart(ctx context.Context, b *bench, p *place, part string) error {
	bodies, links, err := p.rowsChanged(ctx)
	if err != nil {
		return err
	}
	if err := p.env.Stop(ctx, part, 0, false); err != nil {
		return err
	}
	sent := p.wire.bytes()
	began := time.Now()
	if err := p.env.Start(ctx, part, 0); err != nil {
		return err
	}
	// After the bridge's own restart agents go on where they were: no kind is compared before its usual check.
	what := "all accounts are connected"
	if part == "agent" {
		what = "all accounts are compared"
		err = p.awaitLive(ctx)
	} else {
		err = p.awaitConnected(ctx)
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	bytes := p.wire.bytes() - sent
	if err := sleep(ctx, afterwards); err != nil {
		return err
	}
	idle := p.wire.bytes() - sent - bytes
	afterBodies, afterLinks, err := p.rowsChanged(ctx)
	if err != nil {
		return err
	}
	written := float64(afterBodies - bodies + afterLinks - links)
	b.Note(figure.Line{What: part + " restarts: rows written in cats_v1_*", Value: written, Unit: "rows", Wanted: "0", Met: figure.AtMost(written, 0)})
	limit := float64(1024 + p.objects())
	b.Note(figure.Line{What: part + " restarts: bytes between agent and bridge, both ways, TLS included", Value: float64(bytes), Unit: "B",
		Wanted: fmt.Sprintf("≤ 1 KiB + 1 B for each of %d objects", p.objects()), Met: figure.AtMost(float64(bytes), limit)})
	b.Note(figure.Line{What: fmt.Sprintf("… of them for heartbeats and checks of applications, by what passed in %s afterwards", afterwards), Value: float64(idle) * took.Seconds() / afterwards.Seconds(), Unit: "B"})
	b.Note(figure.Line{What: part + " restarts: until " + what, Value: took.Seconds(), Unit: "s"})
	return nil
}

// truncate empties the cache's tables while the agent is away.
func (p *place) truncate(ctx context.Context) error {
	tables, err := p.env.RowsChanged(ctx)
	if err != nil {
		return err
	}
	for name := range tables {
		if isCache(name) {
			if _, err := p.db.ExecContext(ctx, "TRUNCATE TABLE `"+name+"`"); err != nil { //nolint:gosec // a table's name
				return err
			}
		}
	}
	return nil
}
