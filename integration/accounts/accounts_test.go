// Package accounts asserts on a real Clouddriver, with real clusters and a real Vault, how accounts come by an agent's configuration, how
// their credentials change, and what takes them out again.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/testenv"
)

func TestAccountsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	missing := testenv.DockerMissing(t.Context())
	if missing != nil {
		t.Logf("Vault is a process, not a container: %v", missing)
	}
	s := up(t, testenv.Options{Clusters: 2, Vault: true, VaultContainer: missing == nil, Configure: func(config map[string]any) { brokenStock(config); cleanupEnabled(config) }})
	// In Vault: the second cluster's kubeconfig, with credentials of its own.
	s.putKubeconfig("vaulted-one")
	file := s.accounts()[0]
	vaulted := map[string]any{"name": "vaulted", "kubeconfigFile": "encryptedFile:vault!e:secret!p:clusters/second!k:kubeconfig"}

	t.Run("an account whose kubeconfig is in Vault is added without a restart, and deploys", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		began := time.Now()
		s.write(file, vaulted)
		must(t, s.listed(ctx, "vaulted", true))
		t.Logf("in Clouddriver's list after %s", time.Since(began).Round(time.Millisecond))
		s.deploys(ctx, "vaulted", 1, "one")
		t.Logf("deployed after %s", time.Since(began).Round(time.Millisecond))
	})
	t.Run("its credentials are rotated in Vault and deploys go on", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		before := s.relists(ctx)
		s.putKubeconfig("vaulted-two")
		s.revoke("vaulted-one")
		began := time.Now()
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.deploy(ctx, "vaulted", 1, "two") }))
		t.Logf("deployed %s after the former service account was deleted", time.Since(began).Round(time.Millisecond))
		for watch, n := range s.relists(ctx) {
			if strings.HasPrefix(watch, "demo ") && n != before[watch] {
				t.Errorf("another account's watch %s was listed %d times, before %d", watch, n, before[watch])
			}
		}
	})
	t.Run("a broken file leaves in force what was, and says so", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, os.WriteFile(s.Agents[0].Config, []byte("kubernetes: {accounts: [{name: demo, kubeconfgFile: x"), 0o600))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error {
			var state struct{ Problem string }
			if err := s.ask(ctx, 0, "/config", &state); err != nil {
				return err
			}
			if !strings.Contains(state.Problem, "not YAML") {
				return fmt.Errorf("problem %q", state.Problem)
			}
			return nil
		}))
		s.deploys(ctx, "vaulted", 2, "three")
		must(t, s.listed(ctx, "demo", true))
		s.write(file, vaulted)
	})
	t.Run("defaults of the bridge reach an agent that is connected, and interrupt nothing but what they are about", s.defaults)
	t.Run("an agent that ends takes no account with it", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, s.Stop(ctx, "agent", 0, false))
		// What the bridge does with a goodbye it has done when it shows the account as not connected.
		must(t, testenv.Wait(ctx, func(ctx context.Context) error {
			return s.state(ctx, "vaulted", func(state string) bool { return state != "connected" })
		}))
		names, err := s.REST().Accounts(ctx)
		must(t, err)
		if !slices.Contains(names, "vaulted") || !slices.Contains(names, "demo") {
			t.Errorf("accounts %v", names)
		}
		must(t, s.Start(ctx, "agent", 0))
		s.deploys(ctx, "vaulted", 1, "four")
	})
	t.Run("a removed entry takes the account out", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		began := time.Now()
		s.write(file)
		must(t, s.listed(ctx, "vaulted", false))
		t.Logf("out of Clouddriver's list after %s", time.Since(began).Round(time.Millisecond))
		must(t, s.listed(ctx, "demo", true))
	})
	t.Run("the name of another cluster is refused, and both ends say so", s.anotherCluster)
	t.Run("the cleanup of a Clouddriver that starts without its bridge leaves all rows", func(t *testing.T) { s.cleanupWithoutBridge(t, s.watchDeletions()) })
}

