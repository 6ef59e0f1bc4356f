package cats

import (
	"slices"
	"strings"
	"testing"
)

// This file lists what differs between stock Clouddriver's rows and ours, and is meant to. TestBodies… and
// TestRelationships… (golden_test.go) find no other difference in the recordings.

// A difference of relationships. Each occurs in the recordings.
type difference struct {
	name    string
	who     side
	applies func(r *recording, rel relation) bool
}

type side int

const (
	stockOnly side = iota // stock Clouddriver alone has the relationship
	oursOnly              // we alone have it
)

const (
	unannotatedForgotten = "stock forgets what objects without annotations relate to"
	resourceBackend      = "stock relates nothing of an ingress with a backend that is no service"
	sharedSelector       = "stock loses what a service selects when one before it selects less by the same label"
	mixedApplications    = "stock mixes applications that differ in case"
	longTypes            = "links to types of more than 64 characters cannot be written"
	applicationsOfNobody = "stock relates applications that have no row"
)

var differences = []difference{
	{unannotatedForgotten, oursOnly, func(r *recording, rel relation) bool {
		return unannotated(r, rel.from) || unannotated(r, rel.to)
	}},
	{resourceBackend, oursOnly, func(r *recording, rel relation) bool {
		id := r.id(Key{ingress, "golden", "resource-backend"})
		return rel.from == id || rel.to == id
	}},
	{sharedSelector, oursOnly, func(r *recording, rel relation) bool {
		id := r.id(Key{service, "golden", "shop-all"})
		return rel.from == id || rel.to == id
	}},
	{mixedApplications, oursOnly, folded},
	{mixedApplications, stockOnly, folded},
	{longTypes, stockOnly, func(r *recording, rel relation) bool {
		_, to, _ := ParseID(rel.to)
		return len(to.Type) > MaximumTypeLength
	}},
	{applicationsOfNobody, stockOnly, func(r *recording, rel relation) bool {
		return r.stock.bodies[rel.from] == nil
	}},
}

func (r *recording) id(k Key) string { return string(appendID(nil, r.account, k)) }

func unannotated(r *recording, id string) bool {
	_, key, _ := ParseID(id)
	switch key.Type {
	case service, ingress, statefulSet, event:
		return r.live[id] != nil && len(annotationsOf(r.live[id])) == 0
	}
	return false
}

func folded(r *recording, rel relation) bool {
	return foldedTwin(r, rel.from) || foldedTwin(r, rel.to)
}

// foldedTwin tells whether the id differs from another application's of the recording in case alone.
func foldedTwin(r *recording, id string) bool {
	return strings.Contains(id, ":applications:") && slices.ContainsFunc(r.twins, func(twin string) bool { return SameID(id, twin) })
}

// explain returns the name of the difference that a relationship shows, or "".
func (r *recording) explain(rel relation, who side) string {
	for _, d := range differences {
		if d.who == who && d.applies(r, rel) {
			return d.name
		}
	}
	return ""
}

func TestEachDifferenceToStockOccurs(t *testing.T) {
	seen := map[string]int{}
	forEachRecording(t, func(_ *testing.T, r *recording) {
		for rel := range r.stock.related {
			if !r.ours.related[rel] {
				seen[r.explain(rel, stockOnly)]++
			}
		}
		for rel := range r.ours.related {
			if !r.stock.related[rel] {
				seen[r.explain(rel, oursOnly)]++
			}
		}
	})
	for _, d := range differences {
		if seen[d.name] == 0 {
			t.Errorf("difference %q does not occur any more", d.name)
		}
	}
	t.Log(seen)
}

// related tells whether two objects are related in both directions, in stock's rows and in ours.
func (r *recording) related(a, b Key) (stock, ours bool) {
	there, back := relation{r.id(a), r.id(b)}, relation{r.id(b), r.id(a)}
	return r.stock.related[there] && r.stock.related[back], r.ours.related[there] && r.ours.related[back]
}

// Clouddriver adds an empty map of annotations to a manifest after it used the manifest as the key of a hash map
// (KubernetesCachingAgent.buildCacheResult): the relations of a manifest without annotations are not found again.
func TestStockForgetsWhatObjectsWithoutAnnotationsRelateTo(t *testing.T) {
	forEachRecording(t, func(t *testing.T, r *recording) {
		if r.account == "managed" { // it has no objects without annotations
			for _, k := range []Key{{service, "golden", "back-unannotated"}, {ingress, "golden", "unannotated"}, {statefulSet, "golden", "unannotated"}} {
				if r.ours.bodies[r.id(k)] != nil || r.stock.bodies[r.id(k)] != nil {
					t.Errorf("%s has a row although nobody manages it", k)
				}
			}
			return
		}
		stock, ours := r.related(Key{service, "golden", "back"}, Key{replicaSet, "golden", "shop-prod-eu-v012"})
		if !stock || !ours {
			t.Errorf("with annotations: stock %v, ours %v", stock, ours)
		}
		for a, b := range map[Key]Key{
			{service, "golden", "back-unannotated"}: {replicaSet, "golden", "shop-prod-eu-v012"},
			{ingress, "golden", "unannotated"}:      {service, "golden", "web"},
			{statefulSet, "golden", "unannotated"}:  {service, "golden", "store"},
		} {
			if stock, ours := r.related(a, b); stock || !ours {
				t.Errorf("%s and %s: stock %v, ours %v", a, b, stock, ours)
			}
		}
	})
}

