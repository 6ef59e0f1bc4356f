package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd/api"
)

const podTemplate = `{"metadata":{"labels":{"app":"x"}},"spec":{"restartPolicy":"RESTART","containers":[{"name":"c","image":"i"}]}}`

func template(restart string) string { return strings.ReplaceAll(podTemplate, "RESTART", restart) }

// one of each kind that is watched by default.
func oneOfEach() map[cats.Type]string {
	selector := `"selector":{"matchLabels":{"app":"x"}},"template":` + template("Always")
	return map[cats.Type]string{
		"deployment":    `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"each"},"spec":{"replicas":0,` + selector + `}}`,
		"replicaSet":    `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"each"},"spec":{"replicas":0,` + selector + `}}`,
		"statefulSet":   `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"each"},"spec":{"serviceName":"each","replicas":0,` + selector + `}}`,
		"daemonSet":     `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"each"},"spec":{` + selector + `}}`,
		"job":           `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"each"},"spec":{"suspend":true,"template":` + template("Never") + `}}`,
		"cronJob":       `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"each"},"spec":{"schedule":"0 0 1 1 *","jobTemplate":{"spec":{"template":` + template("Never") + `}}}}`,
		"pod":           `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"each"},"spec":{"containers":[{"name":"c","image":"i"}]}}`,
		"service":       `{"apiVersion":"v1","kind":"Service","metadata":{"name":"each"},"spec":{"ports":[{"port":80}]}}`,
		"ingress":       `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"each"},"spec":{"defaultBackend":{"service":{"name":"each","port":{"number":80}}}}}`,
		"networkPolicy": `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"each"},"spec":{"podSelector":{}}}`,
	}
}

func TestDefaultKindsAreListedAndFollowed(t *testing.T) {
	b := prepare(t, plane(t), nil)
	b.makeNamespace()
	each := oneOfEach()
	b.make(b.namespace, each["service"])
	b.run()
	b.eventually("all kinds are live", func() bool { return b.sink.isLive(cats.DefaultTypes()...) })
	path := b.namespace + "/each"
	if b.sink.object("service", path) == nil {
		t.Error("what was there before the listing is missing")
	}
	for kind, manifest := range each {
		if kind != "service" {
			b.make(b.namespace, manifest)
		}
	}
	for kind := range each {
		b.eventually(string(kind)+" is there", func() bool { return b.sink.object(kind, path) != nil })
		object := b.sink.object(kind, path)
		metadata := object["metadata"].(map[string]any)
		if metadata["managedFields"] != nil || object["apiVersion"] == "" || object["kind"] == "" || metadata["resourceVersion"] == "" {
			t.Errorf("%s: %v", kind, object)
		}
	}
	if _, err := b.in(b.namespace, "Service").Patch(context.Background(), "each", types.MergePatchType, []byte(`{"metadata":{"labels":{"changed":"yes"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the change is there", func() bool {
		labels, _ := b.sink.object("service", path)["metadata"].(map[string]any)["labels"].(map[string]any)
		return labels["changed"] == "yes"
	})
	b.remove(b.namespace, "Service", "each")
	b.eventually("the service is gone", func() bool { return b.sink.object("service", path) == nil })
	b.eventually("facts are known", func() bool {
		var known bool
		b.sink.get(func() {
			known = b.sink.facts.GetServerVersion() != "" && slices.Contains(b.sink.facts.GetNamespaces(), b.namespace) && slices.Contains(b.sink.facts.GetNamespaces(), "default")
		})
		return known
	})
	b.sink.get(func() {
		if len(b.sink.watches) != 1 || len(b.sink.watches[0]) != 10 || len(b.sink.dropped) > 0 || b.sink.facts.GetProblem() != "" || b.sink.facts.GetAccount() != "acct" {
			t.Errorf("watches %v, dropped %v, facts %v", b.sink.watches, b.sink.dropped, b.sink.facts)
		}
		for kind, n := range b.sink.begins {
			if n != 1 {
				t.Errorf("%s was listed %d times", kind, n)
			}
		}
	})
	for _, k := range b.cluster.Status().Kinds {
		if k.State != "live" || k.Error != "" {
			t.Errorf("%+v", k)
		}
	}
}

func TestAKindOfManyPagesIsCompleteAndItsItemsSayWhatTheyAre(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) { a.Kinds = []string{"cm"}; a.Namespaces = []string{"NAMESPACE"} })
	b.makeNamespace()
	for i := range 1100 {
		b.make(b.namespace, configMap(fmt.Sprintf("many-%04d", i)))
	}
	b.run()
	b.eventually("config maps are live", func() bool { return b.sink.isLive("configMap") })
	if n := len(b.sink.paths("configMap", b.namespace)); n != 1101 { // one is the cluster's own
		t.Errorf("%d config maps", n)
	}
	if o := b.sink.object("configMap", b.namespace+"/many-0000"); o["kind"] != "ConfigMap" || o["apiVersion"] != "v1" {
		t.Error(o)
	}
}

func TestASecretsDataNeverLeavesTheDecoder(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) { a.Kinds = []string{"Secret"} })
	b.makeNamespace()
	secret := func(name string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"aHVudGVyMg==\"}}","keep":"this"}},"data":{"p":"aHVudGVyMg=="}}`, name)
	}
	b.make(b.namespace, secret("before"))
	b.run()
	b.eventually("secrets are live", func() bool { return b.sink.isLive("secret") })
	b.make(b.namespace, secret("after"))
	for _, name := range []string{"before", "after"} {
		path := b.namespace + "/" + name
		b.eventually(name, func() bool { return b.sink.object("secret", path) != nil })
		text, err := json.Marshal(b.sink.object("secret", path))
		if err != nil || strings.Contains(string(text), "aHVudGVyMg") || !strings.Contains(string(text), `"keep":"this"`) || !strings.Contains(string(text), `"type":"Opaque"`) {
			t.Errorf("%s %v", text, err)
		}
	}
}

