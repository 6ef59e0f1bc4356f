package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOneAccountCannotFillTheTables(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := newBench(t, d, cache.Options{MaximumApplications: 5, MaximumLinks: 5})
	greedy, modest := b.attach("greedy"), b.attach("modest")
	application := func(account string, n int) *linkv1.Change {
		return put(account, key("applications", "", fmt.Sprint("app-", n)), "")
	}
	link := func(n int) *linkv1.Change { return connect(key("applications", "", "app-0"), pod(fmt.Sprint("p-", n))) }
	rejects := func(epoch uint64, account, reason string, changes ...*linkv1.Change) {
		t.Helper()
		r := b.write(account, epoch, changes...)
		if r.Err != nil || len(r.Rejected) != len(changes) {
			t.Fatalf("%v, rejected %v", r.Err, r.Rejected)
		}
		if got := r.Rejected[0].GetReason(); !strings.Contains(got, reason) {
			t.Errorf("rejected because %q, want %q", got, reason)
		}
	}
	for round := range 4 {
		// What is put again is no more than before, however often.
		for n := range 5 {
			b.mustWrite("greedy", greedy, application("greedy", n), link(n))
		}
		b.mustWrite("modest", modest, application("modest", round))
	}
	// The cap holds in the write that meets it: what is there already goes through, and so does what there is room for.
	partly := b.write("modest", modest, application("modest", 4), application("modest", 5), application("modest", 0), application("modest", 6), application("modest", 4))
	if partly.Err != nil || len(partly.Rejected) != 2 {
		t.Errorf("%v, rejected %v", partly.Err, partly.Rejected)
	}
	rejects(greedy, "greedy", "has 5 applications, the limit (cache.maximumApplications)", application("greedy", 6), application("greedy", 7))
	rejects(greedy, "greedy", "has 5 links, the limit (cache.maximumLinks)", link(6))
	// Everything else goes on, and so do others.
	b.mustWrite("greedy", greedy, put("greedy", pod("p"), "1"), remove(pod("p")))
	b.mustWrite("modest", modest, application("modest", 3), connect(key("applications", "", "app-0"), pod("p")))
	if n := d.Count(t, "cats_v1_applications", "agent LIKE 'greedy/%'"); n != 5 {
		t.Errorf("%d applications of the greedy account", n)
	}
	if n := d.Count(t, "cats_v1_applications_rel", "rel_agent LIKE '%greedy/%'"); n != 5 {
		t.Errorf("%d links of the greedy account", n)
	}
}

// TestManyWritesUnderWayHoldACapTogether has writes queued faster than they are committed.
func TestManyWritesUnderWayHoldACapTogether(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := newBench(t, d, cache.Options{MaximumApplications: 50, Workers: 1})
	epoch := b.attach("greedy")
	var under []<-chan cache.Result
	for n := range 40 {
		var changes []*linkv1.Change
		for m := range 5 {
			changes = append(changes, put("greedy", key("applications", "", fmt.Sprint("app-", n*5+m)), ""))
		}
		under = append(under, b.submit("greedy", epoch, changes...))
	}
	rejected := 0
	for _, r := range under {
		rejected += len(b.await(r).Rejected)
	}
	if n := d.Count(t, "cats_v1_applications", "agent LIKE 'greedy/%'"); n != 50 || rejected != 150 {
		t.Errorf("%d applications, %d rejected", n, rejected)
	}
}

// TestOnlyKindsOfThePolicyGetTables has an agent send rows, links and deletions of whatever it likes.
func TestOnlyKindsOfThePolicyGetTables(t *testing.T) {
	d := storetest.Start(t).Database(t)
	policies := map[string]*linkv1.CachePolicy{
		"plain":  {},
		"named":  {Kinds: []string{"deployment", "rs", "CronTab.stable.example.com", "vs"}, OmitKinds: []string{"rs"}},
		"all":    {All: true, OmitKinds: []string{"secret"}},
		"beyond": {Kinds: []string{"pod"}},
	}
	b := newBench(t, d, cache.Options{Policy: func(account string) *linkv1.CachePolicy { return policies[account] }})
	of := func(typ string) *linkv1.Key { return key(typ, "ns", "x") }
	for account, c := range map[string]struct{ stored, rejected []string }{
		"plain": {[]string{"pod", "applications", "clusters", "networkPolicy"}, []string{"secret", "CronTab.stable.example.com", "event"}},
		// Two kinds of the policy may be spelt in ways that only an API server knows: two further types, and no more.
		"named": {[]string{"deployment", "CronTab.stable.example.com", "VirtualService.networking.istio.io", "configMap"}, []string{"replicaSet", "pod", "Gateway.networking.istio.io", "service"}},
		"all":   {[]string{"configMap", "Widget.example.com"}, []string{"secret"}},
	} {
		epoch := b.attach(account)
		for _, typ := range c.stored {
			if r := b.write(account, epoch, put(account, of(typ), "1")); r.Err != nil || len(r.Rejected) != 0 {
				t.Errorf("%s, %s: %v %v", account, typ, r.Err, r.Rejected)
			}
		}
		for _, typ := range c.rejected {
			r := b.write(account, epoch, put(account, of(typ), "1"), connect(of("deployment"), of(typ)), connect(of(typ), of("deployment")))
			if r.Err != nil || len(r.Rejected) != 3 || !strings.Contains(r.Rejected[0].GetReason(), "is not cached for this account: cache.policies") {
				t.Errorf("%s, %s: %v %v", account, typ, r.Err, r.Rejected)
			}
		}
	}
	epoch := b.attach("beyond")
	r := b.write("beyond", epoch, remove(of("Forged.example.com")), disconnect(of("Forged.example.com"), of("pod")), put("beyond", of("pod"), "1"))
	if r.Err != nil || len(r.Rejected) != 0 {
		t.Errorf("deletions of what is not there: %v %v", r.Err, r.Rejected)
	}
	// A policy that changes while the bridge runs holds from the next write on.
	policies["beyond"] = &linkv1.CachePolicy{Kinds: []string{"service"}}
	if r := b.write("beyond", epoch, put("beyond", of("service"), "1"), put("beyond", of("pod"), "2")); r.Err != nil || len(r.Rejected) != 1 || r.Rejected[0].GetGroup().GetType() != "pod" {
		t.Errorf("after a change of policy: %v %v", r.Err, r.Rejected)
	}
	rows, _, err := b.store.CacheTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range rows {
		for _, forged := range []string{"Forged", "Gateway", "event", "secret"} {
			if strings.Contains(table, forged) {
				t.Errorf("there is a table %s", table)
			}
		}
	}
}
