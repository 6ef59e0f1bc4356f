package cats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// manifest writes an object in one line: manifest("apps/v1", "ReplicaSet", "ns/name", `{"spec":…}`).
func manifest(t testing.TB, apiVersion, kind, path string, more ...string) map[string]any {
	t.Helper()
	namespace, name, _ := strings.Cut(path, "/")
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	object := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for _, m := range more {
		for k, v := range decodeObject(t, []byte(m)) {
			if fields, ok := v.(map[string]any); ok && k == "metadata" {
				for field, value := range fields {
					metadata[field] = value
				}
				continue
			}
			object[k] = v
		}
	}
	return object
}

func mustPut(t testing.TB, inv *Inventory, object map[string]any) []string {
	t.Helper()
	changes, err := inv.Put(object)
	if err != nil {
		t.Fatal(err)
	}
	return lines(changes)
}

// lines are changes in order, without bodies.
func lines(changes []Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	slices.Sort(out)
	return out
}

func expect(t testing.TB, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("changes are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const ownedByWeb = `{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d"}]}}`

func TestApplicationsAndClustersComeWithTheFirstMemberAndLeaveWithTheLast(t *testing.T) {
	inv := NewInventory("a", Options{})
	expect(t, mustPut(t, inv, manifest(t, "apps/v1", "Deployment", "ns/web")),
		"put row applications web", "put row clusters web/web", "put row deployment ns/web",
		"put link applications web -> clusters web/web", "put link applications web -> deployment ns/web",
		"put link clusters web/web -> deployment ns/web")
	expect(t, mustPut(t, inv, manifest(t, "apps/v1", "StatefulSet", "ns/web")),
		"put row statefulSet ns/web",
		"put link applications web -> statefulSet ns/web", "put link clusters web/web -> statefulSet ns/web")
	expect(t, lines(inv.Delete(Key{deployment, "ns", "web"})),
		"delete row deployment ns/web",
		"delete link applications web -> deployment ns/web", "delete link clusters web/web -> deployment ns/web")
	expect(t, mustPut(t, inv, manifest(t, "apps/v1", "StatefulSet", "ns/web", `{"metadata":{"annotations":{"moniker.spinnaker.io/application":"shop"}}}`)),
		"put row applications shop", "put row clusters shop/web", "put row statefulSet ns/web", "delete row applications web", "delete row clusters web/web",
		"put link applications shop -> clusters shop/web", "put link applications shop -> statefulSet ns/web", "put link clusters shop/web -> statefulSet ns/web",
		"delete link applications web -> clusters web/web", "delete link applications web -> statefulSet ns/web", "delete link clusters web/web -> statefulSet ns/web")
	expect(t, lines(inv.Delete(Key{statefulSet, "ns", "web"})),
		"delete row applications shop", "delete row clusters shop/web", "delete row statefulSet ns/web",
		"delete link applications shop -> clusters shop/web", "delete link applications shop -> statefulSet ns/web", "delete link clusters shop/web -> statefulSet ns/web")
}

func TestALinkFromAnOwnerExistsWhileBothDo(t *testing.T) {
	inv := NewInventory("a", Options{})
	owned := manifest(t, "v1", "Pod", "ns/p", ownedByWeb)
	expect(t, mustPut(t, inv, owned), "put row pod ns/p")
	got := mustPut(t, inv, manifest(t, "apps/v1", "ReplicaSet", "ns/web-7d"))
	if !slices.Contains(got, "put link replicaSet ns/web-7d -> pod ns/p") {
		t.Errorf("the owner's arrival gives %v", got)
	}
	got = lines(inv.Delete(Key{replicaSet, "ns", "web-7d"}))
	if !slices.Contains(got, "delete link replicaSet ns/web-7d -> pod ns/p") {
		t.Errorf("the owner's departure gives %v", got)
	}
	expect(t, lines(inv.Delete(Key{pod, "ns", "p"})), "delete row pod ns/p")
}

func TestAPodThatChangesCostsItsRowAlone(t *testing.T) {
	inv := NewInventory("a", Options{})
	mustPut(t, inv, manifest(t, "apps/v1", "ReplicaSet", "ns/web-7d"))
	mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", ownedByWeb))
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", ownedByWeb, `{"status":{"phase":"Running"}}`)), "put row pod ns/p")
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", ownedByWeb, `{"status":{"phase":"Running"}}`)))
}

func TestAServiceIsLinkedWithTheReplicaSetsThatItSelects(t *testing.T) {
	inv := NewInventory("a", Options{})
	template := func(labels string) string { return `{"spec":{"template":{"metadata":{"labels":` + labels + `}}}}` }
	mustPut(t, inv, manifest(t, "apps/v1", "ReplicaSet", "ns/x", template(`{"app":"x","tier":"back"}`)))
	mustPut(t, inv, manifest(t, "apps/v1", "ReplicaSet", "ns/y", template(`{"app":"y","tier":"back"}`)))
	mustPut(t, inv, manifest(t, "apps/v1", "ReplicaSet", "other/x", template(`{"app":"x","tier":"back"}`)))
	selecting := func(selector string) []string {
		all := mustPut(t, inv, manifest(t, "v1", "Service", "ns/s", `{"spec":{"selector":`+selector+`}}`))
		return slices.DeleteFunc(all, func(l string) bool { return strings.Contains(l, "row") || strings.Contains(l, "applications") })
	}
	both := func(verb, rs string) []string {
		return []string{verb + " link service ns/s -> replicaSet " + rs, verb + " link replicaSet " + rs + " -> service ns/s"}
	}
	expect(t, selecting(`{"app":"x"}`), both("put", "ns/x")...)
	expect(t, selecting(`{"tier":"back"}`), both("put", "ns/y")...)
	expect(t, selecting(`{"app":"y","tier":"back"}`), both("delete", "ns/x")...)
	expect(t, selecting(`{"app":"y","tier":"front"}`), both("delete", "ns/y")...)
	expect(t, selecting(`{}`))
}

func TestEveryShapeOfIngressBackendIsRead(t *testing.T) {
	for shape, want := range map[string]string{
		`{"defaultBackend":{"service":{"name":"s"}}}`:                                                      "s",
		`{"rules":[{"http":{"paths":[{"backend":{"service":{"name":"s"}}}]}},{"host":"empty"}]}`:           "s",
		`{"backend":{"serviceName":"s","servicePort":80}}`:                                                 "s",
		`{"rules":[{"http":{"paths":[{"backend":{"serviceName":"s"}},{"backend":{"serviceName":"s"}}]}}]}`: "s",
		`{"defaultBackend":{"resource":{"kind":"Bucket","name":"s"}}}`:                                     "",
		`{"rules":[null,{"http":null},{"http":{"paths":[null]}}]}`:                                         "",
	} {
		inv := NewInventory("a", Options{})
		o, err := inv.parse(manifest(t, "networking.k8s.io/v1", "Ingress", "ns/i", `{"spec":`+shape+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(o.services, " "); got != want {
			t.Errorf("services of %s are %q, want %q", shape, got, want)
		}
	}
}

func TestABodyIsCanonical(t *testing.T) {
	inv := NewInventory("a:b", Options{})
	changes, err := inv.Put(manifest(t, "apps/V1", "ReplicaSet", "ns/web-v003", ownedByWeb,
		`{"metadata":{"managedFields":[{}],"labels":{"z":"<ü>","a":"\t"}},"spec":{"big":9007199254740993,"float":0.10,"whole":3.0,"huge":1e30,"null":null,"list":[null,{"null":null}],"empty":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"attributes":{"apiVersion":"apps/v1","fullResourceName":"replicaSet web-v003","kind":"replicaSet",` +
		`"manifest":{"apiVersion":"apps/V1","kind":"ReplicaSet","metadata":{"annotations":{},"labels":{"a":"\t","z":"<ü>"},"name":"web-v003","namespace":"ns",` +
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d"}]},` +
		`"spec":{"big":9007199254740993,"empty":{},"float":0.1,"huge":1e+30,"list":[null,{}],"whole":3}},` +
		`"moniker":{"app":"web","cluster":"web","sequence":3},"name":"web-v003","namespace":"ns"},` +
		`"id":"kubernetes.v2:infrastructure:replicaSet:a;b:ns:web-v003",` +
		`"relationships":{"applications":["kubernetes.v2:logical:applications:web"],"clusters":["kubernetes.v2:logical:clusters:a;b:web:web"],"pod":[],` +
		`"replicaSet":["kubernetes.v2:infrastructure:replicaSet:a;b:ns:web-7d"],"service":[]},"ttlSeconds":-1}`
	for _, c := range changes {
		if c.Key.Type == replicaSet && c.Kind == PutRow && string(c.Body) != want {
			t.Errorf("body is\n%s\nwant\n%s", c.Body, want)
		}
	}
}

func TestASecretsDataNeverReachesItsBody(t *testing.T) {
	inv := NewInventory("a", Options{})
	changes, err := inv.Put(manifest(t, "v1", "Secret", "ns/s", `{"data":{"p":"aHVudGVyMg=="},"stringData":{"p":"hunter2"},"type":"Opaque",
		"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"aHVudGVyMg==\"}}","keep":"this"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	body := string(changes[0].Body)
	if strings.Contains(body, "aHVudGVyMg") || strings.Contains(body, "hunter2") || !strings.Contains(body, `"annotations":{"keep":"this"}`) {
		t.Errorf("body is %s", body)
	}
}

func TestAnObjectThatAsksToBeIgnoredLeaves(t *testing.T) {
	inv := NewInventory("a", Options{})
	mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p"))
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"annotations":{"caching.spinnaker.io/ignore":"true"}}}`)), "delete row pod ns/p")
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p")), "put row pod ns/p")
}

func TestOnlySpinnakerManagedLeavesOutWhatHasNoApplication(t *testing.T) {
	inv := NewInventory("a", Options{OnlySpinnakerManaged: true})
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p")))
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"annotations":{"moniker.spinnaker.io/application":""}}}`)))
	expect(t, mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"annotations":{"moniker.spinnaker.io/application":"x"}}}`)), "put row pod ns/p")
}

