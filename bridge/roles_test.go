package bridge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

// reads are the calls that every role may make. Whoever adds a procedure to the admin API has to say here that it only reads; else it is taken for
// a change that an operator alone may make.
var reads = []string{"GetStatus", "ListAccounts", "ListTokens", "ListAudit", "ListOperations", "ListOperationsModes", "GetAccount", "ListAgents", "Diagnose", "ListDynamicAccounts"}

func TestRolesMayWhatTheyMayAndEveryChangeIsAudited(t *testing.T) {
	b := bridgetest.Run(t, bridgetest.Configure(t, storetest.Start(t).Database(t).DSN))
	b.UntilReady()
	first, err := os.ReadFile(b.Config.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	operator := person{t: t, b: b, token: strings.TrimSpace(string(first))}
	viewer := operator.makes(&adminv1.CreateTokenRequest{Role: "viewer"})
	keeper := operator.makes(&adminv1.CreateTokenRequest{Role: "account-manager", Accounts: []string{"team-a-*"}})

	methods := adminv1.File_fairlead_admin_v1_admin_proto.Services().ByName("AdminService").Methods()
	for i := range methods.Len() {
		method := methods.Get(i)
		if method.IsStreamingServer() {
			continue // below
		}
		name := string(method.Name())
		for who, p := range map[string]person{"a viewer": viewer, "the manager of other accounts": keeper} {
			code, said := p.post(name, "{}")
			if read := slices.Contains(reads, name); read == (code == http.StatusForbidden) || code == http.StatusUnauthorized {
				t.Errorf("%s: %s may not what it may, or may more: %d %s", name, who, code, said)
			}
		}
		if code, _ := (person{t: t, b: b, token: "fla_guessed"}).post(name, "{}"); code != http.StatusUnauthorized {
			t.Errorf("%s with a guessed token: %d", name, code)
		}
	}
	for name, c := range map[string]struct {
		who  person
		body string
		code int
	}{
		"RemoveAccount":            {keeper, `{"name":"team-a-1"}`, http.StatusNotFound},
		"RemoveAccount of others":  {keeper, `{"name":"team-b"}`, http.StatusForbidden},
		"CreateToken":              {keeper, `{"accounts":["team-a-x*"]}`, http.StatusOK},
		"CreateToken beyond":       {keeper, `{"accounts":["team-a-1","team-*"]}`, http.StatusForbidden},
		"CreateToken for all":      {keeper, `{"accounts":["*"]}`, http.StatusForbidden},
		"CreateToken for a person": {keeper, `{"accounts":["team-a-*"],"role":"account-manager"}`, http.StatusForbidden},
		"CreateToken, no role":     {operator, `{"accounts":["a"],"role":"root"}`, http.StatusBadRequest},
		"CreateToken, both":        {operator, `{"accounts":["a"],"role":"viewer"}`, http.StatusBadRequest},
		"CreateToken, uses":        {operator, `{"role":"viewer","uses":1}`, http.StatusBadRequest},
		"RotateKey":                {operator, `{}`, http.StatusOK},
	} {
		method, _, _ := strings.Cut(strings.ReplaceAll(name, ",", " "), " ")
		if method == "RotateKey" {
			b.Until("the bridge has told which keys it has", func() bool { code, _ := operator.post("RotateKey", "{}"); return code == http.StatusOK })
		}
		if code, said := c.who.post(method, c.body); code != c.code {
			t.Errorf("%s: %d %s, want %d", name, code, said, c.code)
		}
	}
	// A manager revokes what it could have made, and no person's.
	for id, want := range map[string]int{viewer.id: http.StatusForbidden, operator.makes(&adminv1.CreateTokenRequest{Accounts: []string{"team-b"}}).id: http.StatusForbidden,
		operator.makes(&adminv1.CreateTokenRequest{Accounts: []string{"team-a-2"}}).id: http.StatusOK} {
		if code, said := keeper.post("RevokeToken", `{"id":"`+id+`"}`); code != want {
			t.Errorf("revoke: %d %s, want %d", code, said, want)
		}
	}
	for who, want := range map[person]connect.Code{viewer: connect.CodePermissionDenied, keeper: connect.CodePermissionDenied, operator: connect.CodeNotFound} {
		if code := who.execute("team-b"); code != want {
			t.Errorf("kubectl on another's account: %s, want %s", code, want)
		}
	}
	if code := keeper.execute("team-a-9"); code != connect.CodeNotFound {
		t.Errorf("kubectl on the own account: %s", code)
	}
	if code, _ := b.As(viewer.token).Get("/debug/pprof/heap"); code != http.StatusForbidden {
		t.Errorf("a viewer may see the heap: %d", code)
	}
	// Each of them, done or refused, is in the trail with its actor.
	_, trail := viewer.post("ListAudit", `{"limit":1000}`)
	for _, want := range []string{`"actor":"admin.tokenFile"`, `"actor":"token ` + keeper.id, `"action":"token.create"`, `"action":"account.remove"`, `"action":"key.rotate"`, "permission_denied", `"outcome":"ok"`} {
		if !strings.Contains(trail, want) {
			t.Errorf("the trail lacks %s", want)
		}
	}
	if strings.Contains(trail, "fla_") || strings.Contains(trail, "flt_") {
		t.Error("a token is in the trail")
	}
	// A person's token ends as any other, and opens no session.
	if code, _ := operator.post("RevokeToken", `{"id":"`+viewer.id+`"}`); code != http.StatusOK {
		t.Error("the viewer's token cannot be revoked")
	}
	if code, _ := viewer.post("GetStatus", "{}"); code != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", code)
	}
}

// person calls the admin API.
type person struct {
	t     *testing.T
	b     *bridgetest.Bridge
	token string
	id    string
}

func (p person) post(method, body string) (int, string) {
	p.t.Helper()
	return p.b.As(p.token).Post("/fairlead.admin.v1.AdminService/"+method, body)
}

// makes makes a token and returns its holder.
func (p person) makes(r *adminv1.CreateTokenRequest) person {
	p.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		p.t.Fatal(err)
	}
	code, said := p.post("CreateToken", string(text))
	var made struct{ ID, Token string }
	if err := json.Unmarshal([]byte(said), &made); err != nil || code != http.StatusOK {
		p.t.Fatal(code, said, err)
	}
	return person{t: p.t, b: p.b, token: made.Token, id: made.ID}
}

func (p person) execute(account string) connect.Code {
	p.t.Helper()
	client := adminv1connect.NewAdminServiceClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, p.b.URL)
	request := connect.NewRequest(&adminv1.ExecuteRequest{Account: account, Arguments: []string{"get", "pod", "x"}})
	request.Header().Set("Authorization", "Bearer "+p.token)
	stream, err := client.Execute(context.WithoutCancel(p.t.Context()), request)
	if err == nil {
		stream.Receive()
		err = stream.Err()
		_ = stream.Close()
	}
	return connect.CodeOf(err)
}
