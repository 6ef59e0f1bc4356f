package parity

import (
	"context"
	"embed"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead/fairlead/testenv/golden"
)

//go:embed testdata
var testdata embed.FS

// oddities are objects of the golden corpus on which stock Clouddriver errs; they are compared by themselves: see stock_test.go.
var oddities = map[string]bool{
	"Service golden/shop-all":         true,
	"Service golden/back-unannotated": true,
	"Service golden/owned-service":    true, // of application Web, beside web
	"Ingress golden/unannotated":      true,
	"Ingress golden/resource-backend": true,
	"StatefulSet golden/unannotated":  true,
}

// leastObjects is what the corpus must not fall below.
const leastObjects = 60

// fixedCorpus is the golden corpus, without what stock Clouddriver errs on and events, and the suite's own.
func fixedCorpus() ([]*unstructured.Unstructured, error) {
	objects, err := golden.Corpus()
	if err != nil {
		return nil, err
	}
	own, err := golden.Objects(testdata, "testdata/corpus/*.yaml")
	if err != nil {
		return nil, err
	}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "Event" || oddities[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()]
	})
	for _, o := range objects {
		// Its pod waits for a volume that never comes; the scheduler would try again and again, and change the pod each time.
		unstructured.RemoveNestedField(o.Object, "spec", "volumeClaimTemplates")
	}
	for _, o := range own {
		fill(o)
	}
	return append(objects, own...), nil
}

// fillAnnotation asks for so many characters of annotation, too many to read in a file.
const fillAnnotation = "parity.example.com/fill"

func fill(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	if n, err := strconv.Atoi(annotations[fillAnnotation]); err == nil {
		annotations[fillAnnotation] = strings.Repeat("größe ", n/6)
		o.SetAnnotations(annotations)
	}
}

// populate creates the corpus and random objects.
func populate(ctx context.Context, kubeconfig string, g *generator) error {
	c, err := golden.OpenCluster(kubeconfig)
	if err != nil {
		return err
	}
	objects, err := fixedCorpus()
	if err != nil {
		return err
	}
	return c.Create(ctx, append(objects, g.objects(60)...))
}

// generator makes random objects. Sources of relations (services, ingresses, stateful sets) have annotations, and a selector of several
// labels shares none with another service's: what stock Clouddriver does otherwise is in stock_test.go.
type generator struct {
	*rand.Rand

	n, services int
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // no secret
}

const randomNamespace = "parity-random"

// objects makes so many.
func (g *generator) objects(count int) []*unstructured.Unstructured {
	objects := make([]*unstructured.Unstructured, 0, count)
	for range count {
		objects = append(objects, g.object())
	}
	return objects
}

func pick[T any](g *generator, items ...T) T { return items[g.IntN(len(items))] }

func (g *generator) object() *unstructured.Unstructured {
	g.n++
	kind := pick(g, "Deployment", "ReplicaSet", "ReplicaSet", "StatefulSet", "Job", "Pod", "Service", "Service", "Ingress", "NetworkPolicy", "ConfigMap")
	versions := map[string]string{
		"Deployment": "apps/v1", "ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1", "Pod": "v1", "Service": "v1",
		"Ingress": "networking.k8s.io/v1", "NetworkPolicy": "networking.k8s.io/v1", "ConfigMap": "v1",
	}
	name := g.name()
	switch kind {
	case "Service":
		g.services++
		name = "balance-" + strconv.Itoa(g.services)
	case "StatefulSet":
		name = strings.ReplaceAll(name, ".", "")
	}
	metadata := map[string]any{"name": name, "namespace": randomNamespace, "labels": g.labels(), "annotations": g.annotations(kind, name)}
	o := map[string]any{"apiVersion": versions[kind], "kind": kind, "metadata": metadata}
	switch kind {
	case "ConfigMap":
		o["data"] = map[string]any{"n": strconv.Itoa(g.n)}
	default:
		o["spec"] = g.spec(kind)
	}
	return &unstructured.Unstructured{Object: o}
}

