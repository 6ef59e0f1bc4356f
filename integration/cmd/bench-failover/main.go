// Command bench-failover measures how an install of three bridges and hundreds of agents comes back when parts of it go away: a bridge is killed, the
// database is away, everything is restarted in turn, the network flaps. Bridges, MariaDB and the network between are processes of their own, the
// agents are in one (agent/cmd/agent-fleet), their API servers are fakes (testenv/fakekube).
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
)

// sizes are what flags make smaller.
type sizes struct {
	agents                int
	rate                  float64
	away, flapping        time.Duration
	flapShort, flapLong   time.Duration
	rollingPause, callers time.Duration
}

// figures in the order in which they run, all of them on one install.
var figures = []struct {
	name, what string
	run        func(context.Context, *bench) error
}{
	{"kill", "one of three bridges is killed", kill},
	{"database", "the database is away while objects change", database},
	{"rolling", "all bridges and agents are restarted in turn while objects change", rolling},
	{"flapping", "the network resets all connections again and again while objects change", flapping},
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
	flag.IntVar(&s.agents, "agents", 500, "agents, each with an account and a cluster of its own")
	flag.Float64Var(&s.rate, "rate", 100, "changes a second over all clusters")
	flag.DurationVar(&s.away, "database.away", 10*time.Minute, "how long the database is away")
	flag.DurationVar(&s.flapping, "flapping.time", 30*time.Minute, "how long the network flaps")
	flag.DurationVar(&s.flapShort, "flapping.shortest", 5*time.Second, "shortest time between two flaps")
	flag.DurationVar(&s.flapLong, "flapping.longest", 20*time.Second, "longest time between two flaps")
	flag.DurationVar(&s.rollingPause, "rolling.pause", 10*time.Second, "how long each part has been back when the next one is restarted")
	flag.DurationVar(&s.callers, "callers.pause", 200*time.Millisecond, "pause of each of eight callers between two operations")
	flag.Parse()
	err := measure(ctx, &bench{sizes: s, json: *output == "json", quiet: max(1, s.agents/50)}, *run)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-failover:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, b *bench, run string) (err error) {
	wanted, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	defer func() {
		if ended := b.close(); err == nil {
			err = ended
		}
	}()
	b.Figure = "start"
	if err := b.open(ctx); err != nil {
		return err
	}
	for _, f := range figures {
		if !wanted.MatchString(f.name) {
			continue
		}
		b.Figure = f.name
		b.Tell("%s", f.what)
		if err := f.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if !b.json {
			b.Table(f.what)
		}
	}
	if b.json {
		return b.JSON(os.Stdout)
	}
	return nil
}
