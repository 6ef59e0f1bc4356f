package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// readApplication is the one application of figure reads.
const readApplication = "fleet"

// views that are read.
func views() []string {
	return []string{
		"/applications",
		"/applications/" + readApplication + "/clusters",
		"/applications/" + readApplication + "/serverGroups",
		"/serverGroups?" + url.Values{"applications": {readApplication}}.Encode(),
	}
}

// leastReads of each view are made whatever they take.
const leastReads = 10

// javaOfReads is a heap in which answers of tens of megabytes have room, and the compiler that a Clouddriver in service has.
func javaOfReads() []string { return []string{"-Xmx3g", "-XX:TieredStopAtLevel=4"} }

// reads measures Clouddriver's views of a large application on our rows, then on the same content in stock's layout, with the bridge
// stopped, so that nothing heals them.
func reads(ctx context.Context, b *bench) (err error) {
	if b.clouddriver == testenv.NoClouddriver {
		b.Tell("left out: there is no Clouddriver")
		return nil
	}
	each := max(b.readGroups/b.readAccounts, 1)
	b.java = javaOfReads()
	defer func() { b.java = nil }()
	p, err := b.newPlace(ctx, b.readAccounts, b.clouddriver, func(_ int, c *fakekube.Cluster) {
		c.Populate(fakekube.Population{Applications: each, Pods: 1, Application: readApplication})
	})
	if err != nil {
		return err
	}
	defer func() { err = join(err, p.close()) }()
	if err := p.awaitLive(ctx); err != nil {
		return err
	}
	if err := p.env.Stop(ctx, "bridge", 0, false); err != nil {
		return err
	}
	if _, err := p.read(ctx, 3, 0); err != nil { // the JVM warms up
		return err
	}
	ours, err := p.read(ctx, b.reads, b.readTime)
	if err != nil {
		return err
	}
	b.Tell("the rows become stock's")
	links, err := p.toStock(ctx)
	if err != nil {
		return err
	}
	stock, err := p.read(ctx, b.reads, b.readTime)
	if err != nil {
		return err
	}
	b.Note(figure.Line{What: fmt.Sprintf("%d server groups over %d accounts: links that became inline relationships", each*b.readAccounts, b.readAccounts), Value: float64(links), Unit: "links"})
	for _, view := range views() {
		l := figure.Line{What: fmt.Sprintf("%s, %d times: p95 beside stock's rows", view, len(ours[view])), Value: 1000 * percentile(ours[view], 0.95), Unit: "ms", Beside: 1000 * percentile(stock[view], 0.95), Wanted: "≤ 1.25×"}
		l.Met = figure.AtMost(l.Value, 1.25*l.Beside)
		b.Note(l)
		b.Note(figure.Line{What: view + ": p50", Value: 1000 * percentile(ours[view], 0.5), Unit: "ms", Beside: 1000 * percentile(stock[view], 0.5)})
	}
	return nil
}

// read asks for each view so often, taking turns, but less often if there is no time; lasts 0: it has all the time.
func (p *place) read(ctx context.Context, rounds int, lasts time.Duration) (map[string][]float64, error) {
	took := map[string][]float64{}
	begin, said := time.Now(), time.Now()
	for round := range rounds {
		if lasts > 0 && round >= leastReads && time.Since(begin) > lasts {
			break
		}
		if time.Since(said) > 10*time.Second {
			p.bench.Tell("%d of %d rounds", round, rounds)
			said = time.Now()
		}
		for _, view := range views() {
			began := time.Now()
			var answer json.RawMessage
			if err := p.env.REST().Get(ctx, view, &answer); err != nil {
				return nil, err
			}
			took[view] = append(took[view], time.Since(began).Seconds())
			if view != "/applications" && len(answer) < 1000 {
				return nil, fmt.Errorf("%s answers %s", view, answer)
			}
		}
	}
	return took, nil
}

// toStock moves every link into the body that it belongs to, as stock Clouddriver writes them, and leaves the tables of links empty.
func (p *place) toStock(ctx context.Context) (moved int, err error) {
	tables, err := contents(ctx, p.db)
	if err != nil {
		return 0, err
	}
	related := map[string]map[string][]string{}
	for _, t := range tables {
		if !isLinks(t.name) {
			continue
		}
		for _, row := range t.rows { // uuid, id, rel_id, rel_agent, rel_type, last_updated
			id, other, kind := row[1].(string), row[2].(string), row[4].(string)
			if related[id] == nil {
				related[id] = map[string][]string{}
			}
			related[id][kind] = append(related[id][kind], other)
			moved++
		}
	}
	for _, t := range tables {
		if isLinks(t.name) {
			if _, err := p.db.ExecContext(ctx, "TRUNCATE TABLE `"+t.name+"`"); err != nil {
				return moved, err
			}
			continue
		}
		if err := t.inline(ctx, p.db, related); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// inline writes a table's bodies with their relationships in them.
func (t *rawTable) inline(ctx context.Context, db *sql.DB, related map[string]map[string][]string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, row := range t.rows { // id, agent, application, body_hash, body, last_updated
		id := row[0].(string)
		if related[id] == nil {
			continue
		}
		var body map[string]json.RawMessage
		var relationships map[string][]string
		if err := json.Unmarshal([]byte(row[4].(string)), &body); err != nil {
			return err
		}
		if err := json.Unmarshal(body["relationships"], &relationships); err != nil {
			return err
		}
		for kind, others := range related[id] {
			// Of logical rows, which several accounts have, each has its own account's members, but for applications, where the reader merges them.
			relationships[kind] = append(relationships[kind], own(others, row[1].(string))...)
		}
		if body["relationships"], err = json.Marshal(relationships); err != nil {
			return err
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE `"+t.name+"` SET body = ? WHERE id = ? AND agent = ?", string(text), id, row[1]); err != nil { //nolint:gosec // a table's name
			return err
		}
	}
	return tx.Commit()
}

// own are the ids that belong to the account whose agent wrote the row; agent is "ACCOUNT/…", ids are "kubernetes.v2:…:ACCOUNT:…".
func own(ids []string, agent string) []string {
	account, _, _ := strings.Cut(agent, "/")
	unique := map[string]bool{}
	for _, id := range ids {
		if strings.Contains(id, ":"+account+":") {
			unique[id] = true
		}
	}
	return slices.Sorted(maps.Keys(unique))
}
