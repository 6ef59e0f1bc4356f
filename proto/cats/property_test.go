package cats

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func bodyHash(body string) uint64 {
	sum := sha256.Sum256([]byte(body))
	return binary.BigEndian.Uint64(sum[:8])
}

// world makes random objects from few names, so that everything refers to everything.
type world struct{ *rand.Rand }

func (w world) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w world) chance(percent int) bool { return w.IntN(100) < percent }

var universe = []struct{ apiVersion, kind, names string }{
	{"apps/v1", "Deployment", "web shop"},
	{"apps/v1", "ReplicaSet", "web-1 web-2 shop-v001"},
	{"apps/v1", "StatefulSet", "store web"},
	{"v1", "Pod", "p1 p2 p3 p4"},
	{"v1", "Service", "web shop store"},
	{"networking.k8s.io/v1", "Ingress", "web"},
	{"v1", "Event", "e1 e2"},
	{"rbac.authorization.k8s.io/v1", "Role", "admin Admin ÄDMIN a:b a;b A;b"},
	{"stable.example.com/v1", "CronTab", "c1 c2"},
	{"stable.example.com/v1", "CRONTAB", "c1"},
	{"x.example.com/v1", strings.Repeat("Long", 15), "l1 l2"},
	{"x.example.com/v1", "TooLong", "ok " + strings.Repeat("n", 350)},
}

func (w world) object() map[string]any {
	kind := universe[w.IntN(len(universe))]
	name := w.pick(strings.Fields(kind.names)...)
	metadata := map[string]any{"name": name, "namespace": w.pick("n1", "n2"), "resourceVersion": strconv.Itoa(w.IntN(3))}
	annotations := map[string]any{}
	if w.chance(50) {
		annotations[annotationApplication] = w.pick("web", "Web", "shop", "", "a/b", "a", "%2F", strings.Repeat("x", 340))
	}
	if w.chance(30) {
		annotations[annotationCluster] = w.pick("c", "C", "b/c", "")
	}
	if w.chance(5) {
		annotations[annotationIgnore] = "true"
	}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	var owners []any
	for w.chance(40) {
		owner := universe[w.IntN(len(universe))]
		owners = append(owners, map[string]any{"apiVersion": owner.apiVersion, "kind": owner.kind, "name": w.pick(strings.Fields(owner.names)...)})
	}
	if len(owners) > 0 {
		metadata["ownerReferences"] = owners
	}
	object := map[string]any{"apiVersion": kind.apiVersion, "kind": kind.kind, "metadata": metadata}
	w.specify(object)
	return object
}

func (w world) labels(percent int) map[string]any {
	labels := map[string]any{}
	for _, key := range []string{"app", "tier", "track"} {
		if w.chance(percent) {
			labels[key] = w.pick("x", "y")
		}
	}
	return labels
}

func (w world) specify(object map[string]any) {
	backend := func() map[string]any {
		return map[string]any{"service": map[string]any{"name": w.pick("web", "shop", "gone")}}
	}
	switch object["kind"] {
	case "Service":
		object["spec"] = map[string]any{"selector": w.labels(40)}
	case "ReplicaSet":
		object["spec"] = map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": w.labels(70)}}}
	case "StatefulSet":
		object["spec"] = map[string]any{"serviceName": w.pick("web", "store", "")}
	case "Ingress":
		object["spec"] = map[string]any{"defaultBackend": backend(), "rules": []any{
			map[string]any{"http": map[string]any{"paths": []any{map[string]any{"backend": backend()}}}},
		}}
	case "Event":
		involved := universe[w.IntN(len(universe))]
		object["involvedObject"] = map[string]any{
			"apiVersion": involved.apiVersion, "kind": involved.kind, "name": w.pick(strings.Fields(involved.names)...),
		}
	}
}

// history plays random puts, deletes and listings against an inventory and the tables that its changes make.
type history struct {
	world
	*testing.T

	inventory *Inventory
	model     *model
	tables    tables
}

func newHistory(t *testing.T, seed uint64, options Options) *history {
	return &history{
		world: world{rand.New(rand.NewPCG(seed, 0))}, T: t, //nolint:gosec // no secret
		inventory: NewInventory("a", options),
		model:     &model{account: "a", options: options, objects: map[Key]map[string]any{}},
		tables:    tables{map[Key]string{}, map[Link]bool{}},
	}
}

func (h *history) apply(changes []Change) {
	h.Helper()
	for _, wrong := range h.tables.apply(changes) {
		h.Errorf("change %s", wrong)
	}
	// What the agent does: it reads again what was not kept.
	for _, key := range h.inventory.Missing() {
		changes, _ := h.inventory.Render(h.model.objects[key])
		for _, wrong := range h.tables.apply(changes) {
			h.Errorf("change after missing %s", wrong)
		}
	}
	if missing := h.inventory.Missing(); len(missing) > 0 {
		h.Errorf("still missing: %v", missing)
	}
}

func (h *history) put(object map[string]any) {
	key, err := KeyOf(object)
	if err != nil {
		h.Fatal(err)
	}
	h.model.objects[key] = object
	changes, _ := h.inventory.Put(object)
	h.apply(changes)
}

func (h *history) delete(key Key) {
	delete(h.model.objects, key)
	h.apply(h.inventory.Delete(key))
}

