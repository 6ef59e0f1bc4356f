package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

// up brings everything up, and gives all agents tokens for every account.
func up(t *testing.T, options testenv.Options) *site {
	t.Helper()
	s := &site{t: t, Env: testenv.UpForTest(t, options)}
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
	if s.Vault != nil {
		s.config["secrets"] = map[string]any{"refreshSeconds": 2, "vault": map[string]any{"enabled": true, "authMethod": "TOKEN", "url": s.Vault.TLSURL,
			"tokenFile": s.Vault.TokenFile, "noProxy": true, "tls": map[string]any{"cacertFile": s.Vault.CAFile}}}
		must(t, writeConfig(s.Agents[0].Config, s.config))
	}
	must(t, s.Restart(ctx, "agent", 0, false))
	return s
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

// watch is what an agent shows of one.
type watch struct {
	Kind    string
	Relists int
}

// watches are the first agent's, by account and state.
func (s *site) watches(ctx context.Context) (all map[string]map[string][]watch) {
	s.t.Helper()
	must(s.t, s.ask(ctx, 0, "/watches", &all))
	return all
}

// relists counts how often each of the first agent's watches was listed anew, by "account kind".
func (s *site) relists(ctx context.Context) map[string]int {
	s.t.Helper()
	counts := map[string]int{}
	for account, states := range s.watches(ctx) {
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
