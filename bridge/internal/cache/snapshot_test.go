package cache_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func badBodies(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{MaximumBody: 64 << 10})
	epoch := b.attach("a")
	good := string(body("a", pod("p"), "1"))
	edit := func(from, to string) *linkv1.Change {
		if !strings.Contains(good, from) {
			t.Fatalf("the body has no %s", from)
		}
		return putBody(pod("p"), strings.Replace(good, from, to, 1))
	}
	long := strings.Repeat("n", 340)
	for _, c := range []struct {
		change *linkv1.Change
		reason string
	}{
		{putBody(pod("p"), ""), "not JSON"},
		{putBody(pod("p"), "[]"), "object is expected"},
		{putBody(pod("p"), good+"x"), "not JSON"},
		{edit("web", "w\xffb"), "not UTF-8"},
		{putBody(pod("q"), good), `is "p", its key says "q"`},
		{putBody(key("pod", "other", "p"), good), `its key says "other"`},
		{putBody(key("service", "web", "p"), good), `its key says "service"`},
		{putBody(pod("p"), string(body("b", pod("p"), "1"))), "its key says"},
		{edit(`"service":[]`, `"service":["kubernetes.v2:infrastructure:service:b:web:s"]`), "belongs to another account"},
		{edit(`"service":[]`, `"service":"x"`), "is not a list"},
		{edit(`"service":[]`, `"service":["x"]`), "none of Clouddriver's"},
		{edit(`"app":"web"`, `"apps":"web"`), `moniker has a field "apps"`},
		{edit(`"sequence":3`, `"sequence":3.5`), "sequence is not an integer"},
		{edit(`"id":`, `"ID":"x","id":`), `field "ID"`},
		{edit(`"ttlSeconds"`, `"id":"x","ttlSeconds"`), "comes twice"},
		{edit(`"apiVersion":"v1",`, ``), `"apiVersion" is missing`},
		{edit(`"manifest":{`, `"manifest":[{`), "an object is expected"},
		{edit(`"manifest":{`, `"manifest":7,"manifest2":{`), "object is expected"},
		{edit(`"metadata":{`, `"metadate":{`), "metadata is missing"},
		{edit(`"kind":"pod","metadata"`, `"kind":"Pods","metadata"`), `is of kind "Pods"`},
		{edit(`"metadata":{"name":"p"`, `"metadata":{"name":"q"`), `name is "q"`},
		{edit(`"metadata":{"name":"p","namespace":"web"`, `"metadata":{"name":"p","namespace":"other"`), `namespace is "other"`},
		{edit(`"metadata":{`, `"metadata":{"labels":{"a":7},`), "not a text"},
		{edit(`"metadata":{`, `"metadata":{"ownerReferences":["x"],`), "object is expected"},
		{edit(`"metadata":{`, `"metadata":{"creationTimestamp":"yesterday",`), "is no time"},
		{edit(`"x":"1"`, `"spec":"1"`), "spec is not an object"},
		{edit(`"x":"1"`, `"x":"\ud800"`), "half a surrogate"},
		{edit(`"x":"1"`, `"x":"\ud83d\u0041"`), "half a surrogate"},
		{edit(`"x":"1"`, `"`+strings.Repeat("x", 41_000)+`":"1"`), "field name of more than"},
		{edit(`"x":"1"`, `"x":`+strings.Repeat("[", 600)+strings.Repeat("]", 600)), "nests deeper"},
		{edit(`"x":"1"`, `"x":`+strings.Repeat("9", 600)), "number of more than"},
		{edit(`"x":"1"`, `"x":"`+strings.Repeat("9", 70<<10)+`"`), "the limit (cache.maximumBodyBytes)"},
		{putBody(key("applications", "", "web"), strings.Replace(string(body("a", key("applications", "", "web"), "")), `"name"`, `"kind"`, 1)), "does not belong to applications"},
		{putBody(key("", "web", "p"), good), "is not a kind"},
		{putBody(key("pod; DROP", "web", "p"), good), "is not a kind"},
		{remove(pod(long)), "too long"},
		{connect(pod("p"), pod(long)), "too long"},
		{connect(pod("p"), key(strings.Repeat("K", 65), "", "x")), "longer than 64"},
		{&linkv1.Change{}, "does not know"},
	} {
		r := b.write("a", epoch, put("a", pod("good"), "1"), c.change)
		if r.Err != nil || len(r.Rejected) != 1 || !strings.Contains(r.Rejected[0].GetReason(), c.reason) {
			t.Errorf("%.200s\nended with %v, rejected %q, want %q", c.change, r.Err, reasons(r), c.reason)
		}
		if b.Count(t, "cats_v1_pod", "id LIKE '%:good'") != 1 {
			t.Fatal("what came with it was not stored")
		}
		b.mustWrite("a", epoch, remove(pod("good")))
	}
	if n := b.Count(t, "cats_v1_pod", "TRUE"); n != 0 {
		t.Errorf("%d rows were stored that should not be", n)
	}
	// A colon in a name is a semicolon in its id, and either may be in the body.
	role := key("clusterRole", "", "system:node")
	b.mustWrite("a", epoch, put("a", role, "1"))
	if got := b.Strings(t, "SELECT id FROM cats_v1_clusterRole"); got[0] != "kubernetes.v2:infrastructure:clusterRole:a::system;node" {
		t.Errorf("id %v", got)
	}
	entries, err := b.writer.Entries(t.Context(), "a", &linkv1.Group{Type: "clusterRole"})
	if err != nil || len(entries) != 1 || entries[0].GetKey() != (cats.Key{Type: "clusterRole", Name: "system:node"}).Path() {
		t.Errorf("entries %v, %v", entries, err)
	}
}

