// Package poison has one account's agent write what could break Clouddriver's views, and asserts that the other account's part of them stays
// as it was: what would break them is rejected, and the rest does no harm.
package poison

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/proto/cats"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

const (
	app      = "shared"
	poisoner = "poisoned"
)

func TestOneAccountsPoisonLeavesTheViewsOfAnotherIntact(t *testing.T) {
	for _, version := range testenv.Versions() {
		t.Run(version, func(t *testing.T) { poisonsAll(t, testenv.UpForTest(t, testenv.Options{Clouddriver: version})) })
	}
}

// poisonsAll tries each poison on one environment.
func poisonsAll(t *testing.T, env *testenv.Env) {
	kube, err := env.Kube(0)
	must(t, err)
	s := &story.Story{REST: env.REST(), Kube: kube, Account: env.Clusters[0].Account, App: app, Namespace: "shop-" + app}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must(t, s.MakeNamespace(ctx))
	_, err = s.Deploy(ctx, s.Manifests(2, "one")...)
	must(t, err)
	_, _, err = s.AwaitViews(ctx, story.Running(2))
	must(t, err)

	admin, err := env.Bridges[0].AdminClient()
	must(t, err)
	made, err := admin.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{poisoner}}))
	must(t, err)
	a := join(t, env.Bridges[0], made.Msg.GetToken(), poisoner)
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		names, err := env.REST().Accounts(ctx)
		if err == nil && !slices.Contains(names, poisoner) {
			err = fmt.Errorf("accounts are %v", names)
		}
		return err
	}))
	before := views(ctx, t, env, s.Account)
	if len(before) < 8 {
		t.Fatalf("only %d views to compare", len(before))
	}
	for _, p := range append(forged(), shaped()...) {
		t.Run(p.name, func(t *testing.T) {
			inv := cats.NewInventory(poisoner, cats.Options{})
			var changes []cats.Change
			for _, object := range p.objects {
				made, err := inv.Put(object)
				must(t, err)
				changes = append(changes, made...)
			}
			if p.forge != nil {
				for i := range changes {
					if changes[i].Kind == cats.PutRow && changes[i].Key.Type != cats.Applications && changes[i].Key.Type != cats.Clusters {
						changes[i].Body = p.forge(changes[i].Body)
					}
				}
			}
			changes = append(changes, p.more...)
			rejected, err := a.send(changes)
			must(t, err)
			t.Logf("%d changes, rejected: %v", len(changes), rejected)
			if p.rejected && len(rejected) == 0 {
				t.Error("nothing was rejected")
			}
			compare(t, before, views(ctx, t, env, s.Account))
			// What was stored goes again.
			_, err = a.send(undo(changes))
			must(t, err)
		})
	}
}

func undo(changes []cats.Change) (back []cats.Change) {
	for _, c := range changes {
		switch c.Kind {
		case cats.PutRow:
			back = append(back, cats.Change{Kind: cats.DeleteRow, Key: c.Key})
		case cats.PutLink:
			back = append(back, cats.Change{Kind: cats.DeleteLink, Link: c.Link})
		case cats.DeleteRow, cats.DeleteLink:
		}
	}
	return back
}

// views asks Clouddriver for what Deck shows of the application, and keeps what is the account's.
func views(ctx context.Context, t *testing.T, env *testenv.Env, account string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range []string{
		"/applications/" + app + "/serverGroups", "/applications/" + app + "/serverGroups?expand=true", "/applications/" + app + "/loadBalancers", "/applications/" + app + "/serverGroupManagers",
		"/applications/" + app + "/clusters", "/applications/" + app + "/clusters/" + account, "/applications/" + app, "/applications?expand=true", "/applications?expand=false",
		"/applications/" + app + "/rawResources", "/firewalls/kubernetes", "/search?q=" + app + "&type=serverGroups&pageSize=500", "/search?q=" + app + "&type=instances&pageSize=500", "/search?q=" + app + "&type=applications&pageSize=500",
	} {
		var answer any
		err := env.REST().Get(ctx, path, &answer)
		var status *testenv.StatusError
		if errors.As(err, &status) && status.Code == 404 {
			continue // this version has no such view
		}
		if err != nil {
			all[path] = "ERROR " + err.Error()
			continue
		}
		text, err := json.Marshal(keep(answer, account))
		must(t, err)
		all[path] = string(text)
	}
	return all
}

// keep drops what belongs to the poisoner, and what changes by itself.
func keep(part any, account string) any {
	switch v := part.(type) {
	case map[string]any:
		if owner, ok := v["account"].(string); ok && owner == poisoner {
			return nil
		}
		out := map[string]any{}
		if v["logicalKind"] == "APPLICATIONS" {
			delete(v, "cluster") // any one of the application's, whose ever it is
		}
		for name, value := range v {
			if name != poisoner && name != "clusterNames" && name != "totalMatches" {
				if kept := keep(value, account); kept != nil {
					out[name] = kept
				}
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		var out []string
		for _, item := range v {
			if s, ok := item.(string); ok && s == poisoner {
				continue
			}
			if kept := keep(item, account); kept != nil {
				text, _ := json.Marshal(kept)
				out = append(out, string(text))
			}
		}
		slices.Sort(out)
		return out
	}
	return part
}

func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if strings.HasPrefix(before[path], "ERROR") {
			t.Fatalf("%s could not be asked before: %s", path, before[path])
		}
		if before[path] != after[path] {
			t.Errorf("%s was\n%.600s\nand is\n%.600s", path, before[path], after[path])
		}
	}
}