func TestAListingDeletesWhatItDoesNotHold(t *testing.T) {
	inv := NewInventory("a", Options{})
	expect(t, lines(inv.End(pod)))
	inv.Begin(pod)
	for n := range 3 {
		mustPut(t, inv, manifest(t, "v1", "Pod", fmt.Sprint("ns/p", n)))
	}
	expect(t, lines(inv.End(pod)))
	inv.Begin(pod)
	mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p1"))
	inv.Begin(pod) // the listing began again
	mustPut(t, inv, manifest(t, "v1", "Pod", "ns/p2"))
	expect(t, lines(inv.End(pod)), "delete row pod ns/p0", "delete row pod ns/p1")
	expect(t, lines(inv.Drop(pod)), "delete row pod ns/p2")
}

func TestRenderGivesTheRowThatTheRecordsKnow(t *testing.T) {
	inv := NewInventory("a", Options{})
	object := manifest(t, "v1", "Pod", "ns/p")
	if changes, err := inv.Render(object); err != nil || len(changes) != 0 {
		t.Errorf("Render of what the watch did not tell gives %v, %v", changes, err)
	}
	mustPut(t, inv, object)
	changes, err := inv.Render(object)
	if err != nil || len(changes) != 1 || len(changes[0].Body) == 0 {
		t.Errorf("Render gives %v, %v", changes, err)
	}
	if changes, err := inv.Render(manifest(t, "v1", "Pod", "ns/p", `{"status":{"phase":"Running"}}`)); err != nil || len(changes) != 0 {
		t.Errorf("Render of another state gives %v, %v", changes, err)
	}
	if _, err := inv.Render(map[string]any{}); err == nil {
		t.Error("Render takes what is no object")
	}
	if _, err := inv.Render(manifest(t, "v1", "Pod", "ns/p", `{"spec":7}`)); err != nil {
		t.Error(err)
	}
	if changes, err := inv.Render(manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"annotations":{"caching.spinnaker.io/ignore":"true"}}}`)); err != nil || len(changes) != 0 {
		t.Errorf("Render of an ignored object gives %v, %v", changes, err)
	}
}

func TestGroupsThatAreUnknownAreEmpty(t *testing.T) {
	inv := NewInventory("a", Options{})
	inv.Begin(Applications)
	expect(t, lines(inv.Drop(Applications)))
	expect(t, lines(inv.Drop("pod")))
	for _, g := range []Group{{Type: "x"}, {"x", "y"}} {
		if count, xor := inv.Digest(g); count != 0 || xor != 0 {
			t.Errorf("digest of %v is %d, %x", g, count, xor)
		}
		if page := inv.Page(g, "", 10); len(page) != 0 {
			t.Errorf("page of %v is %v", g, page)
		}
		if c, ok := inv.Change(g, "x/y"); ok {
			t.Errorf("change of %v is %v", g, c)
		}
	}
	if _, ok := inv.Change(Group{Type: Applications}, "/x"); ok {
		t.Error("an application without members can be rebuilt")
	}
	if _, err := PathKey(pod, "x"); err == nil {
		t.Error("a path without slash is one")
	}
}

func TestItemsThatComeWhilePagesAreReadAreListed(t *testing.T) {
	inv := NewInventory("a", Options{})
	for n := range 4 {
		mustPut(t, inv, manifest(t, "v1", "Service", fmt.Sprintf("ns/s%d", n*2)))
	}
	rows, links := Group{Type: service}, Group{Applications, service}
	first := inv.Page(rows, "", 2)
	inv.Page(links, "", 2)
	mustPut(t, inv, manifest(t, "v1", "Service", "ns/s5"))
	inv.Delete(Key{service, "ns", "s4"})
	var names []string
	for _, e := range append(first, inv.Page(rows, first[1].Key, 10)...) {
		names = append(names, e.Key)
	}
	if got := strings.Join(names, " "); got != "ns/s0 ns/s2 ns/s5 ns/s6" {
		t.Errorf("pages hold %s", got)
	}
	for _, name := range []string{"s5", "s4"} {
		id := Link{Key{Applications, "", name}, Key{service, "ns", name}}.ID("a")
		c, ok := inv.Change(links, id)
		if ok != (name == "s5") || ok && c.Link.To.Name != name {
			t.Errorf("change of the link to %s is %v, %v", name, c, ok)
		}
	}
}

func TestNumbersOfAllKindsAreExact(t *testing.T) {
	for want, v := range map[string]any{
		"-9223372036854775808": int64(-9223372036854775808), "18446744073709551615": uint64(18446744073709551615), "7": 7, "-7": int32(-7),
		"0.1": 0.1, "1e+30": 1e30, "1e-09": 1e-9, "123456789012345680000": 123456789012345678901.0, "3": 3.0,
		"1.50": json.Number("1.50"), "null": nil, "true": true, `"\u0001\r\n\t\"\\"`: "\x01\r\n\t\"\\", "\"\uFFFD\"": "\xff",
	} {
		var e encoder
		if err := e.value(v); err != nil || string(e.out) != want {
			t.Errorf("%v is written %s, %v; want %s", v, e.out, err, want)
		}
	}
	var e encoder
	if e.value(json.Number("01")) == nil || e.value(json.Number(`"x"`)) == nil {
		t.Error("numbers that are none are written")
	}
}

func TestOfNamesThatMySQLTakesForOneTheFirstIsWritten(t *testing.T) {
	inv := NewInventory("a", Options{})
	role := func(name, rule string) map[string]any {
		return manifest(t, "rbac.authorization.k8s.io/v1", "Role", "ns/"+name, `{"rules":["`+rule+`"]}`)
	}
	expect(t, mustPut(t, inv, role("admin", "1")), "put row role ns/admin")
	expect(t, mustPut(t, inv, role("Admin", "1")), "put row role ns/Admin", "delete row role ns/admin")
	expect(t, mustPut(t, inv, role("ädmin", "1")))
	expect(t, mustPut(t, inv, role("ädmin", "2")))
	problems := inv.Problems()
	if len(problems) != 2 || problems[0].Key.Name != "admin" || problems[1].Reason != "MySQL takes its id for that of role ns/Admin" {
		t.Errorf("problems are %v", problems)
	}
	expect(t, lines(inv.Delete(Key{"role", "ns", "Admin"})), "delete row role ns/Admin")
	if missing := inv.Missing(); len(missing) != 1 || missing[0].Name != "admin" {
		t.Errorf("missing is %v", missing)
	}
	expect(t, mustPut(t, inv, role("admin", "1")), "put row role ns/admin")
	changes := inv.Delete(Key{"role", "ns", "admin"})
	if len(changes) == 2 && changes[0].Kind != DeleteRow {
		t.Error("the row that goes does not go first")
	}
	expect(t, lines(changes), "delete row role ns/admin", "put row role ns/ädmin")
	for _, c := range changes {
		if c.Kind == PutRow && !strings.Contains(string(c.Body), `"2"`) {
			t.Errorf("body is not the latest: %s", c.Body)
		}
	}
	if problems := inv.Problems(); len(problems) != 0 {
		t.Errorf("problems are %v", problems)
	}
}

func TestWhatDoesNotFitIsReported(t *testing.T) {
	inv := NewInventory("a", Options{})
	changes, err := inv.Put(manifest(t, "v1", "Pod", "ns/"+strings.Repeat("x", 400)))
	if !errors.Is(err, ErrTooLong) || len(changes) != 0 {
		t.Errorf("a long name gives %v, %v", changes, err)
	}
	if _, err := inv.Put(manifest(t, "v1", "Service", "ns/s", `{"metadata":{"annotations":{"moniker.spinnaker.io/application":"`+strings.Repeat("x", 400)+`"}}}`)); err != nil {
		t.Errorf("a long application gives %v", err)
	}
	var kinds []string
	for _, p := range inv.Problems() {
		kinds = append(kinds, string(p.Key.Type))
	}
	if got := strings.Join(kinds, " "); got != "applications pod" {
		t.Errorf("problems are of %s", got)
	}
	_, _ = inv.Put(manifest(t, "infrastructure.golden-cluster.x-example.com/v1", "ManagedControlPlaneTemplate", "ns/x"))
	if p := inv.Problems()[0]; !strings.Contains(p.Reason, "64 are the limit") {
		t.Errorf("problem of a long kind is %v", p)
	}
}

func TestObjectsThatAreNoneAreRefused(t *testing.T) {
	deep := map[string]any{}
	for range maximumDepth {
		deep = map[string]any{"x": deep}
	}
	pod := manifest(t, "v1", "Pod", "ns/p")
	for want, object := range map[string]map[string]any{
		"object has no kind":                      {},
		`object of kind "Pod" has no apiVersion`:  {"kind": "Pod"},
		`object of kind "Pod" has no metadata`:    {"kind": "Pod", "apiVersion": "v1", "metadata": 7},
		"has no metadata.name":                    {"kind": "Pod", "apiVersion": "v1", "metadata": map[string]any{}},
		"name of one of Clouddriver's own tables": {"kind": "clusters", "apiVersion": "v1", "metadata": map[string]any{"name": "x"}},
		"metadata.annotations is []interface {}":  manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"annotations":[]}}`),
		"metadata.ownerReferences is string":      manifest(t, "v1", "Pod", "ns/p", `{"metadata":{"ownerReferences":"x"}}`),
		"nests too deep":                          {"kind": "Pod", "apiVersion": "v1", "metadata": pod["metadata"], "spec": deep},
		"value of type chan int is none of JSON":  {"kind": "Pod", "apiVersion": "v1", "metadata": pod["metadata"], "spec": make(chan int)},
		"number NaN is none of JSON":              {"kind": "Pod", "apiVersion": "v1", "metadata": pod["metadata"], "spec": []any{nan()}},
	} {
		inv := NewInventory("a", Options{})
		if changes, err := inv.Put(object); err == nil || !strings.Contains(err.Error(), want) || len(changes) > 0 {
			t.Errorf("want %q: %v, %v", want, changes, err)
		}
		if inv.Groups()[0] != (Group{Type: Applications}) || len(inv.Groups()) != 2 {
			t.Errorf("groups are %v", inv.Groups())
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func TestIDsEscapeColons(t *testing.T) {
	for _, c := range []struct {
		key Key
		id  string
	}{
		{Key{pod, "ns", "p"}, "kubernetes.v2:infrastructure:pod:acct:ns:p"},
		{Key{"clusterRole", "", "system:node"}, "kubernetes.v2:infrastructure:clusterRole:acct::system;node"},
		{Key{Applications, "", "a:b"}, "kubernetes.v2:logical:applications:a;b"},
		{Key{Clusters, "a:b", "deployment c:d"}, "kubernetes.v2:logical:clusters:acct:a;b:deployment c;d"},
	} {
		id, err := c.key.ID("acct")
		if err != nil || id != c.id {
			t.Errorf("ID(%+v) = %q, %v", c.key, id, err)
		}
		account, key, err := ParseID(id)
		if err != nil || key != c.key || account != "acct" && key.Type != Applications {
			t.Errorf("ParseID(%q) = %q, %+v, %v", id, account, key, err)
		}
	}
}

func TestLinkIDsKeepAnAccountTogether(t *testing.T) {
	l := Link{Key{replicaSet, "ns", "r"}, Key{pod, "ns", "p"}}
	id, other := l.ID("account"), Link{l.To, l.From}.ID("account")
	if len(id) != 26 || id[:10] != other[:10] || id[10:] == other[10:] || l.ID("another")[:10] == id[:10] {
		t.Errorf("ids are %s, %s", id, other)
	}
	// Another id for the same link needs another Format.
	if id != "JBP12CKR5VSBUFA5OUF4RJECT1" || Format != 1 {
		t.Errorf("id is %s in format %d", id, Format)
	}
}
