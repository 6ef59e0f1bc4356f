package poison

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/proto/cats"
)

// poison is something that an agent of the account writes.
type poison struct {
	name    string
	objects []map[string]any
	// forge changes the rendered body.
	forge func(body []byte) []byte
	more  []cats.Change
	// rejected: the bridge must not store it.
	rejected bool
}

// object is an object of the application, as an honest cluster could have it.
func object(apiVersion, kind, name string, spec, status map[string]any) map[string]any {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": "shop-shared", "uid": "u-" + name, "creationTimestamp": "2026-01-01T00:00:00Z",
		"labels":      map[string]any{"app": "shared"},
		"annotations": map[string]any{"moniker.spinnaker.io/application": app, "moniker.spinnaker.io/cluster": kind + " " + name}}}
	if spec != nil {
		o["spec"] = spec
	}
	if status != nil {
		o["status"] = status
	}
	return o
}

func replicaSet(change func(o map[string]any)) []map[string]any {
	o := object("apps/v1", "ReplicaSet", "evil", map[string]any{"replicas": 1, "selector": map[string]any{"matchLabels": map[string]any{"app": "shared"}},
		"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "shared"}}, "spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": "x"}}}}},
		map[string]any{"replicas": 1})
	if change != nil {
		change(o)
	}
	return []map[string]any{o}
}

// manifest changes the manifest in a body.
func manifest(change func(m map[string]any)) func([]byte) []byte {
	return func(body []byte) []byte {
		var b map[string]any
		if err := json.Unmarshal(body, &b); err != nil {
			panic(err)
		}
		change(b["attributes"].(map[string]any)["manifest"].(map[string]any))
		text, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		return text
	}
}

func meta(name string, value any) func([]byte) []byte {
	return manifest(func(m map[string]any) { m["metadata"].(map[string]any)[name] = value })
}

func replace(old, next string) func([]byte) []byte {
	return func(body []byte) []byte { return bytes.Replace(body, []byte(old), []byte(next), 1) }
}

// forged are bodies that no honest agent renders.
func forged() []poison {
	deep := strings.Repeat("[", 499) + strings.Repeat("]", 499)
	return []poison{
		{name: "no metadata", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { delete(m, "metadata") }), rejected: true},
		{name: "metadata that is a text", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["metadata"] = "x" }), rejected: true},
		{name: "no kind", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { delete(m, "kind") }), rejected: true},
		{name: "kind that is a number", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["kind"] = 7 }), rejected: true},
		{name: "another kind", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["kind"] = "Nonsense" }), rejected: true},
		{name: "apiVersion that is a list", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["apiVersion"] = []any{} }), rejected: true},
		{name: "name that is another's", objects: replicaSet(nil), forge: meta("name", "other"), rejected: true},
		{name: "namespace that is another's", objects: replicaSet(nil), forge: meta("namespace", "other"), rejected: true},
		{name: "labels that are numbers", objects: replicaSet(nil), forge: meta("labels", map[string]any{"app": 7}), rejected: true},
		{name: "labels that are a list", objects: replicaSet(nil), forge: meta("labels", []any{"app"}), rejected: true},
		{name: "annotations that are objects", objects: replicaSet(nil), forge: meta("annotations", map[string]any{"a": map[string]any{}}), rejected: true},
		{name: "owners that are a text", objects: replicaSet(nil), forge: meta("ownerReferences", "x"), rejected: true},
		{name: "owners that are texts", objects: replicaSet(nil), forge: meta("ownerReferences", []any{"x"}), rejected: true},
		{name: "creationTimestamp that is no time", objects: replicaSet(nil), forge: meta("creationTimestamp", "yesterday"), rejected: true},
		{name: "creationTimestamp that is an object", objects: replicaSet(nil), forge: meta("creationTimestamp", map[string]any{}), rejected: true},
		{name: "half a surrogate", objects: replicaSet(nil), forge: replace(`"u-evil"`, `"\ud800"`), rejected: true},
		{name: "half a surrogate in a name", objects: replicaSet(nil), forge: replace(`"uid"`, `"\udc00x"`), rejected: true},
		{name: "a field name of 60,000 characters", objects: replicaSet(nil), forge: replace(`"uid"`, `"`+strings.Repeat("x", 60_000)+`"`), rejected: true},
		{name: "deep", objects: replicaSet(nil), forge: replace(`"u-evil"`, deep), rejected: true},
		{name: "a number beyond all", objects: replicaSet(nil), forge: replace(`"replicas":1`, `"replicas":1e999999`)},
		{name: "spec that is a text", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["spec"] = "x" }), rejected: true},
		{name: "status that is a list", objects: replicaSet(nil), forge: manifest(func(m map[string]any) { m["status"] = []any{} }), rejected: true},
		{name: "moniker with a sequence that is too large", objects: replicaSet(nil), forge: replace(`"moniker":{`, `"moniker":{"sequence":99999999999,`), rejected: true},
	}
}

