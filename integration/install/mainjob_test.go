package install

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

var environment = flag.String("env", "process", "where the pods of the install paths run: process or container")

var every = flag.Bool("every", false, "each install path with each version of Clouddriver, in the place of a choice in which each occurs")

// combinations are the install paths and versions that are run by default: each path, each version.
func combinations() map[string][]string {
	versions := testenv.Versions()
	oldest, newest := versions[0], versions[len(versions)-1]
	if *every {
		all := map[string][]string{}
		for _, p := range append(slices.Clone(spinnakerPaths), ownBridges) {
			all[p.name] = versions
		}
		return all
	}
	return map[string][]string{"Halyard": {oldest}, "Operator": {oldest}, "spinnaker-kustomize": {newest}, ownBridges.name: {newest}}
}

// modes are the ways to run an agent, by the directory of their kustomization.
var modes = []string{"agent", "infrastructure", "spinnaker-service"}

// TestMainJobOnEachInstallPathInEachMode deploys through a Clouddriver that is configured as the install path configures it, by a bridge that
// runs as the path's sidecar runs it, to agents in the three modes.
func TestMainJobOnEachInstallPathInEachMode(t *testing.T) {
	if *environment == "container" {
		if err := dockerMissing(t.Context()); err != nil {
			t.Skipf("needs Docker: %v; -env=process runs the same without", err)
		}
		jar, err := testenv.PluginJar(t.Context(), &log{})
		testenv.SkipMissing(t, "the plugin", err)
		buildImages(t, jar)
		t.Cleanup(func() { leftovers(t) })
	}
	wanted := combinations()
	var table measurements
	paths := slices.Clone(spinnakerPaths)
	if *environment == "process" {
		// In containers the pod of Clouddriver is one with its bridge.
		paths = append(paths, ownBridges)
	}
	for _, path := range paths {
		for _, version := range wanted[path.name] {
			t.Run(path.name+" "+version, func(t *testing.T) {
				if *environment == "container" {
					table = append(table, inContainers(t, path, version)...)
					return
				}
				pod := newSpinnakerPod(t, path)
				env := pod.up(version)
				x := world(t, env, pod.bridge)
				t.Run("before any agent", func(t *testing.T) { x.readyWithoutAgents(t, pod) })
				for _, mode := range modes {
					t.Run(mode, func(inner *testing.T) {
						m := x.mainJob(inner, t, mode)
						m.path, m.version, m.mode = path.name, version, mode
						table = append(table, m)
					})
				}
				if path.bridges != nil {
					return // its bridges do not end with Clouddriver
				}
				t.Run("life of the pod", func(t *testing.T) { x.podLife(t, pod) })
				if path.name == spinnakerPaths[0].name {
					t.Run("uninstall", func(t *testing.T) { x.uninstall(t, pod) })
				}
			})
		}
	}
	table.check(t)
}

func world(t *testing.T, env *testenv.Env, bridge testenv.Bridge) *agentWorld {
	t.Helper()
	x := &agentWorld{env: env, bridge: bridge}
	var err error
	x.kube, err = env.Kube(0)
	must(t, err)
	x.admin, err = bridge.AdminClient()
	must(t, err)
	return x
}

// mainJob runs the agent of a mode, which lives as long as outer, and deploys through it.
func (x *agentWorld) mainJob(t, outer *testing.T, mode string) measured {
	t.Helper()
	account := "by-" + mode
	if mode == "infrastructure" {
		// As clusters reach a Spinnaker that is elsewhere.
		direct := x.bridge.Agents
		front := newBalancer(outer, "127.0.0.1:0", direct)
		x.bridge.Agents = front.Addr().String()
		defer func() {
			x.bridge.Agents = direct
			if front.accepted.Load() == 0 {
				t.Error("the agent did not come through the load balancer")
			}
		}()
	}
	all := objects(t, func() ([]byte, error) { return configured(t, x, mode, account) })
	if mode == "agent" {
		x.apply(t, all) // its service account and rights
	}
	d := deploymentOf(t, all, "fairlead-agent")
	newAgentPod(outer, x.env, all, d.Spec.Template, d.Namespace).run()
	return x.deploys(t, account)
}

