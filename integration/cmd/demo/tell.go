package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

const (
	namespace = "shop"
	patience  = 3 * time.Minute
)

// tell tells the main job with a Clouddriver.
func tell(ctx context.Context, env *testenv.Env) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cluster := env.Clusters[0]
	kube, err := env.Kube(0)
	if err != nil {
		return err
	}
	fmt.Println()
	say("account", fmt.Sprintf("Clouddriver %s has account %q. Only its agent has a credential of the cluster.", env.Clouddriver.Version, cluster.Account))
	agent, err := chapter(ctx, &story.Story{REST: env.REST(), Kube: kube, Account: cluster.Account, App: "storefront", Namespace: namespace}, true)
	if err != nil {
		return err
	}
	say("stock", fmt.Sprintf("the same on account %q, where Clouddriver runs kubectl and polls:", cluster.StockAccount))
	stop := remind("waiting for the stock account: it polls every 30 s")
	stock, err := chapter(ctx, &story.Story{REST: env.REST(), Kube: kube, Account: cluster.StockAccount, App: "stockfront", Namespace: namespace}, false)
	stop()
	if err != nil {
		return err
	}
	say("", fmt.Sprintf("task %s, %d instances up in the cached views after %s, change visible after %s", ms(stock.task), replicas, ms(stock.views), ms(stock.change)))
	say("compared", fmt.Sprintf("deploy %.1f× as fast, a change visible %.0f× as soon", ratio(stock.task, agent.task), ratio(stock.change, agent.change)))
	processes(env)
	return nil
}

// remind says every ten seconds that something takes its time, until it is stopped.
func remind(what string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		began := time.Now()
		t := time.NewTicker(10 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				fmt.Fprintf(os.Stderr, "%s, %s so far\n", what, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

const replicas = 3

// times are how long the steps took.
type times struct{ task, views, change time.Duration }

func chapter(ctx context.Context, s *story.Story, aloud bool) (times, error) {
	var t times
	var err error
	tell := func(heading, text string) {
		if aloud {
			say(heading, text)
		}
	}
	if err = s.MakeNamespace(ctx); err != nil {
		return t, err
	}
	tell("deploy", fmt.Sprintf("POST /kubernetes/ops: Deployment, Service and ConfigMap of application %q", s.App))
	if t.task, err = s.Deploy(ctx, s.Manifests(replicas, "one")...); err != nil {
		return t, err
	}
	tell("task", "succeeded in "+ms(t.task))
	v, after, err := s.AwaitViews(ctx, story.Running(replicas))
	if err != nil {
		return t, err
	}
	t.views = after
	tell("views", fmt.Sprintf("%s after the task: %s, %s, %d instances up", ms(after), v.ServerGroups[0], v.LoadBalancers[0], v.Up))
	if err = s.Label(ctx, "changed"); err != nil {
		return t, err
	}
	if t.change, err = s.AwaitLabel(ctx, "changed"); err != nil {
		return t, err
	}
	tell("change", "made with kubectl behind Spinnaker's back, visible after "+ms(t.change))
	return t, nil
}

func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, time.Millisecond)) }

// processes says what runs where.
func processes(env *testenv.Env) {
	for _, b := range env.Bridges {
		say("bridge", fmt.Sprintf("process %d, %s: agents at %s, Clouddriver's plugin at %s", b.PID, story.Memory(b.PID), b.Agents, b.Plugin))
	}
	for _, a := range env.Agents {
		say("agent", fmt.Sprintf("process %d, %s: one connection, made by the agent", a.PID, story.Memory(a.PID)))
	}
}

// tellWithoutClouddriver tells what can be told with the bridge alone.
func tellWithoutClouddriver(ctx context.Context, env *testenv.Env) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cluster := env.Clusters[0]
	kube, err := env.Kube(0)
	if err != nil {
		return err
	}
	s := &story.Story{Kube: kube, Account: cluster.Account, App: "storefront", Namespace: namespace}
	fmt.Println()
	say("left out", "Clouddriver: its REST API, its cached views and the stock account to compare with (see above)")
	if err := s.MakeNamespace(ctx); err != nil {
		return err
	}
	began := time.Now()
	for _, m := range s.Manifests(replicas, "one") {
		if _, err := kubectl(ctx, env, cluster.Account, m, "apply", "-o", "json", "-f", "-"); err != nil {
			return err
		}
	}
	say("apply", fmt.Sprintf("fairlead kubectl %s -- apply -f -: three objects in %s", cluster.Account, ms(time.Since(began))))
	began = time.Now()
	counts, err := awaitRows(ctx, env, cluster.Account, replicas)
	if err != nil {
		return err
	}
	say("rows", fmt.Sprintf("in Clouddriver's tables %s later: %s", ms(time.Since(began)), counts))
	processes(env)
	return nil
}

// kubectl runs the CLI's kubectl with a manifest on standard input.
func kubectl(ctx context.Context, env *testenv.Env, account string, manifest map[string]any, arguments ...string) (string, error) {
	b := env.Bridges[0]
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cli := filepath.Join(filepath.Dir(self), "fairlead")
	args := append([]string{"--bridge", b.Admin, "--token-file", b.AdminTokenFile, "kubectl", account, "--"}, arguments...)
	command := exec.CommandContext(ctx, cli, args...) //nolint:gosec // our own program
	stdin, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	command.Stdin = bytes.NewReader(stdin)
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("fairlead kubectl: %s", exit.Stderr)
	}
	return string(out), err
}
