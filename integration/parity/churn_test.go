package parity

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/testenv/golden"
)

// ref names an object.
type ref struct{ version, kind, namespace, name string }

func refOf(o *unstructured.Unstructured) ref {
	return ref{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName()}
}

func (r ref) String() string { return r.kind + " " + r.namespace + "/" + r.name }

// merge changes an object by a JSON merge patch.
func (s *suite) merge(ctx context.Context, r ref, patch map[string]any) error {
	client, err := s.cluster.Client(ctx, schema.FromAPIVersionAndKind(r.version, r.kind), r.namespace)
	if err != nil {
		return err
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if _, err := client.Patch(ctx, r.name, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch %s: %w", r, err)
	}
	return nil
}

// remove deletes an object; what it owns stays if orphans is true.
func (s *suite) remove(ctx context.Context, r ref, orphans bool) error {
	client, err := s.cluster.Client(ctx, schema.FromAPIVersionAndKind(r.version, r.kind), r.namespace)
	if err != nil {
		return err
	}
	policy := metav1.DeletePropagationBackground
	if orphans {
		policy = metav1.DeletePropagationOrphan
	}
	now := int64(0) // no kubelet is there to end pods
	err = client.Delete(ctx, r.name, metav1.DeleteOptions{PropagationPolicy: &policy, GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", r, err)
	}
	return nil
}

func (s *suite) uid(ctx context.Context, r ref) (types.UID, error) {
	client, err := s.cluster.Client(ctx, schema.FromAPIVersionAndKind(r.version, r.kind), r.namespace)
	if err != nil {
		return "", err
	}
	o, err := client.Get(ctx, r.name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get %s: %w", r, err)
	}
	return o.GetUID(), nil
}

// own makes owner the only owner of an object.
func (s *suite) own(ctx context.Context, r, owner ref) error {
	uid, err := s.uid(ctx, owner)
	if err != nil {
		return err
	}
	return s.merge(ctx, r, metadata("ownerReferences", []any{
		map[string]any{"apiVersion": owner.version, "kind": owner.kind, "name": owner.name, "uid": string(uid)},
	}))
}

func metadata(field string, value any) map[string]any {
	return map[string]any{"metadata": map[string]any{field: value}}
}

func annotate(name string, value any) map[string]any {
	return metadata("annotations", map[string]any{name: value})
}

func spec(values map[string]any) map[string]any { return map[string]any{"spec": values} }

const (
	application = "moniker.spinnaker.io/application"
	clusterName = "moniker.spinnaker.io/cluster"
)

// known are objects of the corpus that change.
func known(kind, name string) ref {
	versions := map[string]string{"Service": "v1", "Pod": "v1", "Ingress": "networking.k8s.io/v1", "NetworkPolicy": "networking.k8s.io/v1", "Rollout": "parity.example.com/v1"}
	version := versions[kind]
	if version == "" {
		version = "apps/v1"
	}
	return ref{version, kind, "parity", name}
}

// change is one thing that happens to the corpus.
type change struct {
	name string
	do   func(ctx context.Context, s *suite) error
}

func patched(r ref, patch map[string]any) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error { return s.merge(ctx, r, patch) }
}

func removed(r ref, orphans bool) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error { return s.remove(ctx, r, orphans) }
}

func templateLabel(name string, value any) map[string]any {
	return spec(map[string]any{"template": metadata("labels", map[string]any{name: value})})
}

