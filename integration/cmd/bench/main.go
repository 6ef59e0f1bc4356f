// Command bench measures the main job on an agent account and on a stock account of the same cluster, in the same Clouddriver, taking turns:
// how long a deploy takes, and how soon a change shows in the cached views.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// pollInterval is stock Clouddriver's (sql.agent.poll.intervalSeconds).
const pollInterval = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	version := flag.String("clouddriver", testenv.DefaultClouddriver, "version of Clouddriver")
	rounds := flag.Int("rounds", 10, "measurements of each kind on each account")
	flag.Parse()
	if err := run(ctx, *version, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop only restores signals
	}
}

func run(ctx context.Context, version string, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	env, err := testenv.Up(ctx, testenv.Options{Dir: dir, Clouddriver: version, Stock: true, DiesWithParent: true, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if down := env.Down(context.WithoutCancel(ctx)); err == nil {
			err = down
		}
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "logs are in", filepath.Join(dir, "logs"))
		}
	}()
	kube, err := env.Kube(0)
	if err != nil {
		return err
	}
	c := env.Clusters[0]
	stories := []*story.Story{
		{REST: env.REST(), Kube: kube, Account: c.Account, App: "agentapp", Namespace: "bench-agent"},
		{REST: env.REST(), Kube: kube, Account: c.StockAccount, App: "stockapp", Namespace: "bench-stock"},
	}
	deploys, reads, changes := make([][]time.Duration, 2), make([][]time.Duration, 2), make([][]time.Duration, 2)
	for _, s := range stories {
		if err := s.MakeNamespace(ctx); err != nil {
			return err
		}
		for i := range 3 { // the JVM and both caches of API schemas warm up
			if _, err := s.Deploy(ctx, s.Manifests(2, fmt.Sprint("warm", i))...); err != nil {
				return err
			}
		}
	}
	for i := range rounds {
		for n, s := range stories {
			took, err := s.Deploy(ctx, s.Manifests(2, fmt.Sprint("round", i))...)
			if err != nil {
				return err
			}
			deploys[n] = append(deploys[n], took)
			began := time.Now()
			if err := env.REST().Get(ctx, "/manifests/"+s.Account+"/"+s.Namespace+"/deployment%20"+s.App+"-web", nil); err != nil {
				return err
			}
			reads[n] = append(reads[n], time.Since(began))
		}
	}
	for _, s := range stories {
		if _, _, err := s.AwaitViews(ctx, func(v story.Views) error {
			if len(v.LoadBalancers) == 0 {
				return fmt.Errorf("no load balancer in the cached views yet")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for i := range rounds {
		// A change at a random moment of the stock account's polling interval; both accounts are changed and watched at once.
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(pollInterval)))): //nolint:gosec // spreads moments
		case <-ctx.Done():
			return ctx.Err()
		}
		g, ctx := errgroup.WithContext(ctx)
		for n, s := range stories {
			g.Go(func() error {
				value := fmt.Sprint("value", i)
				if err := s.Label(ctx, value); err != nil {
					return err
				}
				took, err := s.AwaitLabel(ctx, value)
				changes[n] = append(changes[n], took)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	fmt.Printf("\nClouddriver %s, median of %d (smallest … largest), agent account against stock account\n\n", env.Clouddriver.Version, rounds)
	fmt.Printf("| what | agent | stock | ratio |\n|---|---|---|---|\n")
	report("deploy of Deployment, Service, ConfigMap", deploys)
	report("GET /manifests/… of a deployment", reads)
	report("a change shows in the cached views", changes)
	if err := liveReads(ctx, env, stories, 10*rounds); err != nil {
		return err
	}
	if err := added(ctx, env, stories[0], 100*rounds); err != nil {
		return err
	}
	for _, b := range env.Bridges {
		fmt.Printf("\nbridge: %s resident\n", story.Memory(b.PID))
	}
	for _, a := range env.Agents {
		fmt.Printf("agent: %s resident\n", story.Memory(a.PID))
	}
	return nil
}

func report(what string, samples [][]time.Duration) {
	cell := func(d []time.Duration) (time.Duration, string) {
		slices.Sort(d)
		m := d[len(d)/2]
		return m, fmt.Sprintf("%s (%s … %s)", round(m), round(d[0]), round(d[len(d)-1]))
	}
	agent, agentCell := cell(samples[0])
	stock, stockCell := cell(samples[1])
	fmt.Printf("| %s | %s | %s | %.1f× |\n", what, agentCell, stockCell, float64(stock)/float64(agent))
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