func definition() string {
	return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"crontabs.watch.example.com"},
"spec":{"group":"watch.example.com","scope":"Namespaced","names":{"plural":"crontabs","singular":"crontab","kind":"CronTab","listKind":"CronTabList","shortNames":["wct"]},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`
}

func TestACustomKindIsWatchedWhileItIsDefined(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) { a.Kinds = []string{"service", "CronTab.watch.example.com"} })
	const kind = "CronTab.watch.example.com"
	b.makeNamespace()
	b.run()
	b.eventually("services are live", func() bool { return b.sink.isLive("service") })
	b.sink.get(func() {
		if b.sink.dropped[kind] == "" || len(b.sink.watches) != 1 || !slices.Equal(b.sink.watches[0], []cats.Type{"service"}) {
			t.Errorf("a kind that is not there: dropped %v, watches %v", b.sink.dropped, b.sink.watches)
		}
	})
	for round := range 2 {
		began := time.Now()
		b.make("", definition())
		b.eventually("the kind is live", func() bool { return b.sink.isLive(kind) })
		t.Logf("live %s after its definition", time.Since(began).Round(time.Millisecond))
		b.make(b.namespace, `{"apiVersion":"watch.example.com/v1","kind":"CronTab","metadata":{"name":"ct"},"spec":{"cron":"* * *"}}`)
		b.eventually("its object is there", func() bool { return b.sink.object(kind, b.namespace+"/ct") != nil })
		b.eventually("facts name it", func() bool {
			var found bool
			b.sink.get(func() {
				for _, c := range b.sink.facts.GetCustomResources() {
					found = found || c.GetKubernetesKind() == kind && c.GetNamespaced()
				}
			})
			return found
		})
		b.remove("", "CustomResourceDefinition", "crontabs.watch.example.com")
		b.eventually("the kind is dropped", func() bool {
			var dropped bool
			b.sink.get(func() { dropped = b.sink.dropped[kind] != "" })
			return dropped
		})
		b.eventually("the definition is gone", func() bool {
			_, err := b.in("", "CustomResourceDefinition").Get(context.Background(), "crontabs.watch.example.com", metav1.GetOptions{})
			return err != nil
		})
		b.eventually("facts forget it", func() bool {
			var none bool
			b.sink.get(func() {
				none = !slices.ContainsFunc(b.sink.facts.GetCustomResources(), func(c *customResource) bool { return c.GetKubernetesKind() == kind })
			})
			return none
		})
		b.sink.get(func() {
			last := b.sink.watches[len(b.sink.watches)-1]
			if len(b.sink.watches) != 3+2*round || !slices.Equal(last, []cats.Type{"service"}) || b.sink.begins["service"] != 1 {
				t.Errorf("watches %v, services listed %d times", b.sink.watches, b.sink.begins["service"])
			}
		})
	}
}

func impersonate(name string) func(*config.Account, *api.Config) {
	return func(_ *config.Account, k *api.Config) {
		for _, u := range k.AuthInfos {
			u.Impersonate = name
		}
	}
}

func role(name, verbs, group, resources string) string {
	return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":%q},"rules":[{"apiGroups":[%q],"resources":[%s],"verbs":[%s]}]}`, name, group, resources, verbs)
}