func folding(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch := b.attach("a")
	app := func(name string) *linkv1.Key { return key("applications", "", name) }
	// Together: the first in byte order is stored, the others are reported.
	r := b.write("a", epoch, put("a", app("web"), ""), put("a", app("Web"), ""), put("a", app("wéb"), ""), put("a", app("else"), ""))
	if r.Err != nil || len(r.Rejected) != 2 {
		t.Fatalf("%v, %s", r.Err, reasons(r))
	}
	if got := b.Strings(t, "SELECT JSON_VALUE(body, '$.attributes.name') FROM cats_v1_applications ORDER BY id"); !slices.Equal(got, []string{"else", "Web"}) {
		t.Errorf("stored %v", got)
	}
	// One after the other: what is there stays as it is.
	before := b.Changed(t)
	if r := b.write("a", epoch, put("a", app("WEB"), "")); len(r.Rejected) != 1 || r.Rejected[0].GetKey() != "/WEB" {
		t.Errorf("%v, %s", r.Err, reasons(r))
	}
	b.mustWrite("a", epoch, remove(app("web")))
	if n := b.Changed(t) - before; n != 0 {
		t.Errorf("%d rows changed", n)
	}
	// When the first goes, another one can come in the same write.
	b.mustWrite("a", epoch, put("a", app("web"), ""), remove(app("Web")))
	if got := b.Strings(t, "SELECT id FROM cats_v1_applications WHERE id LIKE '%web'"); !slices.Equal(got, []string{"kubernetes.v2:logical:applications:web"}) {
		t.Errorf("stored %v", got)
	}
	// Agents whose names fold to ours are not ours.
	b.Exec(t, `INSERT INTO cats_v1_applications (id, agent, body_hash, body, last_updated) VALUES ('kubernetes.v2:logical:applications:x', 'A/KubernetesCoreCachingAgent[1/1]', REPEAT('f', 64), '{}', 1)`)
	if entries, err := b.writer.Entries(t.Context(), "a", &linkv1.Group{Type: "applications"}); err != nil || len(entries) != 2 {
		t.Errorf("entries %v, %v", entries, err)
	}
	if count, _, err := b.writer.Digest(t.Context(), "a", &linkv1.Group{Type: "applications"}, false); err != nil || count != 2 {
		t.Errorf("digest counts %d, %v", count, err)
	}
	b.mustWrite("a", epoch, remove(app("x")))
	if b.Count(t, "cats_v1_applications", "id LIKE '%:x'") != 1 {
		t.Error("another account's row was deleted")
	}
	if r := b.write("a", epoch, put("a", app("x"), "")); len(r.Rejected) != 1 {
		t.Errorf("written over another account's row: %v, %s", r.Err, reasons(r))
	}
}

