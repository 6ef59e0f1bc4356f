package execute

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// spinnaker is what Clouddriver writes into every manifest.
const spinnaker = `"annotations":{"artifact.spinnaker.io/name":"web","moniker.spinnaker.io/application":"web"}`

func sidecars(annotations string, with bool) string {
	container, env, volume := "", `{"name":"KEPT","value":"1"}`, ""
	if with {
		container = `,{"name":"sidecar","image":"s","volumeMounts":[{"name":"scratch","mountPath":"/x"}]}`
		env += `,{"name":"GONE","value":"2"}`
		volume = `,"volumes":[{"name":"scratch","emptyDir":{}}]`
	}
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web",%s},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},
"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i","env":[%s]}%s]%s}}}}`, annotations, env, container, volume)
}

// shape is what a deployment has in its pods, and who manages it server-side.
type shape struct {
	Containers, Env, Volumes []string
	Appliers                 []string
}

func (w *world) shape() shape {
	w.t.Helper()
	var o struct {
		Metadata metav1.ObjectMeta
		Spec     struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Name string
						Env  []struct{ Name string }
					}
					Volumes []struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(w.kubectl(w.ours, "", "get", "-o", "json", "--show-managed-fields", "deploy", "web").stdout), &o); err != nil {
		w.t.Fatal(err)
	}
	var s shape
	for _, c := range o.Spec.Template.Spec.Containers {
		s.Containers = append(s.Containers, c.Name)
		for _, e := range c.Env {
			s.Env = append(s.Env, e.Name)
		}
	}
	for _, v := range o.Spec.Template.Spec.Volumes {
		s.Volumes = append(s.Volumes, v.Name)
	}
	for _, m := range o.Metadata.ManagedFields {
		if m.Operation == metav1.ManagedFieldsOperationApply {
			s.Appliers = append(s.Appliers, m.Manager)
		}
	}
	return s
}

func TestWhatWasAppliedServerSideBeforeVanishesWithTheManifest(t *testing.T) {
	for _, former := range []string{"kubectl", "old-agent"} {
		for _, serverSide := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, then server-side %v", former, serverSide), func(t *testing.T) {
				w := newWorld(t)
				w.must(w.ours, sidecars(spinnaker, true), "apply", "--server-side", "--field-manager="+former, "-f", "-")
				want := shape{Containers: []string{"c"}, Env: []string{"KEPT"}}
				var flags []string
				if serverSide {
					flags, want.Appliers = []string{"--server-side=true"}, []string{"kubectl"}
				}
				var warned []string
				for range 2 {
					o := w.outcome(t.Context(), apply(sidecars(spinnaker, false), flags...).op(w.ours), &strings.Builder{})
					if len(o.GetFailures()) > 0 {
						t.Fatal(o)
					}
					warned = append(warned, o.GetWarnings()...)
				}
				if diff := cmp.Diff(want, w.shape()); diff != "" {
					t.Error(diff)
				}
				adopted := slices.DeleteFunc(warned, func(s string) bool { return !strings.Contains(s, "was applied server-side under another name before") })
				if want := map[bool]int{true: 0, false: 1}[serverSide && former == "kubectl"]; len(adopted) != want {
					t.Errorf("%d adoptions: %q", len(adopted), warned)
				}
			})
		}
	}
}

func TestWhatOthersOwnTooStays(t *testing.T) {
	w := newWorld(t)
	w.must(w.ours, strings.Replace(sidecars(spinnaker, true), `"replicas":0`, `"replicas":2`, 1), "apply", "--server-side", "--field-manager=old-agent", "-f", "-")
	w.must(w.ours, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2}}`, "apply", "--server-side", "--field-manager=autoscaler", "-f", "-")
	if out := w.run(apply(strings.Replace(sidecars(spinnaker, false), `"replicas":0,`, "", 1)).op(w.ours)); out.exit != 0 {
		t.Fatal(out.stderr)
	}
	if out := w.kubectl(w.ours, "", "get", "deploy", "web", "-o=jsonpath={.spec.replicas}"); out.stdout != "2" {
		t.Errorf("replicas: %s", out.stdout)
	}
	if diff := cmp.Diff(shape{Containers: []string{"c"}, Env: []string{"KEPT"}, Appliers: []string{"autoscaler"}}, w.shape()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsInsideOfSomethingThatOthersOwnTooStays(t *testing.T) {
	w := newWorld(t)
	w.must(w.ours, strings.Replace(sidecars(spinnaker, true), `"replicas":0`, `"replicas":0,"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":3,"maxSurge":4}}`, 1),
		"apply", "--server-side", "--field-manager=old-agent", "-f", "-")
	w.must(w.ours, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"strategy":{"rollingUpdate":{"maxSurge":4}}}}`, "apply", "--server-side", "--field-manager=other", "-f", "-")
	if out := w.run(apply(sidecars(spinnaker, false)).op(w.ours)); out.exit != 0 {
		t.Fatal(out.stderr)
	}
	if out := w.kubectl(w.ours, "", "get", "deploy", "web", "-o=jsonpath={.spec.strategy.rollingUpdate.maxSurge} {.spec.strategy.rollingUpdate.maxUnavailable}"); out.stdout != "4 25%" {
		t.Errorf("surge and unavailable: %s", out.stdout)
	}
	if diff := cmp.Diff(shape{Containers: []string{"c"}, Env: []string{"KEPT"}, Appliers: []string{"other"}}, w.shape()); diff != "" {
		t.Error(diff)
	}
}

// kubectl adopts nothing in this direction, and where Spinnaker has no part nothing differs from it.
func TestObjectsThatSpinnakerDidNotDeployAreLeftAsKubectlLeavesThem(t *testing.T) {
	w := newWorld(t)
	for _, s := range []step{
		apply(sidecars(`"labels":{}`, true), "--server-side=true", "--field-manager=other").checking("deploy/web"), apply(sidecars(`"labels":{}`, false)).checking("deploy/web"),
		apply(sidecars(`"labels":{}`, false), "--server-side=true", "--force-conflicts=true").checking("deploy/web"),
	} {
		w.compare(strings.Join(s.arguments, " "), s)
	}
}

func bigMap(annotations string, keys ...string) string {
	data := `"small":"x"`
	for _, k := range keys {
		data += fmt.Sprintf(`,%q:%q`, k, strings.Repeat("y", 200_000))
	}
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"big",%s},"data":{%s}}`, annotations, data)
}