// A backend without service is a null pointer to KubernetesIngressHandler.
func TestStockRelatesNothingOfAnIngressWithABackendThatIsNoService(t *testing.T) {
	forEachRecording(t, func(t *testing.T, r *recording) {
		stock, ours := r.related(Key{ingress, "golden", "resource-backend"}, Key{service, "golden", "web"})
		if stock || !ours {
			t.Errorf("stock %v, ours %v", stock, ours)
		}
	})
}

// KubernetesServiceHandler.intersectLabels removes from the set that it looked up under a selector's first label.
func TestStockLosesWhatAServiceSelectsWhenOneBeforeItSelectsLess(t *testing.T) {
	forEachRecording(t, func(t *testing.T, r *recording) {
		stock, ours := r.related(Key{service, "golden", "shop-all"}, Key{replicaSet, "golden", "shop-prod-eu-v013"})
		if stock || !ours {
			t.Errorf("stock %v, ours %v", stock, ours)
		}
	})
}

// The ids of the two applications are one to MySQL: the row has the id of the first and the body of the last. We write
// the first in byte order and report the other.
func TestStockMixesApplicationsThatDifferInCase(t *testing.T) {
	forEachRecording(t, func(t *testing.T, r *recording) {
		if r.account == "managed" && len(r.twins) == 0 {
			return
		}
		upper, lower := "kubernetes.v2:logical:applications:Web", "kubernetes.v2:logical:applications:web"
		if (r.stock.bodies[upper] == nil) == (r.stock.bodies[lower] == nil) {
			t.Error("stock has not one row of the two")
		}
		if r.ours.bodies[upper] == nil || r.ours.bodies[lower] != nil {
			t.Error("we have not the first of the two")
		}
		if !slices.ContainsFunc(r.inventory.Problems(), func(p Problem) bool { return p.Key == Key{Applications, "", "web"} }) {
			t.Errorf("problems are %v", r.inventory.Problems())
		}
	})
}

// The column rel_type has 64 characters. Stock Clouddriver does not need it where both ends are inline.
func TestLinksToTypesOfMoreThan64CharactersAreReported(t *testing.T) {
	r := loadRecording(t, "1.38", "demo-stock")
	owner := Key{"NetworkPolicy.crd.golden.example.com", "golden", "default.deny"}
	child := Key{"ManagedControlPlaneTemplate.infrastructure.golden-cluster.x-example.com", "golden", "long"}
	if !r.ours.related[relation{r.id(child), r.id(owner)}] || r.ours.related[relation{r.id(owner), r.id(child)}] {
		t.Error("the owner is not related one way")
	}
	if !slices.ContainsFunc(r.inventory.Problems(), func(p Problem) bool { return p.Key == Key{Type: child.Type} }) {
		t.Errorf("problems are %v", r.inventory.Problems())
	}
}

// Custom resources do not make an application exist, in stock Clouddriver because their agent writes links alone.
func TestStockRelatesApplicationsThatHaveNoRow(t *testing.T) {
	r := loadRecording(t, "1.38", "everything")
	app := relation{"kubernetes.v2:logical:applications:only-custom", r.id(Key{"Widget.golden-test.example.com", "", "narrow"})}
	if !r.stock.related[app] || r.ours.related[app] || r.stock.bodies[app.from] != nil || r.ours.bodies[app.from] != nil {
		t.Error("stock and ours are not as they were")
	}
}

// The annotation that kubectl apply keeps holds a Secret's data once more.
func TestStockKeepsASecretsDataInAnAnnotation(t *testing.T) {
	r := loadRecording(t, "1.38", "demo-stock")
	id := r.id(Key{secret, "golden", "applied"})
	const data = "Y29ycHVzLXBhc3N3b3Jk"
	if !strings.Contains(asJSON(r.stock.bodies[id]), data) || strings.Contains(asJSON(r.ours.bodies[id]), data) {
		t.Error("stock and ours are not as they were")
	}
}

// The numbers that stock Clouddriver stores went through a double.
func TestStockRoundsBigIntegers(t *testing.T) {
	for _, row := range readLines[goldenRow](t, "1.38/demo-stock.jsonl") {
		if strings.HasSuffix(row.ID, ":CronTab.stable.example.com:demo-stock:golden:my-crontab") && !strings.Contains(row.Body, "9.007199254740992E15") {
			t.Errorf("stock's row is %s", row.Body)
		}
	}
	inv := NewInventory("a", Options{})
	changes, _ := inv.Put(manifest(t, "stable.example.com/v1", "CronTab", "golden/my-crontab", `{"spec":{"big":9007199254740993}}`))
	if !strings.Contains(string(changes[0].Body), "9007199254740993") {
		t.Errorf("our row is %s", changes[0].Body)
	}
}