func binding(kind, role, user string) string {
	return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":%q,"metadata":{"name":%q},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":%q}]}`, kind, role, role, user)
}

func TestAForbiddenKindIsDroppedAfterAWhileAndComesWhenPermitted(t *testing.T) {
	p, through := throughProxy(t, plane(t))
	b := prepare(t, plane(t), func(a *config.Account, k *api.Config) {
		a.Kinds = []string{"cm", "service"}
		impersonate("watcher")(a, k)
		through(a, k)
	})
	name := b.namespace
	b.makeNamespace()
	b.make(b.namespace, configMap("cm"))
	b.make("", role(name, `"list","watch"`, "", `"configmaps"`))
	b.make("", binding("ClusterRoleBinding", name, "watcher"))
	t.Cleanup(func() {
		_ = b.in("", "ClusterRoleBinding").Delete(context.Background(), name, metav1.DeleteOptions{})
		_ = b.in("", "ClusterRole").Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	b.run()
	b.eventually("config maps are live", func() bool { return b.sink.isLive("configMap") })
	b.eventually("services are dropped", func() bool { return b.reason("service") != "" })
	if why := b.reason("service"); !strings.Contains(why, `cannot list resource "services"`) {
		t.Error(why)
	}
	b.eventually("namespaces are missing and it says so", func() bool {
		var problem string
		b.sink.get(func() { problem = b.sink.facts.GetProblem() })
		return strings.Contains(problem, "namespaces cannot be listed") && strings.Contains(problem, "list them in the account's namespaces")
	})
	b.setRules(name, `"configmaps","services","namespaces"`)
	b.eventually("services are live", func() bool { return b.sink.isLive("service") })
	b.eventually("no problem is left", func() bool {
		var fine bool
		b.sink.get(func() {
			fine = b.sink.facts.GetProblem() == "" && slices.Contains(b.sink.facts.GetNamespaces(), name)
		})
		return fine
	})
	// A permission that is taken away: a running watch stays open until it ends, the next request is refused.
	b.setRules(name, `"services","namespaces"`)
	p.set(true)
	p.set(false)
	b.eventually("config maps are dropped", func() bool { return b.reason("configMap") != "" && len(b.sink.paths("configMap", b.namespace)) == 0 })
}

func (b *bench) reason(t cats.Type) string {
	var reason string
	b.sink.get(func() { reason = b.sink.dropped[t] })
	return reason
}

func (b *bench) setRules(name, resources string) {
	b.t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/rules/0/resources","value":[%s]}]`, resources)
	if _, err := b.in("", "ClusterRole").Patch(context.Background(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func TestAnAccountBoundToNamespacesWatchesOnlyThese(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, k *api.Config) {
		a.Kinds, a.Namespaces = []string{"cm"}, []string{"NAMESPACE", "NAMESPACE-b"}
		a.OnlyNamespaced = true
		a.CustomKinds = []config.CustomKind{{Kind: "Foo.example.com", Namespaced: true}}
		impersonate("bound")(a, k)
	})
	other := &bench{t: t, admin: b.admin, namespace: b.namespace + "-b"}
	b.makeNamespace()
	other.makeNamespace()
	name := b.namespace
	b.make("", role(name, `"list","watch"`, "", `"configmaps"`))
	b.make(b.namespace, binding("RoleBinding", name, "bound"))
	t.Cleanup(func() { _ = b.in("", "ClusterRole").Delete(context.Background(), name, metav1.DeleteOptions{}) })
	b.make(b.namespace, configMap("a"))
	b.make(other.namespace, configMap("b"))
	b.run()
	b.eventually("the permitted namespace is live", func() bool { return b.sink.isLive("configMap") })
	if b.sink.object("configMap", b.namespace+"/a") == nil || len(b.sink.paths("configMap", other.namespace)) > 0 {
		t.Error(b.sink.objects["configMap"])
	}
	denied := b.cluster.Status().Kinds[0].DeniedNamespaces
	if !slices.Equal(denied, []string{other.namespace}) {
		t.Error(denied)
	}
	b.sink.get(func() {
		f := b.sink.facts
		if !slices.Equal(f.GetNamespaces(), []string{b.namespace, other.namespace}) || len(f.GetCustomResources()) != 1 || f.GetCustomResources()[0].GetKubernetesKind() != "Foo.example.com" {
			t.Error(f)
		}
	})
	b.make(b.namespace, configMap("later"))
	b.eventually("what comes later is there", func() bool { return b.sink.object("configMap", b.namespace+"/later") != nil })
	b.make(other.namespace, binding("RoleBinding", name, "bound"))
	b.eventually("the other namespace is there when it is permitted", func() bool {
		return b.sink.object("configMap", other.namespace+"/b") != nil && b.sink.isLive("configMap")
	})
	b.make(other.namespace, configMap("later"))
	b.eventually("and followed", func() bool { return b.sink.object("configMap", other.namespace+"/later") != nil })
}

