package cats

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzID(f *testing.F) {
	for _, id := range []string{
		"kubernetes.v2:infrastructure:pod:prod:ns:web-7d-x",
		"kubernetes.v2:infrastructure:clusterRole:prod::system;node",
		"kubernetes.v2:infrastructure:CronTab.stable.example.com:prod:ns:c",
		"kubernetes.v2:logical:applications:web",
		"kubernetes.v2:logical:clusters:prod:web:deployment web",
		"kubernetes.v2:logical:clusters:prod:a;b/c%2F:漢字🚀",
		"kubernetes.v2:infrastructure:applications:a:b:c",
		"kubernetes.v2:artifact:x", ":::::", "",
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		account, key, err := ParseID(id)
		if err != nil {
			return
		}
		again := string(appendID(nil, account, key))
		if again != id {
			t.Errorf("ParseID(%q) = %q, %+v, which is %q", id, account, key, again)
		}
		checkKey(t, account, key)
	})
}

func FuzzKey(f *testing.F) {
	f.Add("prod", "pod", "ns", "web-7d-x")
	f.Add("prod", "applications", "", "a:b;c")
	f.Add("prod", "clusters", "a/b%2F%25", "deployment a/b")
	f.Add("prod", "role", "ns", "Größe ")
	f.Fuzz(func(t *testing.T, account, typ, scope, name string) {
		if typ == "" || Type(typ) == Applications && scope != "" {
			return
		}
		checkKey(t, account, Key{Type(typ), scope, name})
	})
}

func checkKey(t *testing.T, account string, key Key) {
	t.Helper()
	id := string(appendID(nil, account, key))
	parsedAccount, parsed, err := ParseID(id)
	if err != nil {
		t.Fatalf("ParseID(%q): %v", id, err)
	}
	if key.Type != Applications && parsedAccount != strings.ReplaceAll(account, ";", ":") {
		t.Errorf("account of %q is %q, want %q", id, parsedAccount, account)
	}
	if again := string(appendID(nil, account, parsed)); again != id {
		t.Errorf("%q parses to %+v, which is %q", id, parsed, again)
	}
	if parsed.Path() != key.Path() {
		t.Errorf("path of %+v is %q, but that of its id %q", key, key.Path(), parsed.Path())
	}
	back, err := PathKey(parsed.Type, parsed.Path())
	if err != nil || back != parsed {
		t.Errorf("PathKey(%q) = %+v, %v; want %+v", parsed.Path(), back, err, parsed)
	}
	if limited, err := key.ID(account); err == nil && (limited != id || utf8.RuneCountInString(id) > MaximumIDLength) {
		t.Errorf("ID = %q, want %q", limited, id)
	}
	if link := (Link{key, parsed}).ID(account); len(link) != 26 || strings.Trim(link, base32Hex) != "" {
		t.Errorf("id of a link is %q", link)
	}
}

func FuzzType(f *testing.F) {
	f.Add("apps/v1", "ReplicaSet")
	f.Add("v1", "po")
	f.Add("stable.example.com/v1", "CronTab")
	f.Add("/", ".")
	f.Fuzz(func(t *testing.T, apiVersion, kind string) {
		typ := TypeOf(apiVersion, kind)
		if !strings.Contains(kind, ".") {
			if again := ParseType(string(typ)); again != typ {
				t.Errorf("ParseType(%q) = %q", typ, again)
			}
		}
		if name := TableName("", typ, true); len(name) > maximumTableName {
			t.Errorf("table of %q is %q", typ, name)
		}
		if name := AgentName("account", typ, true); utf16Length(name) > maximumAgentName {
			t.Errorf("agent of %q is %q", typ, name)
		}
	})
}

