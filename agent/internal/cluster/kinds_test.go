package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd/api"
)

// by prepares an account that is cached as a policy says.
func by(t *testing.T, policy *linkv1.CachePolicy, change func(*config.Account, *api.Config)) *bench {
	t.Helper()
	b := prepare(t, plane(t), change)
	b.cluster.policy = policy
	return b
}

// watches are the kinds that the sink was told last, nil if none were.
func (b *bench) watches() (last []cats.Type) {
	b.sink.get(func() {
		if n := len(b.sink.watches); n > 0 {
			last = b.sink.watches[n-1]
		}
	})
	return last
}

func TestNoKindIsWatchedUntilTheBridgeHasSaidWhich(t *testing.T) {
	b := by(t, nil, nil)
	b.run()
	b.eventually("facts are known", func() bool {
		known := false
		b.sink.get(func() { known = b.sink.facts.GetServerVersion() != "" && len(b.sink.facts.GetNamespaces()) > 0 })
		return known
	})
	if w := b.watches(); w != nil {
		t.Errorf("watches %v", w)
	}
	b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: []string{"service"}})
	b.eventually("what it said is watched", func() bool { return b.sink.isLive("service") })
	if w := b.watches(); !slices.Equal(w, []cats.Type{"service"}) {
		t.Error(w)
	}
}

func TestAPolicyThatChangesBringsKindsAndTakesKinds(t *testing.T) {
	b := by(t, &linkv1.CachePolicy{Kinds: []string{"cm", "service"}}, nil)
	b.makeNamespace()
	b.make(b.namespace, configMap("cm"))
	b.make(b.namespace, oneOfEach()["service"])
	b.run()
	b.eventually("kinds are live", func() bool { return b.sink.isLive("configMap", "service") })
	b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: []string{"cm", "service"}}) // says nothing new
	b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: []string{"service", "secret"}, OnlySpinnakerManaged: true})
	b.eventually("the new kind is live and the old one is dropped", func() bool {
		return b.sink.isLive("service", "secret") && b.reason("configMap") != "" && len(b.sink.paths("configMap", b.namespace)) == 0
	})
	b.eventually("what is not managed has left", func() bool { return len(b.sink.paths("service", b.namespace)) == 0 })
	if w := b.watches(); !slices.Equal(w, []cats.Type{"secret", "service"}) || b.reason("configMap") != "it is not to be cached any more" {
		t.Error(w, b.reason("configMap"))
	}
	b.sink.get(func() {
		if n := b.sink.begins["service"]; n != 2 {
			t.Errorf("services were listed %d times, want once for each policy", n)
		}
	})
}

func TestAnAccountNarrowsWhatThePolicyWants(t *testing.T) {
	for name, c := range map[string]struct {
		policy         *linkv1.CachePolicy
		kinds, omitted []string
		want           []cats.Type
	}{
		"the default":                           {&linkv1.CachePolicy{}, nil, nil, cats.DefaultTypes()},
		"the account's kinds among the default": {&linkv1.CachePolicy{}, []string{"pods", "deploy", "cm"}, nil, []cats.Type{"deployment", "pod"}},
		"the account's kinds among the given":   {&linkv1.CachePolicy{Kinds: []string{"configMap", "pod"}}, []string{"cm"}, nil, []cats.Type{"configMap"}},
		"omitted by the account":                {&linkv1.CachePolicy{Kinds: []string{"configMap", "pod"}}, nil, []string{"po"}, []cats.Type{"configMap"}},
		"omitted by the policy":                 {&linkv1.CachePolicy{Kinds: []string{"configMap", "pod"}, OmitKinds: []string{"cm"}}, nil, nil, []cats.Type{"pod"}},
		"nothing is left":                       {&linkv1.CachePolicy{}, []string{"cm"}, nil, []cats.Type{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := by(t, c.policy, func(a *config.Account, _ *api.Config) { a.Kinds, a.OmitKinds = c.kinds, c.omitted })
			b.run()
			b.eventually("the kinds are told", func() bool { return b.watches() != nil })
			if w := b.watches(); !slices.Equal(w, c.want) {
				t.Errorf("%v, want %v", w, c.want)
			}
			b.sink.get(func() {
				if len(b.sink.dropped) > 0 {
					t.Errorf("dropped: %v", b.sink.dropped)
				}
			})
		})
	}
}