func (h *history) keys() []Key {
	var keys []Key
	for k := range h.model.objects {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func (h *history) step() {
	keys := h.keys()
	switch n := h.IntN(100); {
	case n < 60 || len(keys) == 0:
		h.put(h.object())
	case n < 90:
		h.delete(keys[h.IntN(len(keys))])
	case n < 97:
		h.relist(keys[h.IntN(len(keys))].Type, keys)
	default:
		t := keys[h.IntN(len(keys))].Type
		for _, k := range keys {
			if k.Type == t {
				delete(h.model.objects, k)
			}
		}
		h.apply(h.inventory.Drop(t))
	}
}

// relist lists a kind of which some objects went unnoticed, while others come.
func (h *history) relist(t Type, keys []Key) {
	h.inventory.Begin(t)
	for _, k := range keys {
		switch {
		case k.Type != t:
		case h.chance(70):
			h.put(h.model.objects[k])
		default:
			delete(h.model.objects, k)
		}
	}
	h.put(h.object())
	h.apply(h.inventory.End(t))
}

// check compares with the model, and digests and pages with the tables.
func (h *history) check() {
	h.Helper()
	for _, line := range h.tables.difference(h.model.tables()) {
		h.Error(line)
	}
	groups := h.tables.digests("a")
	for _, g := range h.inventory.Groups() {
		entries := groups[g]
		delete(groups, g)
		var xor uint64
		for key, hash := range entries {
			xor ^= hash
			if g.RelType != "" {
				digits, _ := strconv.ParseUint(key[len(key)-12:], 32, 64)
				xor ^= digits
			}
		}
		if count, got := h.inventory.Digest(g); count != uint64(len(entries)) || got != xor {
			h.Errorf("digest of %v is %d, %x; want %d, %x", g, count, got, len(entries), xor)
		}
		h.checkPages(g, entries)
	}
	for g := range groups {
		h.Errorf("group %v is not listed", g)
	}
}

func (h *history) checkPages(g Group, want map[string]uint64) {
	h.Helper()
	got := map[string]uint64{}
	after, limit := "", 1+h.IntN(4)
	for {
		page := h.inventory.Page(g, after, limit)
		for _, e := range page {
			if e.Key <= after {
				h.Errorf("%v: page is out of order: %q after %q", g, e.Key, after)
			}
			after = e.Key
			got[e.Key] = e.Hash
			change, ok := h.inventory.Change(g, e.Key)
			if rebuilt := g.RelType != "" || g.Type.logical(); ok != rebuilt {
				h.Errorf("%v: Change(%q) = %v", g, e.Key, ok)
			}
			if ok && g.RelType != "" && !h.tables.links[change.Link] || ok && g.RelType == "" && h.tables.rows[change.Key] != string(change.Body) {
				h.Errorf("%v: Change(%q) = %v", g, e.Key, change)
			}
		}
		if len(page) < limit {
			break
		}
	}
	if sortedKeys(got) != sortedKeys(want) {
		h.Errorf("%v: pages hold %s, want %s", g, sortedKeys(got), sortedKeys(want))
	}
}

var optionSets = []Options{{}, {AllApplicationRelationships: true}, {OnlySpinnakerManaged: true}}

func TestTablesAreThoseOfTheModelAfterAnyHistory(t *testing.T) {
	histories, steps := 400, 60
	if testing.Short() {
		histories = 60
	}
	for seed := range histories {
		h := newHistory(t, uint64(seed), optionSets[seed%len(optionSets)])
		for step := range steps {
			h.step()
			if step%10 == 9 {
				h.check()
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

func TestAnyOrderOfTheSameObjectsGivesTheSameTables(t *testing.T) {
	for seed := range 100 {
		w := world{rand.New(rand.NewPCG(uint64(seed), 1))} //nolint:gosec // no secret
		final := map[Key]map[string]any{}
		for range 40 {
			object := w.object()
			key, _ := KeyOf(object)
			final[key] = object
		}
		var first string
		for variant := range 4 {
			h := newHistory(t, uint64(seed*10+variant), Options{})
			for range 20 * variant {
				h.step()
			}
			h.become(final)
			h.check()
			state := ""
			for _, g := range h.inventory.Groups() {
				if count, xor := h.inventory.Digest(g); count > 0 {
					state += fmt.Sprintf("%v %d %x\n", g, count, xor)
				}
			}
			if variant == 0 {
				first = state
			}
			if state != first || t.Failed() {
				t.Fatalf("seed %d, variant %d:\n%s\nwant\n%s", seed, variant, state, first)
			}
		}
	}
}

// become reaches a set of objects from wherever the history is, in random order.
func (h *history) become(final map[Key]map[string]any) {
	todo := h.keys()
	for k := range final {
		todo = append(todo, k)
	}
	slices.SortFunc(todo, compareKeys)
	h.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for _, k := range todo {
		if object := final[k]; object != nil {
			h.put(object)
		} else {
			h.delete(k)
		}
	}
}

func TestAnEqualObjectChangesNothing(t *testing.T) {
	for seed := range 50 {
		h := newHistory(t, uint64(seed), Options{})
		for range 60 {
			h.step()
		}
		for _, k := range h.keys() {
			if changes, _ := h.inventory.Put(h.model.objects[k]); len(changes) > 0 {
				t.Errorf("seed %d: %s again gives %v", seed, k, changes)
			}
		}
	}
}

func TestNothingIsLeftWhenAllObjectsAreGone(t *testing.T) {
	for seed := range 50 {
		h := newHistory(t, uint64(seed), Options{})
		for range 60 {
			h.step()
		}
		for _, k := range h.keys() {
			h.delete(k)
		}
		h.check()
		for _, table := range h.inventory.tables {
			if len(table.records) > 0 {
				t.Errorf("seed %d: %d records of %s are left", seed, len(table.records), table.typ)
			}
			if len(table.family.folded) > 0 {
				t.Errorf("seed %d: folded names of %s are left", seed, table.typ)
			}
		}
		if n := len(h.inventory.selector.services) + len(h.inventory.selector.replicaSets); n > 0 {
			t.Errorf("seed %d: %d entries of the selector index are left", seed, n)
		}
	}
}
