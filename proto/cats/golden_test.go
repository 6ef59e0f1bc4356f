package cats

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The recordings in testdata/golden/VERSION are made by "bin/testenv golden": rows that the stock provider of a real
// Clouddriver wrote for the objects of testenv/golden/corpus (and for what Kubernetes itself adds), and these objects
// at that moment. testdata/golden/first is an older recording of rows alone.

// accounts are those of the recordings, with the options that say the same.
var accounts = map[string]Options{
	"demo-stock": {},
	"everything": {AllApplicationRelationships: true},
	"managed":    {OnlySpinnakerManaged: true},
}

var versions = []string{"1.38", "2026.2"}

type relation struct{ from, to string }

// view is what Clouddriver reads of an account.
type view struct {
	bodies  map[string]map[string]any // by id
	related map[relation]bool
}

func newView() *view { return &view{map[string]map[string]any{}, map[relation]bool{}} }

func (v *view) addBody(t *testing.T, id string, text []byte) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("body of %s: %v", id, err)
	}
	v.bodies[id] = body
	relationships, _ := body["relationships"].(map[string]any)
	for _, ids := range relationships {
		for _, to := range ids.([]any) {
			v.related[relation{id, to.(string)}] = true
		}
	}
}

func (v *view) removeBody(id string) {
	relationships, _ := v.bodies[id]["relationships"].(map[string]any)
	for _, ids := range relationships {
		for _, to := range ids.([]any) {
			delete(v.related, relation{id, to.(string)})
		}
	}
	delete(v.bodies, id)
}

type goldenRow struct{ Table, ID, Agent, Hash, Body string }

type goldenLink struct {
	Table string
	ID    string
	To    string `json:"rel_id"`
	Agent string `json:"rel_agent"`
}

func readLines[T any](t *testing.T, name string) []T {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 4<<20)
	var items []T
	for scanner.Scan() {
		var item T
		if err := json.Unmarshal(scanner.Bytes(), &item); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		items = append(items, item)
	}
	if err := scanner.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return items
}

// recording is one account of one Clouddriver.
type recording struct {
	version, account string
	rows             []goldenRow
	stock, ours      *view
	live             map[string]map[string]any // objects by our id
	inventory        *Inventory
	twins            []string // ids of applications that MySQL takes for another's
}

func loadRecording(t *testing.T, version, account string) *recording {
	t.Helper()
	r := &recording{
		version: version, account: account, stock: newView(), ours: newView(), live: map[string]map[string]any{},
		inventory: NewInventory(account, accounts[account]),
		rows:      readLines[goldenRow](t, version+"/"+account+".jsonl"),
	}
	kinds := map[Type]bool{}
	for _, row := range r.rows {
		r.stock.addBody(t, row.ID, []byte(row.Body))
		_, key, err := ParseID(row.ID)
		if err != nil {
			t.Fatal(err)
		}
		kinds[key.Type] = true
	}
	for _, link := range readLines[goldenLink](t, version+"/links.jsonl") {
		if strings.Contains(link.Agent, ":"+account+"/") {
			r.stock.related[relation{link.ID, link.To}] = true
		}
	}
	for _, raw := range readLines[json.RawMessage](t, version+"/objects.jsonl") {
		object := decodeObject(t, raw)
		key, err := KeyOf(object)
		if err != nil {
			t.Fatal(err)
		}
		if !kinds[key.Type] {
			continue
		}
		r.live[string(appendID(nil, account, key))] = object
		changes, err := r.inventory.Put(object)
		if err != nil && !errors.Is(err, ErrTooLong) {
			t.Errorf("put: %v", err)
		}
		r.apply(t, changes)
	}
	for _, p := range r.inventory.Problems() {
		if p.Key.Type == Applications {
			r.twins = append(r.twins, r.id(p.Key))
		}
	}
	return r
}

func (r *recording) apply(t *testing.T, changes []Change) {
	t.Helper()
	for _, c := range changes {
		switch c.Kind {
		case PutRow:
			r.ours.addBody(t, string(appendID(nil, r.account, c.Key)), c.Body)
		case PutLink:
			from, to := string(appendID(nil, r.account, c.Link.From)), string(appendID(nil, r.account, c.Link.To))
			if r.ours.related[relation{from, to}] {
				t.Errorf("link %s -> %s repeats a relationship", from, to)
			}
			r.ours.related[relation{from, to}] = true
		case DeleteRow:
			r.ours.removeBody(string(appendID(nil, r.account, c.Key)))
		case DeleteLink:
			delete(r.ours.related, relation{string(appendID(nil, r.account, c.Link.From)), string(appendID(nil, r.account, c.Link.To))})
		}
	}
}