func TestAllKindsAreThoseOfClouddriverAndCustomResourcesThatComeAndGo(t *testing.T) {
	const kind = "Widget.all.example.com"
	widgets := strings.NewReplacer("crontabs", "widgets", "crontab", "widget", "CronTab", "Widget", "watch.example.com", "all.example.com", "wct", "wdg").Replace(definition())
	b := by(t, &linkv1.CachePolicy{All: true, OmitKinds: []string{"clusterRole"}}, nil)
	b.makeNamespace()
	b.run()
	b.eventually("kinds are live", func() bool {
		return b.sink.isLive("pod", "configMap", "secret", "event", "namespace", "customResourceDefinition", "serviceAccount")
	})
	for _, absent := range []cats.Type{"clusterRole", "podPreset", "Event.events.k8s.io", "Lease.coordination.k8s.io", kind} {
		if slices.Contains(b.watches(), absent) {
			t.Errorf("%s is watched", absent)
		}
	}
	b.sink.get(func() {
		if len(b.sink.dropped) > 0 {
			t.Errorf("kinds that nobody asked for are reported: %v", b.sink.dropped)
		}
	})
	b.make("", widgets)
	b.eventually("the new kind is live", func() bool { return b.sink.isLive(kind) })
	b.remove("", "CustomResourceDefinition", "widgets.all.example.com")
	b.eventually("the kind is dropped", func() bool { return b.reason(kind) != "" && !slices.Contains(b.watches(), kind) })
}

// An aggregated API whose server does not answer: what it has is not known, which is another thing than that it has nothing.
func TestKindsOfAnAPIThatDoesNotAnswerAreNeitherWatchedNorGone(t *testing.T) {
	const kind = "Thing.stale.example.com"
	service := `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.stale.example.com"},"spec":{"group":"stale.example.com","version":"v1",
"groupPriorityMinimum":1000,"versionPriority":10,"insecureSkipTLSVerify":true,"service":{"namespace":"default","name":"nobody"}}}`
	b := by(t, &linkv1.CachePolicy{Kinds: []string{"service", kind}}, nil)
	b.cluster.timing.rediscover = 100 * time.Millisecond
	b.make("", service)
	gone := func() {
		_ = b.in("", "APIService").Delete(context.Background(), "v1.stale.example.com", metav1.DeleteOptions{})
	}
	t.Cleanup(gone)
	b.eventually("the API server knows of the group", func() bool {
		catalog, err := discover(t.Context(), b.cluster.connection, b.cluster.shared)
		return err == nil && catalog.failed["stale.example.com"]
	})
	b.run()
	b.eventually("services are live", func() bool { return b.sink.isLive("service") })
	if w := b.watches(); !slices.Equal(w, []cats.Type{"service", kind}) || b.reason(kind) != "" {
		t.Errorf("watches %v, dropped %q", w, b.reason(kind))
	}
	gone()
	b.eventually("the kind is dropped", func() bool { return b.reason(kind) != "" && slices.Equal(b.watches(), []cats.Type{"service"}) })
}

func TestAKindThatMayBeListedAndNotWatchedIsDroppedAndComesWhenPermitted(t *testing.T) {
	for scope, namespaces := range map[string][]string{"all namespaces": nil, "one namespace": {"NAMESPACE"}} {
		t.Run(scope, func(t *testing.T) {
			user := "lister-" + strings.ReplaceAll(scope, " ", "-")
			b := prepare(t, plane(t), func(a *config.Account, k *api.Config) {
				a.Kinds, a.Namespaces = []string{"cm"}, namespaces
				impersonate(user)(a, k)
			})
			b.makeNamespace()
			b.make(b.namespace, configMap("cm"))
			b.make("", role(b.namespace, `"list"`, "", `"configmaps"`))
			b.make("", binding("ClusterRoleBinding", b.namespace, user))
			t.Cleanup(func() {
				_ = b.in("", "ClusterRoleBinding").Delete(context.Background(), b.namespace, metav1.DeleteOptions{})
				_ = b.in("", "ClusterRole").Delete(context.Background(), b.namespace, metav1.DeleteOptions{})
			})
			b.run()
			b.eventually("config maps are dropped", func() bool { return b.reason("configMap") != "" })
			if why := b.reason("configMap"); !strings.Contains(why, "it may be listed and not watched") || !strings.Contains(why, `cannot watch resource "configmaps"`) {
				t.Error(why)
			}
			if n := len(b.sink.paths("configMap", b.namespace)); n > 0 {
				t.Errorf("%d objects of a dropped kind", n)
			}
			begins := b.begins()
			b.eventually("it is tried again", func() bool { return b.cluster.Status().Kinds[0].State == "forbidden" })
			patch := `[{"op":"replace","path":"/rules/0/verbs","value":["list","watch"]}]`
			if _, err := b.in("", "ClusterRole").Patch(t.Context(), b.namespace, "application/json-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			b.eventually("config maps are live", func() bool { return b.sink.isLive("configMap") && b.sink.object("configMap", b.namespace+"/cm") != nil })
			if n := b.begins(); n != begins+1 {
				t.Errorf("listed %d times while it was known that it may not be watched", n-begins-1)
			}
		})
	}
}

func TestANamespaceThatMayBeListedAndNotWatchedIsLeftOutAndTheOthersShow(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, k *api.Config) {
		a.Kinds, a.Namespaces = []string{"cm"}, []string{"NAMESPACE", "NAMESPACE-b"}
		impersonate("half")(a, k)
	})
	other := &bench{t: t, admin: b.admin, namespace: b.namespace + "-b"}
	b.makeNamespace()
	other.makeNamespace()
	lists, watches := b.namespace, b.namespace+"-both"
	b.make("", role(lists, `"list"`, "", `"configmaps"`))
	b.make("", role(watches, `"list","watch"`, "", `"configmaps"`))
	t.Cleanup(func() {
		for _, name := range []string{lists, watches} {
			_ = b.in("", "ClusterRole").Delete(context.Background(), name, metav1.DeleteOptions{})
		}
	})
	b.make(b.namespace, binding("RoleBinding", watches, "half"))
	b.make(other.namespace, binding("RoleBinding", lists, "half"))
	b.make(b.namespace, configMap("a"))
	b.make(other.namespace, configMap("b"))
	b.run()
	b.eventually("the permitted namespace is live without the other", func() bool {
		return b.sink.isLive("configMap") && b.sink.object("configMap", b.namespace+"/a") != nil && len(b.sink.paths("configMap", other.namespace)) == 0 &&
			slices.Equal(b.cluster.Status().Kinds[0].DeniedNamespaces, []string{other.namespace})
	})
	b.make(other.namespace, binding("RoleBinding", watches, "half"))
	b.eventually("the other namespace is there when it may be watched", func() bool {
		return b.sink.isLive("configMap") && b.sink.object("configMap", other.namespace+"/b") != nil
	})
}

