package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// inline is a kubeconfig as a dynamic account may have it.
const inline = `{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"https://10.0.0.1:6443"}}],` +
	`"users":[{"name":"u","user":{"token":"s3cret-of-a-cluster"}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`

func definition(name string, more ...string) string {
	text, err := json.Marshal(inline)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"name":%q,"kubeconfigContents":%s%s}`, name, text, strings.Join(more, ""))
}

// apiCase is one call and its answer: docs/dynamic-accounts.md lists them by endpoint and code.
type apiCase struct {
	who, call, body string
	code            int
	answer          string
}

// apiCases run in this order, without any agent.
func apiCases() []apiCase {
	return []apiCase{
		{"nobody", "GET /v1/accounts", "", 401, "token"},
		{"viewer", "GET /v1/accounts", "", 200, `"accounts":[]`},
		{"viewer", "GET /v1/accounts?limit=x", "", 400, "limit"},
		{"viewer", "GET /v1/openapi.json", "", 200, "3.0.3"},
		{"viewer", "POST /v1/accounts", definition("api-a"), 403, "account-manager"},
		{"manager", "POST /v1/accounts", definition("other"), 403, "other"},
		{"operator", "POST /v1/accounts", `nothing`, 400, "JSON"},
		{"operator", "POST /v1/accounts", `[]`, 400, "empty"},
		{"operator", "POST /v1/accounts?dryRun=true", definition("api-a"), 200, `"created"`},
		{"operator", "GET /v1/accounts/api-a", "", 404, "no such"},
		{"manager", "POST /v1/accounts", definition("api-a", `,"labels":{"team":"a"}`), 200, `"INACTIVE"`},
		{"operator", "POST /v1/accounts?createOnly=true", definition("api-a"), 409, `"exists"`},
		{"operator", "POST /v1/accounts", "[" + definition("api-b") + `,{"name":"api-c"}]`, 207, "kubeconfigContents: missing"},
		{"operator", "POST /v1/accounts", definition("API-A"), 409, "differs only in case"},
		{"operator", "GET /v1/accounts?label=team=a", "", 200, `"api-a"`},
		{"operator", "GET /v1/accounts/api-a", "", 200, `"INACTIVE"`},
		{"operator", "PUT /v1/accounts/api-a", definition("api-b"), 400, "the path"},
		{"operator", "PUT /v1/accounts/api-a", definition("api-a", `,"namespaces":["shop"]`), 200, `"updated"`},
		{"operator", "PUT /v1/accounts/api-a", definition("api-a", `,"kubeconfgFile":"x"`), 400, "no such key"},
		{"viewer", "PUT /v1/accounts/api-a", definition("api-a"), 403, "account-manager"},
		{"operator", "POST /v1/accounts/nobody/activate", "", 404, "no such"},
		{"operator", "POST /v1/accounts/api-a/activate?wait=x", "", 400, "wait"},
		{"viewer", "POST /v1/accounts/api-a/activate", "", 403, "account-manager"},
		{"operator", "POST /v1/accounts/api-a/activate?wait=20s", "", 200, "no agent is connected"},
		{"operator", "POST /v1/accounts/api-b/activate", "", 202, `"TO_MIGRATE"`},
		{"operator", "POST /v1/accounts/nobody/deactivate", "", 404, "no such"},
		{"operator", "POST /v1/accounts/api-a/deactivate?wait=20s", "", 200, `"INACTIVE"`},
		{"operator", "DELETE /v1/accounts/nobody", "", 404, "no such"},
		{"manager", "DELETE /v1/accounts/other", "", 403, "other"},
		{"operator", "DELETE /v1/accounts/api-b?wait=20s", "", 200, `"changed"`},

		{"nobody", "GET /armory/accounts", "", 401, "token"},
		{"viewer", "GET /armory/accounts?page=1&limit=10", "", 200, `"total":1`},
		{"viewer", "GET /armory/accounts?page=0", "", 400, "from 1"},
		{"viewer", "GET /armory/accounts/api-a", "", 200, `"source":"clouddriver"`},
		{"viewer", "GET /armory/accounts/nobody", "", 404, "not known"},
		{"operator", "POST /armory/accounts", `[]`, 400, "empty"},
		{"viewer", "POST /armory/accounts", `[{"name":"stored"}]`, 403, "account-manager"},
		{"operator", "POST /armory/accounts", `[{"name":"nobody"}]`, 404, "no stored account"},
		{"operator", "POST /armory/accounts", `[{"name":"stored","zoneId":"eu"}]`, 202, "[]"},
		{"operator", "POST /armory/accounts", `[{"name":"stored"}]`, 409, `["stored"]`},
		{"operator", "GET /armory/accounts/stored", "", 200, `"zoneId":"eu"`},
		{"operator", "POST /armory/accounts/dynamic", definition("armory-a"), 202, "[]"},
		{"operator", "POST /armory/accounts/dynamic", "[" + definition("armory-a") + "," + definition("armory-b") + "]", 409, `["armory-a"]`},
		{"operator", "POST /armory/accounts/dynamic", `{"name":"armory-c","serviceAccount":true}`, 400, "agent's own"},
		{"operator", "POST /armory/accounts/dynamic", `{"name":"armory-c","kubeconfigFile":"/k"}`, 400, "no file"},
		{"viewer", "POST /armory/accounts/dynamic", definition("armory-c"), 403, "account-manager"},
		{"operator", "PUT /armory/accounts/dynamic", "[]", 400, "one account"},
		{"operator", "PUT /armory/accounts/dynamic", definition("armory-b"), 202, "[]"},
		{"operator", "PATCH /armory/accounts", `[{"name":"armory-a","state":"ON"}]`, 400, "neither ACTIVE"},
		{"operator", "PATCH /armory/accounts", `[{"name":"nobody","state":"ACTIVE"}]`, 404, "no such"},
		{"operator", "PATCH /armory/accounts", `[{"name":"armory-a","state":"ACTIVE"}]`, 202, ""},
		{"viewer", "PATCH /armory/accounts", `[{"name":"armory-a","state":"ACTIVE"}]`, 403, "account-manager"},
		{"operator", "PATCH /armory/accounts/dynamic", `[{"name":"armory-b","state":"INACTIVE"}]`, 202, ""},
		{"viewer", "GET /agents/kubernetes/accounts/armory-b", "", 200, `"status":"INACTIVE"`},
		{"viewer", "GET /agents/kubernetes/accounts/nobody", "", 200, "{}"},
		{"viewer", "GET /agents/kubernetes/accounts/armory-b/namespaces", "", 200, "[]"},
		{"operator", "DELETE /armory/accounts", `{}`, 400, "list of names"},
		{"operator", "DELETE /armory/accounts", `["armory-a"]`, 202, ""},
		{"operator", "DELETE /armory/accounts", `["nobody"]`, 404, "no such"},
		{"operator", "DELETE /armory/accounts/armory-b", "", 204, ""},
		{"operator", "DELETE /armory/accounts/nobody", "", 404, "no such"},
		{"viewer", "GET /armory/agents", "", 200, "[]"},
		{"viewer", "GET /armory/agents/nobody", "", 404, "not connected"},
		{"viewer", "GET /armory/clouddrivers", "", 200, `"ready":true`},
		{"viewer", "GET /armory/clouddrivers/test-bridge", "", 200, `"id":"test-bridge"`},
		{"viewer", "GET /armory/clouddrivers/nobody", "", 404, "not running"},
		{"viewer", "GET /armory/clouddrivers/sql/pool/settings", "", 200, "maximumPoolSize"},
		{"operator", "POST /armory/agent/nobody/disconnect", `{}`, 404, "not connected"},
		{"manager", "POST /armory/agent/nobody/disconnect", `{}`, 403, "operator"},
		{"operator", "POST /armory/agent/operations", `{}`, 501, "internal"},
		{"operator", "POST /armory/agent/operationresults", `{}`, 501, "internal"},
		{"operator", "POST /armory/agent/operations/database", `{}`, 501, "internal"},
		{"operator", "POST /armory/agent/assignments", `[]`, 501, "internal"},
	}
}

func TestAccountsAPIAnswersAsDocumented(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	// Clouddriver's own table, as its change sets make it.
	d.Exec(t, `CREATE TABLE accounts (id varchar(255) PRIMARY KEY, type varchar(50), body json, created_at bigint, last_modified_at bigint, last_modified_by varchar(255))`)
	d.Exec(t, `INSERT INTO accounts VALUES ('stored', 'kubernetes', '`+strings.ReplaceAll(definition("stored", `,"type":"kubernetes","cacheThreads":1,"permissions":{}`), `\`, `\\`)+`', 1, 1, 'x')`)
	first, err := os.ReadFile(b.Config.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	operator := person{t: t, b: b, token: strings.TrimSpace(string(first))}
	tokens := map[string]string{"operator": operator.token, "nobody": "fla_guessed",
		"viewer": operator.makes(&adminv1.CreateTokenRequest{Role: "viewer"}).token, "manager": operator.makes(&adminv1.CreateTokenRequest{Role: "account-manager", Accounts: []string{"api-*"}}).token}
	b.Until("the accounts are known", func() bool { code, _ := b.Get("/v1/accounts"); return code == http.StatusOK })
	for _, c := range apiCases() {
		method, path, _ := strings.Cut(c.call, " ")
		code, answer := b.As(tokens[c.who]).Ask(method, path, c.body)
		if code != c.code || !strings.Contains(strings.ReplaceAll(answer, `": `, `":`), c.answer) {
			t.Errorf("%s: %s %s\n got %d %s\nwant %d … %s", c.who, c.call, c.body, code, answer, c.code, c.answer)
		}
		if strings.Contains(answer, "s3cret") {
			t.Errorf("%s shows a credential: %s", c.call, answer)
		}
	}
	if n := d.Count(t, "fairlead_dynamic", "sealed LIKE '%s3cret%' OR definition LIKE '%s3cret%'"); n != 0 {
		t.Error("a credential is in plaintext in the database")
	}
	if n := d.Count(t, "fairlead_audit", "action = 'dynamic.activate' AND target = 'api-a' AND actor = 'admin.tokenFile'"); n != 1 {
		t.Errorf("%d audit entries of the activation", n)
	}
}

func TestAccountsAPICanBeSwitchedOff(t *testing.T) {
	cfg := bridgetest.Configure(t, storetest.Start(t).Database(t).DSN)
	cfg.Accounts.Dynamic.Disabled = true
	b := bridgetest.Run(t, cfg)
	b.UntilReady()
	for _, call := range []string{"POST /v1/accounts", "PUT /v1/accounts/a", "POST /armory/accounts/dynamic", "PUT /armory/accounts/dynamic", "PATCH /armory/accounts", "DELETE /armory/accounts"} {
		method, path, _ := strings.Cut(call, " ")
		body := definition("a")
		switch {
		case method == http.MethodPatch:
			body = `[{"name":"a","state":"ACTIVE"}]`
		case method == http.MethodDelete:
			body = `["a"]`
		}
		if code, answer := b.Ask(method, path, body); code != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", call, code, answer)
		}
	}
}

// TestEndpointsAreDocumentedAsTheyAnswer compares docs/dynamic-accounts.md with the cases above.
func TestEndpointsAreDocumentedAsTheyAnswer(t *testing.T) {
	codes := map[string][]string{}
	var order []string
	for _, c := range apiCases() {
		call, _, _ := strings.Cut(c.call, "?")
		for _, name := range []string{"api-a", "api-b", "nobody", "other", "armory-a", "armory-b", "stored", "test-bridge"} {
			call = strings.ReplaceAll(call, "/"+name, "/NAME")
		}
		code := fmt.Sprint(c.code)
		if codes[call] == nil {
			order = append(order, call)
		}
		if !strings.Contains(strings.Join(codes[call], " "), code) {
			codes[call] = append(codes[call], code)
		}
	}
	var table strings.Builder
	for _, call := range order {
		fmt.Fprintf(&table, "| `%s` | %s |\n", call, strings.Join(codes[call], ", "))
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "dynamic-accounts.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/dynamic-accounts.md does not list the endpoints and codes that are tested:\n%s", table.String())
	}
}