func snapshot(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch, other := b.attach("a"), b.attach("b")
	ctx := t.Context()
	set := key("replicaSet", "web", "r")
	var changes []*linkv1.Change
	var bodies [][]byte
	for i := range 1200 {
		changes = append(changes, put("a", pod(fmt.Sprint("p", i)), "1"), connect(set, pod(fmt.Sprint("p", i))))
		bodies = append(bodies, body("a", pod(fmt.Sprint("p", i)), "1"))
	}
	b.mustWrite("a", epoch, changes...)
	b.mustWrite("b", other, put("b", pod("p"), "1"))
	b.Exec(t, `INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES ('strange/id', 'a/KubernetesCoreCachingAgent[1/1]', REPEAT('0', 64), '{}', 1)`)
	count, x, err := b.writer.Digest(ctx, "a", podRows, false)
	if err != nil || count != 1201 || x != xor(bodies...) {
		t.Errorf("digest %d %x, want 1201 %x (%v)", count, x, xor(bodies...), err)
	}
	links := &linkv1.Group{Type: "replicaSet", RelType: "pod"}
	want := uint64(0)
	for i := range 1200 {
		id := cats.Link{From: cats.Key{Type: "replicaSet", Scope: "web", Name: "r"}, To: cats.Key{Type: "pod", Scope: "web", Name: fmt.Sprint("p", i)}}.ID("a")
		last, err := strconv.ParseUint(id[14:], 32, 64)
		if err != nil {
			t.Fatal(err)
		}
		want ^= last
	}
	if count, x, err := b.writer.Digest(ctx, "a", links, false); err != nil || count != 1200 || x != want {
		t.Errorf("digest of links %d %x, want 1200 %x (%v)", count, x, want, err)
	}
	entries, err := b.writer.Entries(ctx, "a", podRows)
	if err != nil || len(entries) != 1201 {
		t.Fatal(len(entries), err)
	}
	if !slices.IsSortedFunc(entries, func(a, b *linkv1.Entry) int { return strings.Compare(a.GetKey(), b.GetKey()) }) {
		t.Error("entries are not in key order")
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		keys = append(keys, e.GetKey())
		if e.GetKey() == "web/p7" && fmt.Sprintf("%016x", e.GetHash()) != hash(bodies[7])[:16] {
			t.Errorf("hash of p7 is %x", e.GetHash())
		}
	}
	linkEntries, err := b.writer.Entries(ctx, "a", links)
	if err != nil || len(linkEntries) != 1200 {
		t.Fatal(len(linkEntries), err)
	}
	if n, err := b.writer.Sweep(ctx, store.Fence{Account: "a", Holder: "instance", Epoch: epoch}, links, []string{linkEntries[3].GetKey(), linkEntries[4].GetKey()}); err != nil || n != 2 {
		t.Errorf("swept %d links, %v", n, err)
	}
	if n, err := b.writer.Sweep(ctx, store.Fence{Account: "a", Holder: "instance", Epoch: epoch}, podRows, keys); err != nil || n != 1201 {
		t.Errorf("swept %d rows, %v", n, err)
	}
	if n := b.Count(t, "cats_v1_pod", "TRUE"); n != 1 {
		t.Errorf("%d rows are left, want the other account's", n)
	}
}