func (s *site) defaults(t *testing.T) {
	ctx := within(t, time.Minute)
	file := filepath.Join(s.Dir(), "bridge-0", "fairlead-bridge.yml")
	config := readConfig(t, file)
	before := s.relists(ctx)
	said := len(logOf(t, s.Agents[0].Log))
	config["accounts"] = map[string]any{"policies": []any{map[string]any{"accounts": []any{"vault*"}, "logLevel": "debug", "limits": map[string]any{"operationsAtOnce": 1, "requestsPerSecond": 50}}}}
	must(t, writeConfig(file, config))
	began := time.Now()
	must(t, testenv.Wait(ctx, func(context.Context) error {
		if !strings.Contains(logOf(t, s.Agents[0].Log)[said:], "gives the account other settings") {
			return errors.New("the agent has not been told")
		}
		return nil
	}))
	t.Logf("an agent has other limits %s after the bridge's file was changed", time.Since(began).Round(time.Millisecond))
	s.deploys(ctx, "vaulted", 1, "limited")
	for watch, n := range s.relists(ctx) {
		if n != before[watch] {
			t.Errorf("watch %s was listed %d times, before %d", watch, n, before[watch])
		}
	}
	config["cache"] = map[string]any{"policies": []any{map[string]any{"accounts": []any{"vault*"}, "omitKinds": []any{"job"}}}}
	must(t, writeConfig(file, config))
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		live := s.watches(ctx)["vaulted"]["live"]
		if len(live) < 5 || slices.ContainsFunc(live, func(w watch) bool { return w.Kind == "job" }) {
			return fmt.Errorf("watched are %v", live)
		}
		return nil
	}))
	for watch, n := range s.relists(ctx) {
		if strings.HasPrefix(watch, "demo ") && n != before[watch] {
			t.Errorf("another account's watch %s was listed %d times, before %d", watch, n, before[watch])
		}
	}
}

func (s *site) anotherCluster(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	config := readConfig(t, s.Agents[1].Config)
	entry := config["kubernetes"].(map[string]any)["accounts"].([]any)[0].(map[string]any)
	entry["name"] = "demo"
	must(t, writeConfig(s.Agents[1].Config, config))
	var said string
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		var accounts []struct {
			Config struct{ Name string }
			State  struct{ Error string }
		}
		if err := s.ask(ctx, 1, "/accounts", &accounts); err != nil {
			return err
		}
		for _, a := range accounts {
			if a.Config.Name == "demo" && strings.Contains(a.State.Error, "is another cluster already") {
				said = a.State.Error
				return nil
			}
		}
		return fmt.Errorf("the agent shows %+v", accounts)
	}))
	t.Log(said)
	must(t, testenv.Wait(ctx, func(context.Context) error {
		log, err := os.ReadFile(s.Bridges[0].Log)
		if err == nil && !strings.Contains(string(log), "is another cluster already") {
			err = errors.New("the bridge's log does not say so")
		}
		return err
	}))
	// The name still is the first cluster.
	s.deploys(ctx, "demo", 1, "first")
	kube, err := s.Kube(0)
	must(t, err)
	if _, err := kube.AppsV1().Deployments("accounts-demo").List(ctx, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// brokenStock gives Clouddriver two accounts of its own that do not work: one without a kubectl, one whose kubeconfig is not there.
func brokenStock(config map[string]any) {
	kubernetes := config["kubernetes"].(map[string]any)
	accounts, _ := kubernetes["accounts"].([]any)
	kubernetes["accounts"] = append(accounts,
		map[string]any{"name": "aa-no-kubectl", "kubectlExecutable": "/nonexistent/kubectl", "kubeconfigFile": "/dev/null", "providerVersion": "V2"},
		map[string]any{"name": "aa-no-kubeconfig", "kubeconfigFile": "/nonexistent/kubeconfig", "providerVersion": "V2"})
}
