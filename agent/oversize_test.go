package agent_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// deployment has an argument of so many bytes. An API server takes objects of up to 1.5 MiB.
func deployment(name string, bytes int) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q},"spec":{"replicas":0,"selector":{"matchLabels":{"app":%[1]q}},
"template":{"metadata":{"labels":{"app":%[1]q}},"spec":{"containers":[{"name":"c","image":"i","args":[%q]}]}}}}`, name, strings.Repeat("x", bytes))
}

func TestAnObjectThatIsTooLargeIsReportedAndTheOthersGoOn(t *testing.T) {
	p, kubeconfig := plant(t, "oversize")
	p.make("deployments", deployment("large-listed", 1_400<<10))
	p.make("deployments", deployment("small-listed", 10))
	bridge := &greedy{policy: &linkv1.CachePolicy{Kinds: []string{"deployment", "configMap"}}, largest: 1 << 20, bodies: map[string]int{}}
	_, log := p.watchedBy(t, kubeconfig, bridge)
	has := func(name string) bool { return bridge.has("acct", "deployment", p.namespace+"/"+name) }
	reported := func(name string) func() bool {
		return func() bool {
			return log.has(fmt.Sprintf(`msg="object cannot be stored" account=acct type=deployment key=%s/%s reason="its body of 14`, p.namespace, name)) &&
				log.has("is larger than the bridge's limit of 1048576")
		}
	}
	eventually(t, "the small one has left", func() bool { return has("small-listed") })
	eventually(t, "the large one is reported", reported("large-listed"))
	p.make("deployments", deployment("large-watched", 1_400<<10))
	p.make("deployments", deployment("small-watched", 10))
	eventually(t, "what came later has left", func() bool { return has("small-watched") })
	eventually(t, "the later large one is reported", reported("large-watched"))
	if has("large-listed") || has("large-watched") {
		t.Error("more was sent than the bridge takes")
	}
	smaller := `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["x"]}]`
	in := p.admin.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(p.namespace)
	if _, err := in.Patch(t.Context(), "large-listed", types.JSONPatchType, []byte(smaller), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leaves once it is small enough", func() bool { return has("large-listed") })
}

func TestAnObjectOfOneAndAHalfMegabytesReachesABridgeThatTakesIt(t *testing.T) {
	p, kubeconfig := plant(t, "large")
	p.make("deployments", deployment("large", 1_400<<10))
	bridge := &greedy{policy: &linkv1.CachePolicy{}, largest: 4 << 20, bodies: map[string]int{}}
	p.watchedBy(t, kubeconfig, bridge)
	eventually(t, "it has left", func() bool { return bridge.has("acct", "deployment", p.namespace+"/large") })
}
