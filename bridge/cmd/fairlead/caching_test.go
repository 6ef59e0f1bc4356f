package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func TestAccountsAreReleasedAndResumedAtARealBridge(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", b.Config.Admin.TokenFile)
	d.Exec(t, `INSERT INTO fairlead_account (name, folded, declaration, facts, agent, last_seen, removing, revision) VALUES ('prod', 'prod', '{"name":"prod"}', '{}', 'agent-1', 1000, FALSE, 1)`)
	d.Exec(t, `CREATE TABLE cats_v1_pod LIKE cats_v1_resource_template`)
	d.Exec(t, `INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES ('kubernetes.v2:infrastructure:pod:prod:n:p', 'prod/KubernetesCoreCachingAgent[1/1]', '', '{}', 1)`)
	b.Until("the bridge knows the account", func() bool { out, _, _ := fairlead(t, "accounts", "list"); return strings.Contains(out, "stale") })
	for _, c := range []struct{ args, want string }{
		{"account resync nobody", `account "nobody" is not known; "fairlead accounts list" shows`},
		{"account resync prod", `account "prod" has no agent at the moment`},
		{"account resync prod --kind a/b", `kind: "a/b" is none of Clouddriver's`},
		{"account release nobody --yes", `account "nobody" is not known`},
		{"account release prod", "say --yes"},
		{"account resume prod", `account "prod" is not released`},
		{"account release prod --yes", ""},
		{"account resync prod", "fairlead accounts resume prod"},
		{"account release prod --yes -o json", ""},
		{"account resume prod", ""},
		{"account resume prod", "is not released"},
	} {
		out, _, err := fairlead(t, strings.Fields(c.args)...)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("fairlead %s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("fairlead %s: %v\n%s\nwant %q", c.args, err, out, c.want)
		}
		switch {
		case strings.HasPrefix(c.args, "account release prod --yes -o"):
			if !strings.Contains(out, `"rowsDeleted"`) {
				t.Error(out)
			}
		case strings.HasPrefix(c.args, "account release prod --yes"):
			if !strings.Contains(out, "Account prod was released, with 1 rows.") || d.Count(t, "cats_v1_pod", "TRUE") != 0 {
				t.Error(out)
			}
			if list, _, err := fairlead(t, "accounts", "list"); err != nil || !strings.Contains(list, "released") {
				t.Errorf("%s %v", list, err)
			}
		}
	}
}

func TestResyncSaysWhatDiffered(t *testing.T) {
	var out bytes.Buffer
	printResync(&out, []*adminv1.ResyncedGroup{{Kind: "pod"}, {Kind: "pod", LinkedKind: "service", Differed: true}, {Kind: "job", Differed: true, GaveUp: true}})
	for _, want := range []string{"KIND\tLINKS TO\tRESULT", "pod\t-\tagreed", "pod\tservice\tdiffered, agrees now", "job\t-\tstill differs"} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
