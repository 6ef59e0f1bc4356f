package bridge

import (
	"slices"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestThePluginNamesTheTypesThatAPolicyAddsSoThatTheirRowsAreNotTakenForOrphans(t *testing.T) {
	p := pluginAccounts{policy: (&policies{cache: config.Cache{Policies: []config.CachePolicy{
		{Accounts: []string{"some"}, Kinds: []string{"cm", "crontab"}}, {Accounts: []string{"all"}, All: true},
	}}}).of}
	facts := &linkv1.Facts{CustomResources: []*linkv1.CustomResource{{KubernetesKind: "CronTab.stable.example.com"}, {KubernetesKind: "Other.example.com"}}}
	for account, want := range map[string][]cats.Type{
		"some": {"configMap", "CronTab.stable.example.com"}, "all": {"secret", "event", "CronTab.stable.example.com", "Other.example.com"}, "none": nil,
	} {
		got := p.view(accounts.Account{Declared: &linkv1.Account{Name: account}, Facts: facts}).Types
		for _, typ := range want {
			if !slices.Contains(got, typ) {
				t.Errorf("%s: %s is not in %v", account, typ, got)
			}
		}
		if want == nil && len(got) > 0 || account == "some" && slices.Contains(got, "Other.example.com") {
			t.Errorf("%s: %v", account, got)
		}
	}
}
