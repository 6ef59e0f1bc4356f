// Package accounts asserts on a real Clouddriver, with real clusters and a real Vault, how accounts come by an agent's configuration, how
// their credentials change, and what takes them out again.
package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/integration/story"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// site is an environment whose first agent's configuration the tests change while it runs.
type site struct {
	*testenv.Env

	t      *testing.T
	config map[string]any // of the first agent
}

func TestAccountsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	s := up(t)
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

// up brings everything up, and gives both agents tokens for every account.
func up(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, Env: testenv.UpForTest(t, testenv.Options{Clusters: 2, Vault: true, Configure: brokenStock})}
	ctx := within(t, time.Minute)
	client, err := s.Bridges[0].AdminClient()
	must(t, err)
	for n, agent := range s.Agents {
		token, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"*"}}))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(filepath.Dir(agent.Config), "token"), []byte(token.Msg.GetToken()), 0o600))
		if n > 0 {
			must(t, s.Restart(ctx, "agent", n, false))
		}
	}
	s.config = readConfig(t, s.Agents[0].Config)
	s.config["secrets"] = map[string]any{"refreshSeconds": 2, "vault": map[string]any{"enabled": true, "authMethod": "TOKEN", "url": s.Vault.TLSURL,
		"tokenFile": s.Vault.TokenFile, "noProxy": true, "tls": map[string]any{"cacertFile": s.Vault.CAFile}}}
	must(t, writeConfig(s.Agents[0].Config, s.config))
	must(t, s.Restart(ctx, "agent", 0, false))
	return s
}

// brokenStock gives Clouddriver two accounts of its own that do not work: one without a kubectl, one whose kubeconfig is not there.
func brokenStock(config map[string]any) {
	kubernetes := config["kubernetes"].(map[string]any)
	accounts, _ := kubernetes["accounts"].([]any)
	kubernetes["accounts"] = append(accounts,
		map[string]any{"name": "aa-no-kubectl", "kubectlExecutable": "/nonexistent/kubectl", "kubeconfigFile": "/dev/null", "providerVersion": "V2"},
		map[string]any{"name": "aa-no-kubeconfig", "kubeconfigFile": "/nonexistent/kubeconfig", "providerVersion": "V2"})
}

func (s *site) accounts() []any { return s.config["kubernetes"].(map[string]any)["accounts"].([]any) }

// write gives the first agent these accounts.
func (s *site) write(accounts ...any) {
	s.t.Helper()
	s.config["kubernetes"].(map[string]any)["accounts"] = accounts
	must(s.t, writeConfig(s.Agents[0].Config, s.config))
}

func readConfig(t *testing.T, file string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	var config map[string]any
	must(t, yaml.Unmarshal(content, &config))
	return config
}

func writeConfig(file string, config map[string]any) error {
	content, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".part", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}

// putKubeconfig makes a service account in the second cluster and puts its kubeconfig into Vault.
func (s *site) putKubeconfig(user string) {
	s.t.Helper()
	content, err := testenv.ServiceAccountKubeconfig(s.t.Context(), s.Clusters[1].Kubeconfig, user)
	must(s.t, err)
	if _, err := clientcmd.Load(content); err != nil {
		s.t.Fatal(err)
	}
	_, err = s.Vault.Call(s.t.Context(), http.MethodPost, "secret/data/clusters/second", map[string]any{"data": map[string]any{"kubeconfig": string(content)}})
	must(s.t, err)
}

// revoke makes the tokens of a service account worthless.
func (s *site) revoke(user string) {
	s.t.Helper()
	kube, err := s.Kube(1)
	must(s.t, err)
	must(s.t, kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Delete(s.t.Context(), user, metav1.DeleteOptions{}))
}

func (s *site) listed(ctx context.Context, account string, want bool) error {
	return testenv.Wait(ctx, func(ctx context.Context) error {
		names, err := s.REST().Accounts(ctx)
		if err == nil && slices.Contains(names, account) != want {
			err = fmt.Errorf("accounts %v; %s shall be among them: %v", names, account, want)
		}
		return err
	})
}

// state waits for nothing: it is an error unless the bridge shows the account in a state that fits.
func (s *site) state(ctx context.Context, account string, fits func(string) bool) error {
	client, err := s.Bridges[0].AdminClient()
	if err != nil {
		return err
	}
	answer, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return err
	}
	for _, a := range answer.Msg.GetAccounts() {
		if a.GetName() == account && fits(a.GetState()) {
			return nil
		}
	}
	return fmt.Errorf("account %s: %v", account, answer.Msg.GetAccounts())
}

// ask asks an agent's admin endpoint.
func (s *site) ask(ctx context.Context, agent int, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Agents[agent].Admin+path, nil)
	if err != nil {
		return err
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = got.Body.Close() }()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

// relists counts how often each of the first agent's watches was listed anew, by "account kind".
func (s *site) relists(ctx context.Context) map[string]int {
	s.t.Helper()
	var all map[string]map[string][]struct {
		Kind    string
		Relists int
	}
	must(s.t, s.ask(ctx, 0, "/watches", &all))
	counts := map[string]int{}
	for account, states := range all {
		for _, watches := range states {
			for _, w := range watches {
				counts[account+" "+w.Kind] = w.Relists
			}
		}
	}
	return counts
}

func (s *site) story(ctx context.Context, account string) (*story.Story, error) {
	cluster := 0
	if account != s.Clusters[0].Account {
		cluster = 1
	}
	kube, err := s.Kube(cluster)
	if err != nil {
		return nil, err
	}
	told := &story.Story{REST: s.REST(), Kube: kube, Account: account, App: "accounts", Namespace: "accounts-" + account}
	return told, told.MakeNamespace(ctx)
}

func (s *site) deploy(ctx context.Context, account string, replicas int, setting string) error {
	told, err := s.story(ctx, account)
	if err != nil {
		return err
	}
	_, err = told.Deploy(ctx, told.Manifests(replicas, setting)...)
	return err
}

// deploys deploys and waits until the cached views show it.
func (s *site) deploys(ctx context.Context, account string, replicas int, setting string) {
	s.t.Helper()
	must(s.t, s.deploy(ctx, account, replicas, setting))
	told, err := s.story(ctx, account)
	must(s.t, err)
	_, _, err = told.AwaitViews(ctx, story.Running(replicas))
	must(s.t, err)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