// changes are those whose effect on views is known to matter, one by one.
func changes() []change {
	v0, v1, v2 := known("ReplicaSet", "pay-api-v000"), known("ReplicaSet", "pay-api-v001"), known("ReplicaSet", "pay-api-v002")
	return []change{
		{"traffic goes to v000", patched(v0, templateLabel("balanced", "pay"))},
		{"and away from v001", patched(v1, templateLabel("balanced", nil))},
		{"v002 is scaled up", patched(v2, spec(map[string]any{"replicas": 2}))},
		{"a deployment rolls", patched(known("Deployment", "shopfront"), templateLabel("rolled", "yes"))},
		{"a deployment is scaled down", patched(known("Deployment", "ingest-prod-blue-green-v042"), spec(map[string]any{"replicas": 0}))},
		{"a service selects another server group", patched(known("Service", "pay-admin"), spec(map[string]any{"selector": map[string]any{"admin": nil, "version": "0"}}))},
		{"a service selects nothing any more", patched(known("Service", "gateway-v001"), spec(map[string]any{"selector": nil}))},
		{"an ingress has another default", patched(known("Ingress", "entry"), spec(map[string]any{
			"defaultBackend": map[string]any{"service": map[string]any{"name": "pay"}},
		}))},
		{"an object goes to another application", patched(known("StatefulSet", "ledger"), annotate(application, "moved"))},
		{"and one to none", patched(known("NetworkPolicy", "front-only-v001"), annotate(application, ""))},
		{"an application loses its last member", patched(known("ReplicaSet", "like-one"), annotate(application, "axb"))},
		{"a cluster gets a new name", patched(known("Deployment", "unicode"), annotate(clusterName, "deployment anders"))},
		{"an annotation goes", patched(known("ReplicaSet", "capitals-v007"), annotate(clusterName, nil))},
		{"the huge annotation goes", patched(ref{"apps/v1", "Deployment", "parity-two", "v1.reports.example.com"}, annotate(fillAnnotation, nil))},
		{"a pod is not to be cached any more", patched(known("Pod", "pending-v001"), annotate("caching.spinnaker.io/ignore", "true"))},
		{"and another one is", patched(known("Pod", "out-of-sight"), annotate("caching.spinnaker.io/ignore", "false"))},
		{"a pod loses its labels and its owners", patched(known("Pod", "two-masters"), map[string]any{
			"metadata": map[string]any{"labels": nil, "ownerReferences": nil},
		})},
		{"an object gets a cached owner", func(ctx context.Context, s *suite) error {
			return s.own(ctx, known("ReplicaSet", "leased-v001"), known("Deployment", "shopfront"))
		}},
		{"an object gets a finalizer", func(ctx context.Context, s *suite) error {
			return s.merge(ctx, known("ReplicaSet", "canary-6d4f"), metadata("finalizers", []any{"parity.example.com/stays"}))
		}},
		{"its owner goes", removed(known("Rollout", "canary"), true)},
		{"a daemon set's pods are left behind", removed(known("DaemonSet", "shipper"), true)},
		{"a server group goes with its pods", removed(known("ReplicaSet", "nobodys"), false)},
		{"a service goes", removed(known("Service", "shopfront"), false)},
		{"and comes again", func(ctx context.Context, s *suite) error {
			return s.cluster.Create(ctx, []*unstructured.Unstructured{{Object: map[string]any{
				"apiVersion": "v1", "kind": "Service",
				"metadata": map[string]any{"name": "shopfront", "namespace": "parity", "annotations": map[string]any{application: "front", clusterName: "service shopfront"}},
				"spec":     map[string]any{"selector": map[string]any{"rolled": "yes"}, "ports": []any{map[string]any{"port": int64(80)}}},
			}}})
		}},
	}
}

// churn changes the corpus: known changes, new objects in a namespace that was empty, and random changes of random objects.
func (s *suite) churn(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	for _, c := range changes() {
		if err := c.do(ctx, s); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	late, err := golden.Objects(testdata, "testdata/late/*.yaml")
	must(t, err)
	must(t, s.cluster.Create(ctx, append(late, s.objects(20)...)))
	must(t, s.randomChanges(ctx, s.generator, 40))
}

// randomChanges change so many objects of the namespace of random ones.
func (s *suite) randomChanges(ctx context.Context, g *generator, count int) error {
	objects, err := s.cluster.List(ctx)
	if err != nil {
		return err
	}
	var candidates []*unstructured.Unstructured
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		if u.GetNamespace() == randomNamespace && u.GetAnnotations()["parity.example.com/random"] != "" && u.GetKind() != "EndpointSlice" && u.GetKind() != "Endpoints" {
			candidates = append(candidates, u)
		}
	}
	for range count {
		o, owner := candidates[g.IntN(len(candidates))], candidates[g.IntN(len(candidates))]
		if err := s.randomChange(ctx, g, o, owner); err != nil && !apierrors.IsNotFound(err) { // it may have been deleted before
			return err
		}
	}
	return nil
}

func (s *suite) randomChange(ctx context.Context, g *generator, o, owner *unstructured.Unstructured) error {
	r := refOf(o)
	switch g.IntN(6) {
	case 0:
		return s.remove(ctx, r, g.IntN(2) == 0)
	case 1:
		return s.merge(ctx, r, annotate(application, pick[any](g, "random", "chance", "late", "", nil)))
	case 2:
		return s.merge(ctx, r, metadata("labels", map[string]any{"color": pick[any](g, "red", "green", nil), "shape": nil, "n" + strconv.Itoa(g.IntN(9)): "v"}))
	case 3:
		if refOf(owner) == r {
			return nil
		}
		return s.own(ctx, r, refOf(owner))
	case 4:
		return s.merge(ctx, r, annotate(clusterName, pick[any](g, "shared cluster", "another", nil)))
	}
	switch o.GetKind() {
	case "Deployment", "ReplicaSet", "StatefulSet":
		return s.merge(ctx, r, spec(map[string]any{"replicas": g.IntN(4), "template": metadata("labels", map[string]any{"tier": pick(g, "front", "back", "side")})}))
	case "Service":
		return s.merge(ctx, r, spec(map[string]any{"selector": pick(g, nil, map[string]any{"tier": pick(g, "front", "back", "side")})}))
	}
	return s.merge(ctx, r, annotate("parity.example.com/random", "changed"))
}