func FuzzMoniker(f *testing.F) {
	for _, seed := range [][3]string{
		{"app-stack-detail-v003", "web", "3"},
		{"system:coredns-v003", `"web"`, `"3"`},
		{"a-v0", `"`, "3.9"},
		{"-v003", `"\u00fc"`, "null"},
		{"v003", `"a" "b"`, "99999999999"},
		{" ", `"\`, "[3]"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, name, application, sequence string) {
		m := monikerOf(replicaSet, name, map[string]any{
			annotationApplication: application, annotationSequence: sequence, annotationIgnore: sequence,
		})
		if m.cluster.ok && m.cluster.value != name && !m.app.ok && application == "" {
			t.Errorf("cluster of %q is %q without an application", name, m.cluster.value)
		}
		if len(m.cluster.value) > len(name) {
			t.Errorf("cluster of %q is %q", name, m.cluster.value)
		}
		var e encoder
		m.encode(&e)
		var fields map[string]any
		if err := json.Unmarshal(e.out, &fields); err != nil {
			t.Errorf("moniker of %q is %s: %v", name, e.out, err)
		}
		for field := range fields {
			if !strings.Contains(" app cluster detail sequence stack ", " "+field+" ") {
				t.Errorf("Clouddriver's Moniker has no field %q", field)
			}
		}
	})
}

func FuzzFold(f *testing.F) {
	f.Add("Straße ", "STRASSE")
	f.Add("a\u0301", "Á")
	f.Add("🚀", "漢")
	f.Fuzz(func(t *testing.T, a, b string) {
		if folded := Fold(a); Fold(folded) != folded {
			t.Errorf("Fold(%q) = %q, which folds to %q", a, folded, Fold(folded))
		}
		if plain(a) && plain(b) && SameID(a, b) != (a == b) {
			t.Errorf("%q and %q are plain and fold to one", a, b)
		}
	})
}

// FuzzObject: any JSON object gives an error or a body that is JSON, says what its key says, and has the object in it.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n"}}`,
		`{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r","ownerReferences":[{"kind":"Deployment","name":"d","apiVersion":"apps/v1"},null]},"spec":{"template":{"metadata":{"labels":{"a":"b","c":1}}}}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","annotations":{"moniker.spinnaker.io/application":"\"a\\u0000\""}},"spec":{"selector":{"a":"b"}}}`,
		`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i"},"spec":{"backend":{"serviceName":"x"},"rules":[{"http":{"paths":[{"backend":{"service":{"name":"s"}}},{"backend":{"resource":{}}}]}},5]}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"x"}},"data":{"a":"b"},"stringData":{"a":"b"}}`,
		`{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"apiVersion":"v1","kind":"Event","name":"e"}}`,
		`{"apiVersion":"x/v1","kind":"K","metadata":{"name":"k","managedFields":[1],"annotations":null},"a":[null,1.5e300,-0,9223372036854775807,[[[{}]]]]}`,
		`{"kind":"applications","apiVersion":"v1","metadata":{"name":"x"}}`, `{}`, `{"metadata":7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var object map[string]any
		if decoder.Decode(&object) != nil {
			return
		}
		convertNumbers(object)
		before, _ := json.Marshal(object)
		inv := NewInventory("account", Options{AllApplicationRelationships: true})
		changes, err := inv.Put(object)
		if after, _ := json.Marshal(object); !bytes.Equal(before, after) {
			t.Errorf("object was changed to %s", after)
		}
		if err != nil {
			return
		}
		key, err := KeyOf(object)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Kind == PutRow && c.Key == key {
				checkBody(t, key, object, c.Body)
			}
		}
		if again, _ := inv.Put(object); len(again) > 0 {
			t.Errorf("again gives %v", again)
		}
		inv.Delete(key)
		if count, xor := inv.Digest(Group{Type: key.Type}); count != 0 || xor != 0 {
			t.Errorf("digest after delete is %d, %x", count, xor)
		}
	})
}

func checkBody(t *testing.T, key Key, object map[string]any, text []byte) {
	t.Helper()
	var body struct {
		ID         string
		Attributes struct {
			Kind, Name, Namespace string
			Manifest              map[string]any
		}
		Relationships map[string][]string
		TTLSeconds    int
	}
	if err := json.Unmarshal(text, &body); err != nil || !utf8.Valid(text) {
		t.Fatalf("body %s: %v", text, err)
	}
	id, err := key.ID("account")
	if err != nil || body.ID != strings.ToValidUTF8(id, "\uFFFD") && utf8.ValidString(id) {
		t.Errorf("body has id %q, key %q (%v)", body.ID, id, err)
	}
	if a := body.Attributes; a.Name != key.Name || a.Kind != string(key.Type) || a.Namespace != key.Scope {
		t.Errorf("attributes %+v are not of %+v", a, key)
	}
	if body.Relationships["pod"] == nil || body.Relationships["service"] == nil || body.TTLSeconds != -1 {
		t.Errorf("body lacks what is always there: %s", text)
	}
	if metadata, _ := body.Attributes.Manifest["metadata"].(map[string]any); metadata["annotations"] == nil || metadata["managedFields"] != nil {
		t.Errorf("metadata is %v", metadata)
	}
	if key.Type == secret && (body.Attributes.Manifest["data"] != nil || body.Attributes.Manifest["stringData"] != nil) {
		t.Error("a secret's data is in its body")
	}
	if len(object) > 0 && len(body.Attributes.Manifest) == 0 {
		t.Error("the manifest is lost")
	}
}
