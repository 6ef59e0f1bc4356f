package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/integration/story"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
	"github.com/fairlead/fairlead/testenv"
)

const (
	manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {n: \"%d\"}\n"
	// stockCallers is how many kubectl processes run at once: more are not faster on few cores, and need 60 MB each.
	stockCallers = 8
)

// caller is one of those who ask a bridge, as Clouddriver's plugin does.
type caller struct {
	client clouddriverv1connect.ClouddriverServiceClient
	secret string
}

func (b *bench) newCaller() (*caller, error) {
	bridge := b.env.Bridges[0]
	secret, err := os.ReadFile(bridge.PluginSecretFile)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}
	return &caller{client: clouddriverv1connect.NewClouddriverServiceClient(client, bridge.Plugin, connect.WithProtoJSON()), secret: strings.TrimSpace(string(secret))}, nil
}

// do runs one command; anything but exit 0 is an error.
func (c *caller) do(ctx context.Context, account, stdin string, argv ...string) error {
	request := connect.NewRequest(&clouddriverv1.ExecuteRequest{Account: account, Arguments: argv, Stdin: []byte(stdin), TimeoutMs: 120_000})
	request.Header().Set("Authorization", "Bearer "+c.secret)
	stream, err := c.client.Execute(ctx, request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var stderr bytes.Buffer
	for stream.Receive() {
		stderr.Write(stream.Msg().GetStderr())
		if e := stream.Msg().GetExit(); e != nil {
			if e.GetCode() != 0 {
				return fmt.Errorf("account %s: %v: exit %d: %s", account, argv, e.GetCode(), stderr.String())
			}
			return nil
		}
	}
	return errors.Join(stream.Err(), io.ErrUnexpectedEOF)
}

// operation is the n-th of a caller: applies and reads of an object of its own take turns.
func operation(name string, n int) (stdin string, argv []string) {
	if n%2 == 0 {
		return fmt.Sprintf(manifest, name, n), []string{"apply", "-o", "json", "-f", "-"}
	}
	return "", []string{"--namespace=default", "-o", "json", "get", "configmap", name}
}

// prepare waits until the agent serves.
func (b *bench) prepare(ctx context.Context) error {
	c, err := b.newCaller()
	if err != nil {
		return err
	}
	return testenv.Wait(ctx, func(ctx context.Context) error { return c.warm(ctx, b.env.Clusters[0].Account) })
}

// warm has an agent read what it keeps of its API server: a second apply needs the kind's schema. Fifty agents that do so on one machine at the same
// time would be most of what is measured.
func (c *caller) warm(ctx context.Context, account string) error {
	for n := range 3 {
		stdin, argv := operation("warm", 2*n)
		if err := c.do(ctx, account, stdin, argv...); err != nil {
			return err
		}
	}
	return nil
}

// flood has callers do their rounds and returns how long each operation took, sorted, and how long all of it.
func (b *bench) flood(ctx context.Context, accounts []string, callers int, each func(ctx context.Context, account, name string, n int) error) ([]time.Duration, time.Duration, error) {
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var took []time.Duration
	began := time.Now()
	for i := range callers {
		g.Go(func() error {
			for n := range b.rounds {
				start := time.Now()
				if err := each(ctx, accounts[i%len(accounts)], fmt.Sprint("load-", i), n); err != nil {
					return err
				}
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(took)
	return took, time.Since(began), err
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(float64(len(sorted))*q), len(sorted)-1)].Round(100 * time.Microsecond)
}

// load compares what many callers get with what kubectl processes do on the same machine.
func (b *bench) load(ctx context.Context, dir string) error {
	c, err := b.newCaller()
	if err != nil {
		return err
	}
	through := func(ctx context.Context, account, name string, n int) error {
		stdin, argv := operation(name, n)
		return c.do(ctx, account, stdin, argv...)
	}
	fmt.Printf("\n| callers | operations | errors | operations/s | against kubectl | p50 | p99 | bridge | agent |\n|---|---|---|---|---|---|---|---|---|\n")
	stock, err := b.kubectl(ctx)
	if err != nil {
		return err
	}
	row := func(what string, accounts []string, callers int, agent int) error {
		took, all, err := b.flood(ctx, accounts, callers, through)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		rate := float64(len(took)) / all.Seconds()
		fmt.Printf("| %s | %d | 0 | %.0f | %.1f× | %s | %s | %s | %s |\n", what, len(took), rate, rate/stock, quantile(took, .5), quantile(took, .99),
			story.Memory(b.env.Bridges[0].PID), story.Memory(agent))
		return nil
	}
	if err := row("200 on one agent", []string{b.env.Clusters[0].Account}, 200, b.env.Agents[0].PID); err != nil {
		return err
	}
	accounts, end, err := b.fleet(ctx, dir)
	defer end()
	if err != nil {
		return err
	}
	return row(fmt.Sprintf("%d over %d agents", 40*len(accounts), len(accounts)), accounts, 40*len(accounts), b.pids[0])
}

// kubectl does the same operations with a process for each, as a stock Clouddriver does, and returns how many a second.
func (b *bench) kubectl(ctx context.Context) (float64, error) {
	limit := make(chan struct{}, stockCallers)
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range b.stock / 2 {
		g.Go(func() error {
			limit <- struct{}{}
			defer func() { <-limit }()
			for n := range 2 {
				stdin, argv := operation(fmt.Sprint("stock-", i), n)
				cmd := exec.CommandContext(ctx, b.env.Kubectl, append([]string{"--kubeconfig=" + b.env.Clusters[0].Kubeconfig}, argv...)...) //nolint:gosec // our own program
				cmd.Stdin = strings.NewReader(stdin)
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("kubectl %v: %w: %s", argv, err, out)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	rate := float64(b.stock/2*2) / time.Since(began).Seconds()
	fmt.Printf("| kubectl, %d processes at once | %d | 0 | %.1f | 1× | | | | |\n", stockCallers, b.stock/2*2, rate)
	return rate, nil
}
