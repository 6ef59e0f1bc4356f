package cats

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// typicalPod is a pod as a cluster with nodes has it (testdata/pod.json), with a name of its own.
func typicalPod(t testing.TB, n int) map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		t.Fatal(err)
	}
	pod := decodeObject(t, text)
	rename(pod, n)
	return pod
}

func rename(object map[string]any, n int) {
	metadata, _ := object["metadata"].(map[string]any)
	metadata["name"] = fmt.Sprintf("checkout-service-%d-%05d", n/10, n)
	owners, _ := metadata["ownerReferences"].([]any)
	for _, o := range owners {
		owner, _ := o.(map[string]any)
		owner["name"] = fmt.Sprintf("checkout-service-%d", n/10)
	}
}

func BenchmarkBody(b *testing.B) {
	inv, pod := NewInventory("account", Options{}), typicalPod(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		o, err := inv.parse(pod)
		if err != nil {
			b.Fatal(err)
		}
		body, err := inv.encodeBody(o)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}

func BenchmarkBodyByEncodingJSON(b *testing.B) {
	pod := typicalPod(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		body, _ := json.Marshal(pod)
		b.SetBytes(int64(len(body)))
	}
}

func BenchmarkPutUnchanged(b *testing.B) {
	inv, pod := NewInventory("account", Options{}), typicalPod(b, 1)
	_, _ = inv.Put(pod)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = inv.Put(pod)
	}
}

func BenchmarkPutChanged(b *testing.B) {
	inv, pod := NewInventory("account", Options{}), typicalPod(b, 1)
	metadata, _ := pod["metadata"].(map[string]any)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		metadata["resourceVersion"] = fmt.Sprint(n)
		_, _ = inv.Put(pod)
	}
}

func BenchmarkPodComesAndGoes(b *testing.B) {
	inv := NewInventory("account", Options{})
	_, _ = inv.Put(replicaSetOf("ns", "checkout-service-0", map[string]any{"app": "checkout"}))
	pod := typicalPod(b, 1)
	key, _ := KeyOf(pod)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = inv.Put(pod)
		inv.Delete(key)
	}
}

func BenchmarkLinkID(b *testing.B) {
	from := Key{replicaSet, "shop-production", "checkout-service-7c9d8b6f5d"}
	to := Key{pod, "shop-production", "checkout-service-7c9d8b6f5d-x7x9z"}
	var h linkHasher
	h.reset("account")
	b.ReportAllocs()
	for b.Loop() {
		h.id(h.sum(from, to))
	}
}

func BenchmarkDigest(b *testing.B) {
	inv := filled(b, 10_000)
	groups := inv.Groups()
	b.ReportAllocs()
	for b.Loop() {
		for _, g := range groups {
			inv.Digest(g)
		}
	}
}

// A service that selects one of 5,000 replica sets must not look at the others.
func BenchmarkServiceChangesAmong5000ReplicaSets(b *testing.B) {
	inv := NewInventory("account", Options{})
	for n := range 5000 {
		_, _ = inv.Put(replicaSetOf("ns", fmt.Sprint("rs-", n), map[string]any{"app": fmt.Sprint("app-", n), "tier": "back"}))
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		_, _ = inv.Put(serviceOf("ns", "s", map[string]any{"app": fmt.Sprint("app-", n%5000), "tier": "back"}))
	}
}

func replicaSetOf(namespace, name string, labels map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "ReplicaSet",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec":     map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": labels}}},
	}
}

func serviceOf(namespace, name string, selector map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec":     map[string]any{"selector": selector},
	}
}

// filled returns an inventory of so many pods, with a replica set for each ten.
func filled(t testing.TB, pods int) *Inventory {
	t.Helper()
	inv := NewInventory("account", Options{})
	pod := typicalPod(t, 0)
	for n := range pods {
		if n%10 == 0 {
			_, _ = inv.Put(replicaSetOf("shop-production", fmt.Sprintf("checkout-service-%d", n/10), map[string]any{
				"app": "checkout", "version": fmt.Sprint(n), "pod-template-hash": fmt.Sprint(n),
			}))
		}
		rename(pod, n)
		if _, err := inv.Put(pod); err != nil {
			t.Fatal(err)
		}
	}
	return inv
}

func TestARecordOfATypicalPodIsSmall(t *testing.T) {
	const pods, limit = 20_000, 600
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	inv := filled(t, pods)
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := (after.HeapAlloc - before.HeapAlloc) / pods
	t.Logf("%d bytes for each pod with its share of a replica set", size)
	if size > limit {
		t.Errorf("a record has %d bytes, %d are the limit", size, limit)
	}
	runtime.KeepAlive(inv)
}

func TestDeletingANamespaceIsLinear(t *testing.T) {
	inv := filled(t, 20_000)
	inv.Begin(pod)
	changes := inv.End(pod)
	rows := 0
	for _, c := range changes {
		if c.Kind == DeleteRow {
			rows++
		}
	}
	if rows != 20_000 || len(changes) != 40_000 {
		t.Errorf("%d changes, %d of them rows", len(changes), rows)
	}
	if !strings.HasPrefix(changes[0].String(), "delete row pod ") {
		t.Errorf("first change is %v", changes[0])
	}
}
