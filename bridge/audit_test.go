package bridge_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// entry is one of the audit trail, as the admin API tells it.
type entry struct{ Actor, Role, Action, Target, Detail, Outcome, RemoteAddress string }

// changes are the calls that change something: what they are called with, and what the trail has to say of them.
var changes = map[string]struct {
	body                    string
	action, target, outcome string
}{
	"RemoveAccount":          {`{"name":"gone"}`, "account.remove", "gone", "is not known"},
	"ReleaseAccount":         {`{"name":"gone"}`, "account.release", "gone", "is not known"},
	"PauseAccount":           {`{"name":"gone"}`, "account.pause", "gone", "is not known"},
	"ResumeAccount":          {`{"name":"gone"}`, "account.resume", "gone", "not_found"},
	"ResyncAccount":          {`{"name":"gone","kind":"pod"}`, "account.resync", "gone", "is not known"},
	"CreateToken":            {`{"accounts":["a-*","b"],"description":"for a"}`, "token.create", "a-*,b", "ok"},
	"RevokeToken":            {`{"id":"000000000000"}`, "token.revoke", "000000000000", "no such token"},
	"Execute":                {"", "account.execute", "gone", "is not known"},
	"RotateKey":              {`{}`, "key.rotate", "", ""},
	"SetOperationsMode":      {`{"pattern":"a-*","mode":"distributed"}`, "operations.mode", "a-*", "ok"},
	"IssuePluginCertificate": {`{"csr":"eA=="}`, "plugin.certificate", "", "csr: is not a certificate request"},
	"GetSupport":             {`{}`, "", "", ""},
	"SetLogLevel":            {`{"level":"info"}`, "", "", "ok"},
	"PutDynamicAccounts":     {`{"definitions":["{\"name\":\"given\",\"kubeconfigContents\":\"x\"}"]}`, "dynamic.put", "given", ""},
	"ChangeDynamicAccounts":  {`{"names":["gone"],"change":"activate"}`, "dynamic.change", "gone", ""},
	"DisconnectAgent":        {`{"agent":"gone"}`, "agent.disconnect", "gone", ""},
}

// TestEachChangeIsInTheTrailDoneOrRefused makes every call that changes something as an operator and as a viewer.
func TestEachChangeIsInTheTrailDoneOrRefused(t *testing.T) {
	b := bridgetest.Run(t, bridgetest.Configure(t, storetest.Start(t).Database(t).DSN))
	b.UntilReady()
	first, err := os.ReadFile(b.Config.Admin.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	operator := person{t: t, b: b, token: strings.TrimSpace(string(first))}
	viewer := operator.makes(&adminv1.CreateTokenRequest{Role: "viewer"})
	latest := func() (list []entry) {
		t.Helper()
		_, text := viewer.post("ListAudit", `{"limit":1000}`)
		var trail struct{ Entries []entry }
		if err := json.Unmarshal([]byte(text), &trail); err != nil {
			t.Fatal(text, err)
		}
		return trail.Entries
	}
	methods := adminv1.File_fairlead_admin_v1_admin_proto.Services().ByName("AdminService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		c, changing := changes[name]
		if slices.Contains(reads, name) == changing {
			t.Errorf("%s: is it a change? Say so in reads or in changes", name)
			continue
		}
		for _, who := range []person{operator, viewer} {
			before := len(latest())
			if name == "Execute" {
				who.execute(c.target)
			} else {
				who.post(name, c.body)
			}
			after := latest()
			if !changing {
				if len(after) != before {
					t.Errorf("%s only reads, and is in the trail: %+v", name, after[0])
				}
				continue
			}
			if len(after) != before+1 {
				t.Errorf("%s: %d entries, want one", name, len(after)-before)
				continue
			}
			e, outcome := after[0], c.outcome
			if who.id != "" {
				outcome = "permission_denied"
			}
			if c.action != "" && e.Action != c.action || c.target != "" && e.Target != c.target || !strings.Contains(e.Outcome, outcome) || e.Action == "" {
				t.Errorf("%s: %+v, want %s of %q: %q", name, e, c.action, c.target, outcome)
			}
			if e.RemoteAddress == "" || who.id == "" && (e.Actor != "admin.tokenFile" || e.Role != "operator") || who.id != "" && (e.Actor != "token "+who.id || e.Role != "viewer") {
				t.Errorf("%s: by %s (%s) from %q", name, e.Actor, e.Role, e.RemoteAddress)
			}
		}
	}
}
