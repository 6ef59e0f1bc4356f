// Command bench-cache measures the caching: how fresh the tables are, what writing costs beside raw upserts of the same rows, what a
// restart and a change cost, how much memory an agent takes, and what Clouddriver's reads cost beside stock's rows. The API servers are
// fakes (testenv/fakekube), because no machine runs a hundred real ones; agent, bridge, MariaDB and Clouddriver are real.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// sizes are what flags make smaller.
type sizes struct {
	clouddriver string
	// accounts and objects of each, where a figure does not say otherwise.
	coldAccounts, coldObjects int
	freshAccounts             int
	rate, highest             float64
	steps                     time.Duration
	replicas                  int
	memory                    string
	settle                    time.Duration
	readAccounts, readGroups  int
	reads                     int
	readTime                  time.Duration
	writes                    int
}

// figures in the order in which they run.
var figures = []struct {
	name, what string
	run        func(context.Context, *bench) error
}{
	{"writer", "the writer alone, beside raw upserts of the same rows", writer},
	{"cold", "everything from nothing, beside raw upserts of the same rows; then restarts without a change", cold},
	{"replace", "one pod of a large replica set replaced", replace},
	{"fresh", "from the watch event to the acknowledged commit", fresh},
	{"memory", "resident memory of the agent", memory},
	{"reads", "Clouddriver's views of one large application, beside the same content in stock's rows", reads},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var s sizes
	names := make([]string, 0, len(figures))
	for _, f := range figures {
		names = append(names, f.name)
	}
	run := flag.String("run", "", "only figures whose names match: "+strings.Join(names, ", "))
	output := flag.String("o", "table", "table or json")
	flag.StringVar(&s.clouddriver, "clouddriver", testenv.DefaultClouddriver, "version of Clouddriver for views, or none")
	flag.IntVar(&s.coldAccounts, "cold.accounts", 20, "accounts of figure cold")
	flag.IntVar(&s.coldObjects, "cold.objects", 5000, "objects of each of them")
	flag.IntVar(&s.freshAccounts, "fresh.accounts", 50, "accounts of figure fresh, of 200 objects each")
	flag.Float64Var(&s.rate, "fresh.rate", 500, "events a second over all of them")
	flag.Float64Var(&s.highest, "fresh.highest", 8000, "events a second that are tried at most")
	flag.DurationVar(&s.steps, "fresh.time", 30*time.Second, "how long each rate is kept")
	flag.IntVar(&s.replicas, "replace.replicas", 1000, "pods of the replica set of figure replace")
	flag.StringVar(&s.memory, "memory.objects", "1x10000,1x100000,20x5000", "accounts × objects of each for figure memory")
	flag.DurationVar(&s.settle, "memory.settle", 4*time.Minute, "how long an agent is left alone before its memory is read: Go collects at least every two minutes")
	flag.IntVar(&s.readAccounts, "reads.accounts", 100, "accounts of figure reads")
	flag.IntVar(&s.readGroups, "reads.groups", 10_000, "server groups over all of them")
	flag.IntVar(&s.reads, "reads.rounds", 40, "requests of each view, if there is time")
	flag.DurationVar(&s.readTime, "reads.time", 5*time.Minute, fmt.Sprintf("how long each of the two layouts is read, if it was read %d times by then", leastReads))
	flag.IntVar(&s.writes, "writer.rows", 40_000, "bodies of figure writer")
	profiles := flag.String("profiles", "", "directory for profiles of the agent: processor time in cold and fresh, heap in memory")
	flag.Parse()
	err := measure(ctx, &bench{sizes: s, json: *output == "json", profiles: *profiles}, *run)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-cache:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, b *bench, run string) error {
	wanted, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	for _, f := range figures {
		if !wanted.MatchString(f.name) {
			continue
		}
		b.Figure = f.name
		b.Tell("%s", f.what)
		began := time.Now()
		if err := f.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		b.Tell("done after %s", time.Since(began).Round(time.Second))
		if !b.json {
			b.Table(f.what)
		}
	}
	if b.json {
		return b.JSON(os.Stdout)
	}
	return nil
}
