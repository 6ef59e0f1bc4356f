package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

func TestMain(m *testing.M) {
	// The default transport, as the program uses it, keeps connections for the next call.
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

// fairlead runs the program.
func fairlead(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	c := command()
	var out, problems bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&problems)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), problems.String(), err
}

func TestOperatorsTalkToARealBridge(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", b.Config.Admin.TokenFile)
	contains := func(args string, wants ...string) string {
		t.Helper()
		out, _, err := fairlead(t, strings.Fields(args)...)
		if err != nil {
			t.Fatalf("fairlead %s: %v", args, err)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("fairlead %s: no %q in\n%s", args, want, out)
			}
		}
		return out
	}
	fails := func(args string, wants ...string) {
		t.Helper()
		out, stderr, err := fairlead(t, strings.Fields(args)...)
		if err == nil {
			t.Fatalf("fairlead %s went well:\n%s", args, out)
		}
		for _, want := range wants {
			if !strings.Contains(err.Error()+stderr, want) {
				t.Errorf("fairlead %s: no %q in %v", args, want, err)
			}
		}
	}

	contains("status", "test-bridge", "sha256:", "PROBLEMS     none", "No agent is connected.")
	var status struct{ Bridge, CaPin string }
	if err := json.Unmarshal([]byte(contains("status -o json")), &status); err != nil || status.Bridge != "test-bridge" || status.CaPin == "" {
		t.Errorf("%+v, %v", status, err)
	}
	contains("accounts list", "No account is known")
	contains("token list", "There is no enrolment token")

	var token struct{ ID, Token string }
	if err := json.Unmarshal([]byte(contains("token create --accounts prod-*,stage --ttl 720h --description prod -o json")), &token); err != nil || !strings.HasPrefix(token.Token, "flt_") {
		t.Fatalf("%+v, %v", token, err)
	}
	contains("token create --accounts *", "TOKEN", "flt_", "clouddriver.tls.pin")
	if out := contains("token list", token.ID, "prod-*, stage", "in 29d", "never"); strings.Contains(out, token.Token) {
		t.Error("the list shows a token")
	}
	contains("token revoke "+token.ID, "is revoked")
	contains("token list", "revoked")
	fails("token revoke nothing", `token "nothing": no such token`)
	fails("token create --accounts a/b", `pattern "a/b"`)
	fails("token create", `--accounts: is not set`)

	d.Exec(t, `INSERT INTO fairlead_account VALUES ('prod', 'prod', '{"name":"prod"}', '{"serverVersion":"v1.34.2","namespaces":["a","b"]}', 'agent-1', 1000, FALSE, 1)`)
	b.Until("the bridge knows the account", func() bool { out, _, _ := fairlead(t, "accounts", "list"); return strings.Contains(out, "prod") })
	contains("accounts list", "stale", "agent-1", "v1.34.2", "  2  ")
	fails("kubectl nobody -- get pod", `account "nobody" is not known`)
	fails("kubectl prod get pod", "fairlead kubectl ACCOUNT -- ARGUMENT")
	// Nobody serves it: kubectl's form on standard error, and kubectl's exit code.
	_, stderr, err := fairlead(t, "kubectl", "prod", "--", "-o", "json", "get", "pod", "x")
	var exit exitCode
	if !errors.As(err, &exit) || exit != 1 || !strings.Contains(stderr, `agent for account "prod" is not connected`) {
		t.Errorf("%v, %q", err, stderr)
	}
	_, stderr, err = fairlead(t, "kubectl", "prod", "--", "drain", "node")
	if !errors.As(err, &exit) || exit != 1 || !strings.HasPrefix(stderr, "error: ") {
		t.Errorf("%v, %q", err, stderr)
	}
	fails("accounts remove prod", "--yes")
	contains("accounts remove prod --yes", "Account prod was removed, with 0 rows")
	fails("accounts remove prod --yes", "is not known")
}

func TestMistakesAreAnsweredWithWhatToDo(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("fla_wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", "")
	token := []string{"--token-file", b.Config.Admin.TokenFile}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"status", "--bridge", b.URL}, "--token-file: is not set"},
		{[]string{"status", "--bridge", b.URL, "--token-file", "/absent"}, "--token-file: open /absent"},
		{[]string{"status", "--bridge", b.URL, "--token-file", empty}, "does not hold one token"},
		{[]string{"status", "--bridge", b.URL, "--token-file", wrong}, "does not know the token of " + wrong},
		{[]string{"kubectl", "--bridge", b.URL, "--token-file", wrong, "prod", "--", "get", "pod"}, "does not know the token of " + wrong},
		{append([]string{"status", "--bridge", "http://127.0.0.1:1"}, token...), "no bridge answers at http://127.0.0.1:1"},
		{append([]string{"status", "--bridge", "127.0.0.1:8082"}, token...), "is no address; write http://127.0.0.1:8082"},
		{append([]string{"status", "--bridge", other.URL}, token...), "is not a bridge's admin API"},
		{append([]string{"status", "--bridge", b.URL, "-o", "xml"}, token...), `"xml" is none of table, wide, json, yaml`},
		{append([]string{"statos"}, token...), `unknown command "statos"`},
	} {
		if out, _, err := fairlead(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("fairlead %s: %v %s\nwant %q", strings.Join(c.args, " "), err, out, c.want)
		}
	}
}