func leftovers(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch := b.attach("a")
	b.mustWrite("a", epoch, put("a", pod("p"), "1"), connect(key("replicaSet", "web", "r"), pod("p")))
	for _, agent := range []string{"a/KubernetesCoreCachingAgent[1/3]", "a/KubernetesCoreCachingAgent[2/3]", "ab/KubernetesCoreCachingAgent[1/3]", "A/KubernetesCoreCachingAgent[1/3]"} {
		account, _, _ := strings.Cut(agent, "/")
		b.Exec(t, `INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES (?, ?, '', '{}', 1)`, "kubernetes.v2:infrastructure:pod:"+account+":web:"+map[bool]string{true: "q", false: "p"}[account == "A"], agent)
		b.Exec(t, `INSERT INTO cats_v1_replicaSet_rel (uuid, id, rel_id, rel_agent, rel_type, last_updated) VALUES (LEFT(UPPER(SHA2(?, 256)), 26), 'x', 'y', CONCAT('pod:', ?), 'pod', 1)`, agent, agent)
	}
	if n, err := b.writer.SweepLeftovers(t.Context(), store.Fence{Account: "a", Holder: "instance", Epoch: epoch}, podRows); err != nil || n != 2 {
		t.Errorf("swept %d rows, %v", n, err)
	}
	if n, err := b.writer.SweepLeftovers(t.Context(), store.Fence{Account: "a", Holder: "instance", Epoch: epoch}, &linkv1.Group{Type: "replicaSet", RelType: "pod"}); err != nil || n != 2 {
		t.Errorf("swept %d links, %v", n, err)
	}
	got := b.Strings(t, "SELECT agent FROM cats_v1_pod ORDER BY CAST(agent AS BINARY)")
	if want := []string{"A/KubernetesCoreCachingAgent[1/3]", "a/KubernetesCoreCachingAgent[1/1]", "ab/KubernetesCoreCachingAgent[1/3]"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if n := b.Count(t, "cats_v1_replicaSet_rel", "TRUE"); n != 3 {
		t.Errorf("%d links are left, want ours and those of ab and A", n)
	}
}

func removal(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{TableNamespace: ""})
	epoch := b.attach("a_b")
	b.attach("axb")
	set, app := key("replicaSet", "web", "r"), key("applications", "", "web")
	for _, account := range []string{"a_b", "axb"} {
		var changes []*linkv1.Change
		for i := range 700 {
			changes = append(changes, put(account, pod(fmt.Sprint("p", i)), "1"), connect(set, pod(fmt.Sprint("p", i))))
		}
		b.mustWrite(account, 1, append(changes, put(account, set, "1"), put(account, app, ""), connect(app, set), put(account, key("X.example.com", "", "x"), "1"))...)
	}
	b.Exec(t, `INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES ('kubernetes.v2:infrastructure:pod:a_b:web:p', 'a_b/KubernetesCoreCachingAgent[1/3]', '', '{}', 1)`)
	// Another table namespace's table is not ours.
	b.Exec(t, "CREATE TABLE cats_v1_blue_pod LIKE cats_v1_pod")
	b.Exec(t, `INSERT INTO cats_v1_blue_pod SELECT * FROM cats_v1_pod WHERE agent LIKE 'a\_b/%'`)
	n, err := b.writer.Remove(t.Context(), "a_b")
	if want := 700*2 + 2 + 1 + 1 + 1; err != nil || n != want {
		t.Errorf("deleted %d, want %d (%v)", n, want, err)
	}
	if r := b.write("a_b", epoch, put("a_b", pod("late"), "1")); r.Err == nil {
		t.Error("the removed account's session could still write")
	}
	for table, want := range map[string]int{"cats_v1_pod": 700, "cats_v1_replicaSet": 1, "cats_v1_replicaSet_rel": 700, "cats_v1_applications": 1, "cats_v1_applications_rel": 1, "cats_v1_X_example_com": 1, "cats_v1_blue_pod": 701} {
		if n := b.Count(t, table, "TRUE"); n != want {
			t.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
	if n, err := b.writer.Remove(t.Context(), "a_b"); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
}

func removalOvertaken(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch := b.attach("a")
	var changes []*linkv1.Change
	for i := range 3000 {
		changes = append(changes, put("a", pod(fmt.Sprint("p", i)), "1"))
	}
	b.mustWrite("a", epoch, changes...)
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := b.writer.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
	for b.Count(t, "cats_v1_pod", "TRUE") == 3000 {
	}
	again, continues, err := b.store.Attach(t.Context(), "a", "instance", epoch)
	if err != nil || continues {
		t.Fatalf("attach during the removal: continues %v, %v", continues, err)
	}
	b.mustWrite("a", again, put("a", pod("new"), "2"))
	group.Wait()
	if b.Count(t, "cats_v1_pod", "id LIKE '%:new'") != 1 {
		t.Error("the removal deleted what a later session wrote")
	}
}

func types(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	if groups, err := b.writer.Types(t.Context(), "a"); err != nil || len(groups) != 0 {
		t.Fatal(groups, err)
	}
	b = newBench(t, d, cache.Options{}) // does not remember which tables there are
	b.attach("a")
	b.attach("b")
	set, app := key("replicaSet", "web", "r"), key("applications", "", "web")
	b.mustWrite("a", 1, put("a", pod("p"), "1"), connect(set, pod("p")), put("a", app, ""), connect(app, set), connect(app, pod("p")), put("a", key("My-Kind.example.com", "", "x"), "1"))
	b.mustWrite("b", 1, put("b", key("service", "web", "s"), "1"), connect(key("service", "web", "s"), set))
	groups, err := b.writer.Types(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range groups {
		got = append(got, g.GetType()+">"+g.GetRelType())
	}
	want := []string{"My-Kind.example.com>", "applications>", "applications>pod", "applications>replicaSet", "pod>", "replicaSet>pod"}
	if !slices.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
}

func manyDigests(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	const accounts = 60
	for i := range accounts {
		account := fmt.Sprint("a", i)
		b.attach(account)
		var changes []*linkv1.Change
		for j := range i % 5 {
			changes = append(changes, put(account, pod(fmt.Sprint(j)), "1"))
		}
		b.mustWrite(account, 1, changes...)
	}
	var group sync.WaitGroup
	for i := range accounts {
		group.Go(func() {
			account := fmt.Sprint("a", i)
			want := uint64(0)
			for j := range i % 5 {
				want ^= xor(body(account, pod(fmt.Sprint(j)), "1"))
			}
			if count, x, err := b.writer.Digest(t.Context(), account, podRows, false); err != nil || count != uint64(i%5) || x != want {
				t.Errorf("account %s: %d %x, want %d %x (%v)", account, count, x, i%5, want, err)
			}
		})
	}
	group.Wait()
}
