package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestAccountsComeAtOnceAndAtEachChange(t *testing.T) {
	r := newRegistry(account("a"))
	e := serve(t, r, nil)
	response := e.stream(t.Context(), "WatchAccounts", struct{}{})
	first := next(t, response.Body)
	if !first.Complete || len(first.Accounts) != 1 || first.Accounts[0].Name != "a" || first.Revision == "" {
		t.Fatalf("%+v", first)
	}
	if d := cmp.Diff([]string{"a/KubernetesCoreCachingAgent[1/1]", "a/KubernetesUnregisteredCustomResourceCachingAgent[1/1]"}, first.Accounts[0].CachingAgents); d != "" {
		t.Error(d)
	}
	r.set(false, account("a"), account("b"))
	second := next(t, response.Body)
	if second.Complete || len(second.Accounts) != 2 || second.Revision == first.Revision {
		t.Fatalf("%+v", second)
	}
	r.set(true, account("a"))
	if third := next(t, response.Body); third.Revision != first.Revision {
		t.Errorf("the same list has the revisions %s and %s", first.Revision, third.Revision)
	}
}

func TestAHerdOfChangesIsOneList(t *testing.T) {
	r := newRegistry()
	e := serve(t, r, nil)
	response := e.stream(t.Context(), "WatchAccounts", struct{}{})
	next(t, response.Body)
	all := []Account{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		all = append(all, account(name))
		r.set(true, all...)
	}
	if f := next(t, response.Body); len(f.Accounts) != 5 {
		t.Errorf("%d accounts", len(f.Accounts))
	}
}

func TestAStoppingBridgeEndsTheStreamAtOnce(t *testing.T) {
	e := serve(t, newRegistry(), nil)
	response := e.stream(t.Context(), "WatchAccounts", struct{}{})
	next(t, response.Body)
	started := time.Now()
	go e.stop()
	f := next(t, response.Body)
	if !f.end || f.Error == nil || f.Error.Code != "unavailable" {
		t.Errorf("%+v", f)
	}
	e.stop()
	if took := time.Since(started); took > drainFor/2 {
		t.Errorf("took %s", took)
	}
}

func TestNewAccountsAreHeldFromTheListUntilTheCallerGoes(t *testing.T) {
	r := newRegistry(account("a"))
	e := serve(t, r, nil)
	ctx, leave := context.WithCancel(t.Context())
	list := next(t, e.stream(ctx, "HoldNewAccounts", struct{}{}).Body)
	if !list.Complete || len(list.Accounts) != 1 || len(list.Accounts[0].CachingAgents) == 0 {
		t.Errorf("%+v", list)
	}
	select {
	case <-r.let:
		t.Error("they are not held any more though the caller is there")
	default:
	}
	leave()
	<-r.let

	r = newRegistry(account("a"))
	r.unread = errors.New("the database is away")
	e = serve(t, r, nil)
	if f := next(t, e.stream(t.Context(), "HoldNewAccounts", struct{}{}).Body); !f.end || f.Error == nil || f.Error.Code != "unavailable" || f.Complete {
		t.Errorf("%+v", f)
	}
}

func TestRowsAreClaimedUnderEachNameThatTheyMayCarry(t *testing.T) {
	types, agents := rows(Account{Declared: &linkv1.Account{Name: "a", Kinds: []string{"configMap"}}, Types: []cats.Type{"CronTab.stable.example.com"}})
	for _, want := range []string{"applications", "clusters", "pod", "configMap", "CronTab.stable.example.com"} {
		if !slices.Contains(types, want) {
			t.Errorf("%s is missing in %v", want, types)
		}
	}
	want := []string{"a/CustomKubernetes(CronTab.stable.example.com)[1/1]", "a/KubernetesCoreCachingAgent[1/1]", "a/KubernetesUnregisteredCustomResourceCachingAgent[1/1]"}
	if d := cmp.Diff(want, agents); d != "" {
		t.Error(d)
	}
}

func TestTheDefinitionIsAManagedAccount(t *testing.T) {
	a := Account{
		Declared: &linkv1.Account{
			Name: "prod", Environment: "production", Namespaces: []string{"a", "b"}, OmitKinds: []string{"secret"}, OnlySpinnakerManaged: true,
			Permissions:     map[string]*linkv1.Roles{"READ": {Roles: []string{"dev", "ops"}}, "WRITE": {Roles: []string{"ops"}}},
			CachingPolicies: []*linkv1.CachingPolicy{{KubernetesKind: "replicaSet", MaxEntriesPerAgent: 7}},
			CustomResources: []*linkv1.CustomResource{{KubernetesKind: "CronTab.stable.example.com", SpinnakerKind: "serverGroups", Versioned: true, Namespaced: true}},
		},
		Facts: &linkv1.Facts{CustomResources: []*linkv1.CustomResource{
			{KubernetesKind: "CronTab.stable.example.com", Namespaced: true}, {KubernetesKind: "Bar.example.com"},
		}},
	}
	got, err := json.Marshal(definition(a))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cacheThreads":0,"cachingPolicies":[{"kubernetesKind":"replicaSet","maxEntriesPerAgent":7}],"checkPermissionsOnStartup":false,` +
		`"customResources":[{"deployPriority":"1000","kubernetesKind":"Bar.example.com","namespaced":false,"versioned":false},` +
		`{"kubernetesKind":"CronTab.stable.example.com","namespaced":true,"spinnakerKind":"serverGroups","versioned":true}],` +
		`"environment":"production","kubectlExecutable":"agent://prod","metrics":false,"name":"prod","namespaces":["a","b"],"omitKinds":["secret"],` +
		`"onlySpinnakerManaged":true,"permissions":{"READ":["dev","ops"],"WRITE":["ops"]},"serviceAccount":true}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	if _, err := message(a); err != nil {
		t.Error(err)
	}
}
