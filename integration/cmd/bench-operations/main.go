// Command bench-operations measures operations under load: how many a second many callers get, beside the kubectl processes that a stock Clouddriver
// would start for the same, and what they take while watch events flow on the same connection.
//
// API server, database, bridge and agents are real; the events are those of a fake API server, because a real one would take the processor itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// noisy is the account whose cluster is fake and busy. Account 0 of the first agent is the one that operations go to.
const noisy = "noisy"

type bench struct {
	// rounds is how many operations each caller does; agents how many there are for the fleet; stock how many kubectl processes are counted.
	rounds, agents, stock int
	part                  string
	env                   *testenv.Env
	applications          []*fakekube.Application
	pids                  []int // of the agents of the fleet
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{}
	flag.IntVar(&b.rounds, "rounds", 10, "operations of each caller")
	flag.IntVar(&b.agents, "agents", 50, "agents of the fleet, 40 callers each")
	flag.IntVar(&b.stock, "stock", 150, "kubectl processes to compare with")
	flag.StringVar(&b.part, "run", "", "one of load and lane; empty: both")
	flag.Parse()
	if b.part != "" && b.part != "load" && b.part != "lane" {
		fmt.Fprintf(os.Stderr, "bench-operations: no -run=%s: load, lane, or nothing for both\n", b.part)
		os.Exit(2) //nolint:gocritic // stop only restores signals
	}
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-operations:", err)
		os.Exit(1) //nolint:gocritic // stop only restores signals
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "fairlead-bench-operations-")
	if err != nil {
		return err
	}
	fleet, err := fakekube.New()
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return fleet.Run(serving) })
	defer func() {
		stop()
		if served := g.Wait(); err == nil {
			err = served
		}
	}()
	cluster := fleet.Add(noisy)
	b.applications = cluster.Populate(fakekube.Population{Applications: 50, Pods: 17, Bytes: 4000})
	kubeconfig, err := cluster.Kubeconfig()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "noisy.kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		return err
	}
	b.env, err = testenv.Up(ctx, testenv.Options{
		Dir: filepath.Join(dir, "env"), Clouddriver: testenv.NoClouddriver, DiesWithParent: true, Progress: os.Stderr,
		ConfigureAgent: func(config map[string]any) {
			k := config["kubernetes"].(map[string]any)
			k["accounts"] = append(k["accounts"].([]any)[:1], map[string]any{"name": noisy, "kubeconfigFile": file})
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		if down := b.env.Down(context.WithoutCancel(ctx)); err == nil {
			err = down
		}
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "logs are in", dir)
		}
	}()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if b.part != "lane" {
		if err := b.load(ctx, dir); err != nil {
			return err
		}
	}
	if b.part == "load" {
		return nil
	}
	return b.lane(ctx)
}
