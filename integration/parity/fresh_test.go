package parity

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// staleBound is how old a view may be after an operation's task is complete, on a machine where everything is slow. What it is on an idle
// one, docs/benchmarks.md says: less than a second.
const staleBound = 10 * time.Second

// effect is an operation, and what of a cached view shows that it was done.
type effect struct {
	name      string
	operation testenv.Op
	path      string
	shows     func(view any) bool
}

// fresh does operations on the agent's account. When the task of each is complete, its effect is in the cached view, without any refresh.
func fresh(t *testing.T, s *suite) {
	ctx := within(t, 2*time.Minute)
	kube, err := s.Kube(0)
	must(t, err)
	st := &story.Story{REST: s.REST(), Kube: kube, Account: s.pairs[0].agent, App: "fresh", Namespace: "fresh"}
	must(t, st.MakeNamespace(ctx))
	var ages []time.Duration
	for _, e := range effects(st) {
		task, _, err := s.REST().Run(ctx, e.operation)
		must(t, err)
		if task.Status.Failed {
			t.Fatalf("%s: %v", e.name, &story.TaskError{Task: task})
		}
		done := time.Now()
		limited, cancel := context.WithTimeout(ctx, staleBound)
		err = testenv.Wait(limited, func(ctx context.Context) error {
			view, err := s.get(ctx, e.path)
			if err != nil {
				return err
			}
			if !e.shows(view) {
				return fmt.Errorf("GET %s: %.500v", e.path, view)
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Errorf("%s: the task is complete, but the view does not show it: %v", e.name, err)
			continue
		}
		age := time.Since(done)
		ages = append(ages, age)
		t.Logf("%-40s in the view %4d ms after the task", e.name, age.Milliseconds())
	}
	if len(ages) > 0 {
		slices.Sort(ages)
		t.Logf("Clouddriver %s: %d operations, median %s, longest %s", s.Clouddriver.Version, len(ages), ages[len(ages)/2].Round(time.Millisecond), ages[len(ages)-1].Round(time.Millisecond))
	}
}

// effects are operations one after the other.
func effects(st *story.Story) []effect {
	manifests := st.Manifests(2, "one")
	account, namespace := st.Account, st.Namespace
	balancer := "/kubernetes/loadBalancers/" + account + "/" + namespace + "/service%20fresh-front"
	managers := "/applications/fresh/serverGroupManagers"
	replicaSet := "/serverGroups/" + account + "/" + namespace + "/replicaSet%20fresh-set-v000"
	there := func(view any) bool { return !empty(view) }
	gone := func(view any) bool { return empty(view) }
	on := func(operation, name string, more map[string]any) testenv.Op {
		description := map[string]any{"account": account, "cloudProvider": "kubernetes", "location": namespace, "manifestName": name}
		for key, value := range more {
			description[key] = value
		}
		return testenv.Op{operation: description}
	}
	labelled := func(label string) func(any) bool {
		return func(view any) bool {
			if items := list(view); len(items) > 0 {
				view = items[0]
			}
			return text(member(view, "labels"), "fresh") == label
		}
	}
	merge := map[string]any{"mergeStrategy": "strategic", "record": false}
	return []effect{
		{"deploy a service", testenv.Deploy(account, st.App, manifests[1]), balancer, there},
		{"deploy a deployment", testenv.Deploy(account, st.App, manifests[0], manifests[2]), managers, there},
		{"deploy a replica set", testenv.Deploy(account, st.App, replicaSetManifest(namespace)), replicaSet, there},
		{"scale the replica set", on("scaleManifest", "replicaSet fresh-set-v000", map[string]any{"replicas": 2}), replicaSet, func(view any) bool {
			desired, _ := member(member(view, "capacity"), "desired").(float64)
			return desired == 2
		}},
		{"patch the service", on("patchManifest", "service fresh-front", map[string]any{
			"source": "text", "options": merge, "patchBody": metadata("labels", map[string]any{"fresh": "patched"}),
		}), balancer, labelled("patched")},
		{"patch the replica set", on("patchManifest", "replicaSet fresh-set-v000", map[string]any{
			"source": "text", "options": merge, "patchBody": metadata("labels", map[string]any{"fresh": "patched"}),
		}), replicaSet, labelled("patched")},
		{"deploy the service again", testenv.Deploy(account, st.App, relabelled(manifests[1], "again")), balancer, labelled("again")},
		{"deploy to a new application", testenv.Deploy(account, "fresher", replicaSetNamed(namespace, "fresher-set")), "/applications/fresher/clusters/" + account, there},
		{"delete it, and the application with it", on("deleteManifest", "replicaSet fresher-set-v000", map[string]any{"options": map[string]any{"cascading": true}}),
			"/applications/fresher", gone},
		{"delete the replica set", on("deleteManifest", "replicaSet fresh-set-v000", map[string]any{"options": map[string]any{"cascading": true}}), replicaSet, gone},
		{"delete the deployment", on("deleteManifest", "deployment fresh-web", map[string]any{"options": map[string]any{"cascading": true}}), managers, gone},
		{"delete the service", on("deleteManifest", "service fresh-front", map[string]any{"options": map[string]any{"cascading": true}}), balancer, gone},
	}
}

func replicaSetManifest(namespace string) map[string]any {
	return replicaSetNamed(namespace, "fresh-set")
}

func replicaSetNamed(namespace, name string) map[string]any {
	labels := map[string]any{"app": name}
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"replicas": 1, "selector": map[string]any{"matchLabels": labels}, "template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "busybox"}}},
		}},
	}
}

func relabelled(manifest map[string]any, label string) map[string]any {
	again := map[string]any{}
	for key, value := range manifest {
		again[key] = value
	}
	again["metadata"] = map[string]any{"labels": map[string]any{"fresh": label}}
	for key, value := range manifest["metadata"].(map[string]any) {
		again["metadata"].(map[string]any)[key] = value
	}
	return again
}