// name is of Frigga's forms, and of others; it ends with a number that makes it the only one.
func (g *generator) name() string {
	n := strconv.Itoa(g.n)
	return pick(g, "web", "pay", "r", "a.b") + pick(g, "", "-prod", "-prod-eu", "--eu", "-x-y-z") + "-" + n + pick(g, "", "-v000", "-v12", "-v"+strconv.Itoa(100+g.IntN(9e3)))
}

func (g *generator) labels() map[string]any {
	return map[string]any{"color": pick(g, "red", "blue"), "shape": pick(g, "round", "square"), "app.kubernetes.io/name": pick(g, "web", "pay")}
}

func (g *generator) annotations(kind, name string) map[string]any {
	annotations := map[string]any{"parity.example.com/random": strconv.Itoa(g.IntN(1000))}
	if g.IntN(3) > 0 {
		annotations["moniker.spinnaker.io/application"] = pick(g, "random", "chance", "größe", `"quoted"`, "web")
	}
	if g.IntN(2) == 0 {
		annotations["moniker.spinnaker.io/cluster"] = pick(g, "shared cluster", strings.ToLower(kind)+" "+name, "Größe 漢字")
	}
	if g.IntN(4) == 0 {
		annotations["moniker.spinnaker.io/"+pick(g, "stack", "detail", "sequence")] = pick(g, "1", "prod", "7.5")
	}
	if kind == "ReplicaSet" && g.IntN(2) == 0 {
		annotations["traffic.spinnaker.io/load-balancers"] = pick(g, `[]`, `["service absent"]`, `["service a", "service b"]`)
	}
	return annotations
}

func (g *generator) spec(kind string) map[string]any {
	n := strconv.Itoa(g.n)
	template := map[string]any{
		"metadata": map[string]any{"labels": g.templateLabels(n), "annotations": map[string]any{"moniker.spinnaker.io/application": pick(g, "random", "chance")}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "example.com/" + pick(g, "one", "two") + ":" + n}}},
	}
	backend := func() map[string]any {
		return map[string]any{"service": map[string]any{"name": pick(g, "absent", "balance-1", "balance-2", "balance-3"), "port": map[string]any{"number": int64(80)}}}
	}
	switch kind {
	case "Deployment", "ReplicaSet", "StatefulSet":
		spec := map[string]any{"replicas": int64(g.IntN(3)), "selector": map[string]any{"matchLabels": map[string]any{"n": n}}, "template": template}
		if kind == "StatefulSet" {
			spec["serviceName"] = pick(g, "absent", "balance-1", "balance-2")
		}
		return spec
	case "Job":
		pod := template["spec"].(map[string]any)
		pod["restartPolicy"] = "Never"
		delete(template["metadata"].(map[string]any), "labels")
		return map[string]any{"template": template, "suspend": g.IntN(2) == 0}
	case "Pod":
		return template["spec"].(map[string]any)
	case "Service":
		return map[string]any{"selector": g.selector(n), "ports": []any{map[string]any{"port": int64(80)}}}
	case "Ingress":
		return map[string]any{"defaultBackend": backend(), "rules": []any{map[string]any{"host": "h" + n + ".example.com", "http": map[string]any{
			"paths": []any{map[string]any{"path": "/", "pathType": "Prefix", "backend": backend()}},
		}}}}
	case "NetworkPolicy":
		return map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"color": pick(g, "red", "blue")}}}
	}
	return map[string]any{}
}

// templateLabels are what services select by: one that many select by, and those of some of the services with several.
func (g *generator) templateLabels(n string) map[string]any {
	labels := map[string]any{"n": n, "tier": pick(g, "front", "back", "side")}
	for range g.IntN(3) {
		service := strconv.Itoa(1 + g.IntN(max(60, g.n)))
		labels["first-"+service] = "yes"
		if g.IntN(3) > 0 {
			labels["second-"+service] = "yes"
		}
	}
	return labels
}

func (g *generator) selector(n string) map[string]any {
	switch g.IntN(3) {
	case 0:
		return map[string]any{"tier": pick(g, "front", "back", "side")}
	case 1:
		return map[string]any{"first-" + n: "yes", "second-" + n: "yes"}
	}
	return map[string]any{}
}