func TestAccountsOfOneAPIServerShareTheRateAtWhichListingsStart(t *testing.T) {
	shared := NewShared()
	made := func(server string) *Cluster {
		c := &Cluster{shared: shared, server: shared.server(server), lists: make(chan struct{}, accountLists), timing: defaultTiming()}
		return c
	}
	a, b, elsewhere := made("https://one"), made("https://one"), made("https://two")
	if a.server != b.server || a.server == elsewhere.server {
		t.Fatal("accounts of one API server share something, others do not")
	}
	a.server.starts.SetLimit(0.001)
	a.server.starts.SetBurst(1)
	if _, err := a.takeTurn(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := b.takeTurn(ctx)
		waiting <- err
	}()
	if _, err := elsewhere.takeTurn(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waiting:
		t.Errorf("a listing started beyond the rate: %v", err)
	default:
	}
	cancel()
	if err := <-waiting; err == nil {
		t.Error("a turn that ended with its context was given")
	}
	if len(b.lists) != 0 {
		t.Error("the account's own turn was not given back")
	}
}

func eventObject(name, at string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":%q},"involvedObject":{"kind":"Pod","namespace":"NAMESPACE","name":"p"},"reason":"r","message":"m","lastTimestamp":%q}`, name, at)
}

func TestEventsLeaveWhenTheyAreTwoHoursOld(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) {
		a.Kinds, a.Namespaces = []string{"events"}, []string{"NAMESPACE"}
	})
	b.makeNamespace()
	event := func(name string, age time.Duration) {
		b.make(b.namespace, strings.ReplaceAll(eventObject(name, time.Now().Add(-age).UTC().Format(time.RFC3339)), "NAMESPACE", b.namespace))
	}
	event("fresh", time.Minute)
	event("old", 3*time.Hour)
	event("soon", 2*time.Hour-3*time.Second)
	b.run()
	b.eventually("events are live", func() bool { return b.sink.isLive("event") })
	if b.sink.object("event", b.namespace+"/fresh") == nil || b.sink.object("event", b.namespace+"/old") != nil {
		t.Error(b.sink.paths("event", b.namespace))
	}
	b.eventually("what becomes old leaves", func() bool { return b.sink.object("event", b.namespace+"/soon") == nil })
	event("later", 2*time.Hour-2*time.Second)
	event("sentinel", time.Minute) // comes after it
	b.eventually("what comes later leaves too", func() bool {
		return b.sink.object("event", b.namespace+"/sentinel") != nil && b.sink.object("event", b.namespace+"/later") == nil
	})
	if b.sink.object("event", b.namespace+"/fresh") == nil {
		t.Error("a fresh event left")
	}
}

func TestACachingPolicyKeepsTheFirstObjectsOfAKind(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) {
		a.Kinds, a.Namespaces = []string{"cm"}, []string{"NAMESPACE"}
		a.CachingPolicies = []*linkv1.CachingPolicy{{KubernetesKind: "configMap", MaxEntriesPerAgent: 3}}
	})
	b.makeNamespace()
	for _, name := range []string{"b", "c", "d", "e"} {
		b.make(b.namespace, configMap(name))
	}
	shows := func(names ...string) func() bool {
		return func() bool {
			var paths []string
			for _, n := range names {
				paths = append(paths, b.namespace+"/"+n)
			}
			return slices.Equal(b.sink.paths("configMap", b.namespace), paths)
		}
	}
	b.run()
	b.eventually("the kind is live", func() bool { return b.sink.isLive("configMap") })
	b.eventually("the first three show", shows("b", "c", "d"))
	b.make(b.namespace, configMap("a"))
	b.eventually("one that comes before them takes the place of the last", shows("a", "b", "c"))
	b.make(b.namespace, configMap("z"))
	b.remove(b.namespace, "ConfigMap", "b")
	b.eventually("one that was left out moves up", shows("a", "c", "d"))
}
