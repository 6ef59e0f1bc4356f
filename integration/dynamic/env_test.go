// Package dynamic asserts, with real clusters and a real database, how accounts are given to agents at run time.
package dynamic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"k8s.io/client-go/tools/clientcmd"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// site is an environment of two bridges and two clusters, whose agents say that they are in the zones "one" and "two".
type site struct {
	*testenv.Env

	t *testing.T
}

// zones gives the agents zones by their clusters.
func zones(config map[string]any) {
	accounts := config["kubernetes"].(map[string]any)["accounts"].([]any)
	config["zoneId"] = map[bool]string{true: "one", false: "two"}[accounts[0].(map[string]any)["name"] == "demo"]
}

// give has an agent enrolled anew for these accounts.
func (s *site) give(ctx context.Context, agent int, patterns ...string) {
	s.t.Helper()
	client, err := s.Bridges[0].AdminClient()
	must(s.t, err)
	token, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: patterns}))
	must(s.t, err)
	must(s.t, os.WriteFile(filepath.Join(filepath.Dir(s.Agents[agent].Config), "token"), []byte(token.Msg.GetToken()), 0o600))
	must(s.t, s.Restart(ctx, "agent", agent, false))
}

// kubeconfig is of a service account of its own in a cluster.
func (s *site) kubeconfig(cluster int, user string) string {
	s.t.Helper()
	content, err := testenv.ServiceAccountKubeconfig(s.t.Context(), s.Clusters[cluster].Kubeconfig, user)
	must(s.t, err)
	return string(content)
}

// otherToken is a kubeconfig with another token, and the token that it had.
func otherToken(t *testing.T, kubeconfig, token string) (changed, former string) {
	t.Helper()
	config, err := clientcmd.Load([]byte(kubeconfig))
	must(t, err)
	for _, user := range config.AuthInfos {
		former, user.Token = user.Token, token
	}
	content, err := clientcmd.Write(*config)
	must(t, err)
	return string(content), former
}

// call calls a bridge's REST API. body is text, or becomes JSON; nil: there is none.
func (s *site) call(bridge int, method, path string, body any) (code int, answer string) {
	s.t.Helper()
	var content []byte
	switch b := body.(type) {
	case nil:
	case string:
		content = []byte(b)
	default:
		var err error
		content, err = json.Marshal(b)
		must(s.t, err)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.Bridges[bridge].Admin+path, bytes.NewReader(content))
	must(s.t, err)
	token, err := os.ReadFile(s.Bridges[bridge].AdminTokenFile)
	must(s.t, err)
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	must(s.t, err)
	return got.StatusCode, string(text)
}

// shown is an account as GET /v1/accounts/{name} shows it.
type shown struct {
	Name, State, Reason, Place, Agent, Revision string
}

func (s *site) account(bridge int, name string) shown {
	s.t.Helper()
	var a shown
	if code, text := s.call(bridge, http.MethodGet, "/v1/accounts/"+name, nil); code == http.StatusOK {
		must(s.t, json.Unmarshal([]byte(text), &a))
	}
	return a
}

// until waits until an account is as it should be; it returns how.
func (s *site) until(ctx context.Context, bridge int, name, what string, fits func(shown) bool) (a shown) {
	s.t.Helper()
	must(s.t, testenv.Wait(ctx, func(context.Context) error {
		if a = s.account(bridge, name); !fits(a) {
			return fmt.Errorf("account %s shall be %s: %+v", name, what, a)
		}
		return nil
	}))
	return a
}

func in(state string) func(shown) bool { return func(a shown) bool { return a.State == state } }

// namespaces asks an account's cluster through a bridge.
func (s *site) namespaces(ctx context.Context, bridge int, account string) error {
	client, err := s.Bridges[bridge].AdminClient()
	if err != nil {
		return err
	}
	request := connect.NewRequest(&adminv1.ExecuteRequest{Account: account, Arguments: []string{"-o", "json", "--namespace=default", "get", "configMap", "kube-root-ca.crt"}, TimeoutMs: 20_000})
	token, err := os.ReadFile(s.Bridges[bridge].AdminTokenFile)
	if err != nil {
		return err
	}
	request.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	stream, err := client.Execute(ctx, request)
	if err != nil {
		return err
	}
	defer stream.Close()
	var said bytes.Buffer
	code := int32(-1)
	for stream.Receive() {
		said.Write(stream.Msg().GetStderr())
		if exit, is := stream.Msg().GetFrame().(*adminv1.ExecuteResponse_ExitCode); is {
			code = exit.ExitCode
		}
	}
	if code != 0 {
		return fmt.Errorf("exit code %d: %s %w", code, said.String(), stream.Err())
	}
	return stream.Err()
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