func TestWhatIsTooLargeForAnAnnotationIsAppliedServerSide(t *testing.T) {
	w := newWorld(t)
	if out := w.kubectl(w.ours, bigMap(spinnaker, "a", "b"), "apply", "-f", "-"); !strings.Contains(out.stderr, "metadata.annotations: Too long") {
		t.Fatalf("kubectl can do it: %s", out.stderr)
	}
	for _, keys := range [][]string{{"a", "b"}, {"b", "c"}, nil, {"a"}, {"c", "d"}, {"d"}} {
		o := w.outcome(t.Context(), apply(bigMap(spinnaker, keys...)).op(w.ours), &strings.Builder{})
		if len(o.GetFailures()) > 0 {
			t.Fatalf("%v: %v", keys, o.GetFailures())
		}
		if large := strings.Contains(strings.Join(o.GetWarnings(), " "), "configmaps/big is applied server-side: its last applied configuration is larger than the 262144 bytes"); large != (len(keys) > 1) {
			t.Errorf("%v: %q", keys, o.GetWarnings())
		}
		var now struct{ Data map[string]string }
		if err := json.Unmarshal([]byte(w.kubectl(w.ours, "", "get", "cm", "big", "-o", "json").stdout), &now); err != nil {
			t.Fatal(err)
		}
		var has []string
		for k := range now.Data {
			has = append(has, k)
		}
		slices.Sort(has)
		if want := append(slices.Clone(keys), "small"); !slices.Equal(has, want) {
			t.Errorf("applied %v, there are %v", want, has)
		}
	}
}

func TestSmallAndLargeObjectsAreAppliedTogetherInTheirOrder(t *testing.T) {
	w := newWorld(t)
	var out strings.Builder
	o := w.outcome(t.Context(), apply(bigMap(spinnaker, "a", "b")+"\n---\n"+configMap).op(w.ours), &out)
	if len(o.GetFailures()) > 0 || o.GetState() != linkv1.Outcome_STATE_DONE {
		t.Fatal(o)
	}
	if big, small := strings.Index(out.String(), `"name":"big"`), strings.Index(out.String(), `"name":"cm"`); big < 0 || small < big {
		t.Errorf("big at %d, small at %d", big, small)
	}
}

func TestConfigurationAndManifestsAskForServerSideApply(t *testing.T) {
	w := newWorld(t)
	managers := func(object string) string {
		return w.kubectl(w.ours, "", "get", object, "-o", `jsonpath={range .metadata.managedFields[*]}{.manager} {.operation},{end}`, "--show-managed-fields").stdout
	}
	asking := strings.Replace(configMap, `"name":"cm"`, `"name":"cm","annotations":{"`+config.ServerSideAnnotation+`":"enabled"}`, 1)
	for _, c := range []struct{ policy, manifest, want string }{
		{"", asking, "kubectl Apply,"},
		{"never", asking, "kubectl-client-side-apply Update,"},
		{"always", configMap, "kubectl Apply,"},
		{"", configMap, "kubectl-client-side-apply Update,"},
	} {
		w.executor = New(w.cluster, Options{ServerSide: config.ServerSideApply{Enabled: c.policy}})
		if out := w.run(apply(c.manifest).op(w.ours)); out.exit != 0 || out.stderr != "" {
			t.Fatal(out.stderr)
		}
		if got := managers("cm/cm"); got != c.want {
			t.Errorf("%q: %s, want %s", c.policy, got, c.want)
		}
		w.must(w.ours, "", "delete", "cm", "cm")
	}
}