func forEachRecording(t *testing.T, test func(t *testing.T, r *recording)) {
	for _, version := range versions {
		for _, account := range slices.Sorted(maps.Keys(accounts)) {
			t.Run(version+"/"+account, func(t *testing.T) { test(t, loadRecording(t, version, account)) })
		}
	}
}

func TestBodiesEqualThoseOfStockClouddriver(t *testing.T) {
	compared := 0
	forEachRecording(t, func(t *testing.T, r *recording) {
		restless := 0
		for id, want := range r.stock.bodies {
			got := r.ours.bodies[id]
			if foldedTwin(r, id) {
				continue
			}
			if got == nil {
				t.Errorf("no row %s", id)
				continue
			}
			if version(want) != version(got) {
				restless++
				continue
			}
			normalise(id, want)
			if !reflect.DeepEqual(want["attributes"], got["attributes"]) {
				t.Errorf("%s:\nstock %s\nours  %s", id, asJSON(want["attributes"]), asJSON(got["attributes"]))
			}
			if got["id"] != id || got["ttlSeconds"] != want["ttlSeconds"] {
				t.Errorf("%s: id %v, ttlSeconds %v", id, got["id"], got["ttlSeconds"])
			}
			compared++
		}
		for id := range r.ours.bodies {
			if r.stock.bodies[id] == nil && !foldedTwin(r, id) {
				t.Errorf("row %s is not stock's", id)
			}
		}
		if restless > 10 {
			t.Errorf("%d rows changed while they were recorded", restless)
		}
	})
	t.Logf("%d rows compared", compared)
}

// normalise takes out of a body of stock's what is known to differ; stock_test.go has a test for each.
func normalise(id string, stock map[string]any) {
	if attributes, ok := stock["attributes"].(map[string]any); ok {
		delete(attributes, "cacheExpiry")
	}
	if strings.Contains(id, ":secret:") {
		if annotations := annotationsOf(manifestOf(stock)); annotations != nil {
			delete(annotations, annotationLastApplied)
		}
	}
}

func manifestOf(body map[string]any) map[string]any {
	attributes, _ := body["attributes"].(map[string]any)
	manifest, _ := attributes["manifest"].(map[string]any)
	return manifest
}

func annotationsOf(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	return annotations
}

func version(body map[string]any) any {
	metadata, _ := manifestOf(body)["metadata"].(map[string]any)
	return metadata["resourceVersion"]
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestRelationshipsEqualThoseOfStockClouddriver(t *testing.T) {
	compared := 0
	forEachRecording(t, func(t *testing.T, r *recording) {
		for rel := range r.stock.related {
			if !r.ours.related[rel] && r.explain(rel, stockOnly) == "" {
				t.Errorf("stock alone relates %s -> %s", rel.from, rel.to)
			}
			compared++
		}
		for rel := range r.ours.related {
			if !r.stock.related[rel] && r.explain(rel, oursOnly) == "" {
				t.Errorf("we alone relate %s -> %s", rel.from, rel.to)
			}
		}
	})
	t.Logf("%d relationships compared", compared)
}

func TestHashesOfRecordedRowsAreSHA256(t *testing.T) {
	for _, row := range readLines[goldenRow](t, "1.38/managed.jsonl") {
		sum := sha256.Sum256([]byte(row.Body))
		if hex.EncodeToString(sum[:]) != row.Hash {
			t.Errorf("hash of %s is %s", row.ID, row.Hash)
		}
	}
}

// The first recording has no objects: they are taken out of the rows, of which they are the manifests.
func TestBodiesEqualThoseOfTheFirstRecording(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/first/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	r := &recording{account: "stock", stock: newView(), ours: newView(), inventory: NewInventory("stock", Options{})}
	for _, file := range files {
		for _, row := range readLines[goldenRow](t, "first/"+filepath.Base(file)) {
			r.stock.addBody(t, row.ID, []byte(row.Body))
			if object := manifestOf(r.stock.bodies[row.ID]); object != nil {
				text, _ := json.Marshal(object)
				changes, err := r.inventory.Put(decodeObject(t, text))
				if err != nil {
					t.Fatal(err)
				}
				r.apply(t, changes)
			}
		}
	}
	for id, want := range r.stock.bodies {
		normalise(id, want)
		if got := r.ours.bodies[id]; !reflect.DeepEqual(want["attributes"], got["attributes"]) || want["ttlSeconds"] != got["ttlSeconds"] {
			t.Errorf("%s:\nstock %s\nours  %s", id, asJSON(want), asJSON(got))
		}
	}
	if !maps.Equal(r.stock.related, r.ours.related) || len(r.stock.bodies) != len(r.ours.bodies) {
		t.Errorf("relationships or rows differ")
	}
}