// deploys deploys to an account and waits until the cached views show it.
func (x *agentWorld) deploys(t *testing.T, account string) measured {
	t.Helper()
	s := x.story(t, account)
	ctx := within(t, 2*time.Minute)
	// Clouddriver has the account once its plugin has been told.
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		names, err := x.env.REST().Accounts(ctx)
		if err == nil && !slices.Contains(names, account) {
			err = fmt.Errorf("Clouddriver's accounts are %v", names)
		}
		return err
	}))
	deployed, err := s.Deploy(ctx, s.Manifests(2, "one")...)
	must(t, err)
	_, viewed, err := s.AwaitViews(ctx, story.Running(2))
	must(t, err)
	return measured{deployed: deployed, shown: viewed}
}

func (x *agentWorld) story(t *testing.T, account string) *story.Story {
	t.Helper()
	app := strings.ReplaceAll(account, "-", "")
	s := &story.Story{REST: x.env.REST(), Kube: x.kube, Account: account, App: app, Namespace: "shop-" + app}
	must(t, s.MakeNamespace(t.Context()))
	return s
}

// podLife evaluates the probes as the kubelet does, while the database is away and while the pod ends.
func (x *agentWorld) podLife(t *testing.T, pod *spinnakerPod) {
	bridge, err := pod.Container("fairlead-bridge")
	must(t, err)
	// Halyard gives a sidecar no probes; the kubelet then asks Clouddriver's container alone.
	probed := bridge.ReadinessProbe != nil
	ready := func(what string) {
		t.Helper()
		if !probed {
			return
		}
		if err := pod.Probe(t.Context(), bridge, bridge.ReadinessProbe); err != nil {
			t.Errorf("%s: the bridge is not ready: %v", what, err)
		}
		if err := pod.Probe(t.Context(), bridge, bridge.LivenessProbe); err != nil {
			t.Errorf("%s: the bridge is not alive: %v", what, err)
		}
	}
	ready("when all is well")

	must(t, x.env.Stop(t.Context(), "mysql", 0, true))
	ready("without its database")
	a := kubectl(t, x.bridge, "by-agent", "", "-o", "json", "get", "pod", "--namespace", "shop-byagent")
	if a.code != 0 {
		t.Errorf("without the database a command ends with %d: %s", a.code, a.stderr)
	}
	must(t, x.env.Start(t.Context(), "mysql", 0))
	s := x.story(t, "by-agent")
	// Clouddriver's pool finds out one by one which of its connections are gone.
	must(t, testenv.Wait(within(t, 2*time.Minute), func(ctx context.Context) error {
		_, err := s.Deploy(ctx, s.Manifests(2, "two")...)
		return err
	}))

	// The kubelet tells all containers at once to stop. Clouddriver's tasks go on, and the bridge with them.
	pod.signal()
	must(t, testenv.Wait(within(t, time.Minute), func(context.Context) error {
		if !strings.Contains(pod.log.String(), "Clouddriver may end its tasks first") {
			return errors.New("the bridge has not heard that it is to stop")
		}
		return nil
	}))
	_, err = s.Deploy(within(t, 2*time.Minute), s.Manifests(3, "three")...)
	must(t, err)
	ready("while it waits for Clouddriver")
	select {
	case err := <-pod.ended:
		t.Fatalf("the bridge ended before Clouddriver: %v", err)
	default:
	}
	must(t, x.env.Stop(t.Context(), "clouddriver", 0, false))
	select {
	case err := <-pod.ended:
		pod.ended <- err
		if err != nil {
			t.Errorf("the bridge ended with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("Clouddriver is gone, and the bridge is not")
	}
}