func TestNothingIsReadWhileTheSinkIsFullAndNothingIsLost(t *testing.T) {
	b := on(t, plane(t), func(a *config.Account, _ *api.Config) { a.Kinds = []string{"cm", "service"} })
	b.makeNamespace()
	b.eventually("kinds are live", func() bool { return b.sink.isLive("configMap", "service") })
	hold := make(chan struct{})
	b.sink.get(func() { b.sink.hold["configMap"] = hold })
	for i := range 300 {
		b.make(b.namespace, configMap(fmt.Sprintf("held-%03d", i)))
	}
	b.eventually("the sink is held", func() bool { return b.sink.held.Load() == 1 })
	b.make(b.namespace, oneOfEach()["service"])
	b.eventually("another kind goes on", func() bool { return b.sink.object("service", b.namespace+"/each") != nil })
	if n := len(b.sink.paths("configMap", b.namespace)); n > 1 || b.sink.held.Load() != 1 {
		t.Errorf("%d config maps passed a full sink, %d wait", n, b.sink.held.Load())
	}
	b.sink.get(func() { delete(b.sink.hold, "configMap") })
	close(hold)
	b.eventually("everything is there", func() bool { return len(b.sink.paths("configMap", b.namespace)) == 301 })
	b.sink.get(func() {
		if b.sink.begins["configMap"] != 1 {
			t.Errorf("listed %d times", b.sink.begins["configMap"])
		}
	})
}

func TestObjectsThatTheFilterHidesDoNotShow(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) {
		a.Kinds, a.OnlySpinnakerManaged = []string{"cm"}, true
		a.OmitNamespaces = []string{"default", "kube-system"}
	})
	b.makeNamespace()
	managed := strings.Replace(configMap("managed"), `"metadata":{`, `"metadata":{"annotations":{"moniker.spinnaker.io/application":"app"},`, 1)
	b.make(b.namespace, managed)
	b.make(b.namespace, configMap("other"))
	b.make("default", strings.Replace(managed, `"managed"`, `"`+b.namespace+`"`, 1))
	t.Cleanup(func() { b.remove("default", "ConfigMap", b.namespace) })
	b.run()
	b.eventually("config maps are live", func() bool { return b.sink.isLive("configMap") })
	annotate := func(name, value string) {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"moniker.spinnaker.io/application":%s}}}`, value)
		if _, err := b.in(b.namespace, "ConfigMap").Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if all := b.sink.paths("configMap", b.namespace); !slices.Equal(all, []string{b.namespace + "/managed"}) || len(b.sink.paths("configMap", "default")) > 0 {
		t.Error(all)
	}
	annotate("other", `"app"`)
	b.eventually("it shows when it is managed", func() bool { return b.sink.object("configMap", b.namespace+"/other") != nil })
	annotate("managed", "null")
	b.eventually("it is gone when it is not managed any more", func() bool { return b.sink.object("configMap", b.namespace+"/managed") == nil })
	b.eventually("facts leave out namespaces that are omitted", func() bool {
		var all []string
		b.sink.get(func() { all = b.sink.facts.GetNamespaces() })
		return slices.Contains(all, b.namespace) && !slices.Contains(all, "default")
	})
}