// shaped are objects whose specs and statuses have the wrong shapes inside.
func shaped() []poison {
	list := []poison{
		{name: "replicas that are a text", objects: replicaSet(func(o map[string]any) { o["spec"].(map[string]any)["replicas"] = "many" })},
		{name: "containers that are a text", objects: replicaSet(func(o map[string]any) {
			o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"] = "x"
		})},
		{name: "template that is a list", objects: replicaSet(func(o map[string]any) { o["spec"].(map[string]any)["template"] = []any{} })},
		{name: "pod statuses of wrong types", objects: []map[string]any{object("v1", "Pod", "evil", map[string]any{"containers": []any{}}, map[string]any{"containerStatuses": "x", "phase": 7, "startTime": "y"})}},
		{name: "pod conditions of wrong types", objects: []map[string]any{object("v1", "Pod", "evil2", map[string]any{"containers": []any{}}, map[string]any{"conditions": []any{"x"}})}},
		{name: "service selector that is a list", objects: []map[string]any{object("v1", "Service", "evil", map[string]any{"selector": []any{"x"}, "ports": "y"}, nil)}},
		{name: "ingress rules that are texts", objects: []map[string]any{object("networking.k8s.io/v1", "Ingress", "evil", map[string]any{"rules": []any{"x"}}, nil)}},
		{name: "deployment status of wrong types", objects: []map[string]any{object("apps/v1", "Deployment", "evil", map[string]any{"replicas": "x"}, map[string]any{"conditions": "y"})}},
		{name: "network policy of wrong types", objects: []map[string]any{object("networking.k8s.io/v1", "NetworkPolicy", "evil", map[string]any{"ingress": "x", "podSelector": 7}, nil)}},
		{name: "revision that is no number", objects: replicaSet(func(o map[string]any) {
			o["metadata"].(map[string]any)["annotations"].(map[string]any)["deployment.kubernetes.io/revision"] = "many"
		})},
		{name: "artifact annotations that are no JSON", objects: replicaSet(func(o map[string]any) {
			a := o["metadata"].(map[string]any)["annotations"].(map[string]any)
			a["artifact.spinnaker.io/version"], a["moniker.spinnaker.io/sequence"], a["traffic.spinnaker.io/load-balancers"] = "{", "nine", "{["
		})},
	}
	links := poison{name: "links to what is not there, by the hundreds", objects: replicaSet(nil)}
	for i := range 500 {
		links.more = append(links.more, cats.Change{Kind: cats.PutLink, Link: cats.Link{From: cats.Key{Type: cats.Applications, Name: app}, To: cats.Key{Type: cats.Clusters, Scope: app, Name: fmt.Sprint("gone ", i)}}},
			cats.Change{Kind: cats.PutLink, Link: cats.Link{From: cats.Key{Type: cats.Applications, Name: app}, To: cats.Key{Type: "replicaSet", Scope: "nowhere", Name: fmt.Sprint("gone-", i)}}},
			cats.Change{Kind: cats.PutLink, Link: cats.Link{From: cats.Key{Type: "service", Scope: "shop-shared", Name: "shared-front"}, To: cats.Key{Type: "replicaSet", Scope: "shop-shared", Name: fmt.Sprint("gone-", i)}}})
	}
	odd := poison{name: "clusters with odd names"}
	for _, name := range []string{"", " ", "a:b", "x y z", strings.Repeat("n", 200), "\u202e", "replicaSet", "nonsense a b"} {
		key := cats.Key{Type: cats.Clusters, Scope: app, Name: name}
		id, err := key.ID(poisoner)
		if err != nil {
			panic(err)
		}
		text, _ := json.Marshal(map[string]any{"id": id, "attributes": map[string]any{"name": name}, "relationships": map[string]any{}, "ttlSeconds": -1})
		odd.more = append(odd.more, cats.Change{Kind: cats.PutRow, Key: key, Body: text},
			cats.Change{Kind: cats.PutLink, Link: cats.Link{From: cats.Key{Type: cats.Applications, Name: app}, To: key}})
	}
	return append(list, links, odd)
}
