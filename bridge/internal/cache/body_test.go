package cache

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proto/cats"
)

const goodBody = `{"attributes":{"apiVersion":"apps/v1","fullResourceName":"replicaSet r","kind":"replicaSet","manifest":{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r","namespace":"n","labels":{"a":"\ud83d\ude00"},"ownerReferences":[{"kind":"Deployment","name":"d"} , {}],"creationTimestamp":null},"a":["}",{"\"":1e3}]},"moniker":{},"name":"r","namespace":"n"},"id":"kubernetes.v2:infrastructure:replicaSet:a:n:r","relationships":{"pod":[],"deployment":["kubernetes.v2:infrastructure:deployment:a:n:d"]},"ttlSeconds":-1}`

var goodKey = cats.Key{Type: "replicaSet", Scope: "n", Name: "r"}

func TestABodyMayBeSpacedAndEscapedAsItLikes(t *testing.T) {
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, []byte(goodBody), "\t", "\r\n  "); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{goodBody, " " + spaced.String() + "\n", strings.Replace(goodBody, `"id"`, `"\u0069d"`, 1)} {
		if err := checkBody("a", goodKey, "kubernetes.v2:infrastructure:replicaSet:a:n:r", []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzCheckBody looks for bodies that break the check, and for accepted ones that a JSON decoder reads differently.
func FuzzCheckBody(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(`{"attributes":{"name":"r"},"id":"x","relationships":{},"ttlSeconds":600}`))
	f.Add([]byte(`{"a":{"b":[1,2,{"c":"\\\""}]},"d":null,"e":-1.5e+7}`))
	f.Add([]byte("{}"))
	f.Add([]byte(` { "" : [ ] } `))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, _ := goodKey.ID("a")
		err := checkBody("a", goodKey, id, body)
		if err != nil {
			return
		}
		var read struct {
			Attributes struct {
				Kind, Name, Namespace string
			} `json:"attributes"`
			ID            string              `json:"id"`
			Relationships map[string][]string `json:"relationships"`
		}
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		if read.ID != id || read.Attributes.Kind != "replicaSet" || read.Attributes.Name != "r" || read.Attributes.Namespace != "n" {
			t.Errorf("accepted as another row: %+v", read)
		}
	})
}

// FuzzEachMember compares the walk with a JSON decoder.
func FuzzEachMember(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(`{"a":{"b":[1,2,{"c":"\\\""}]},"d":null,"e":-1.5e+7}`))
	f.Add([]byte(` { "\u0000" : [ ] , "x":true} `))
	f.Fuzz(func(t *testing.T, object []byte) {
		if !json.Valid(object) {
			return
		}
		got := map[string]json.RawMessage{}
		err := eachMember(object, func(name string, value []byte) error {
			got[name] = value
			return nil
		})
		if limits := checkLimits(object); limits != nil && len(object) < maximumDepth {
			t.Errorf("limits: %v", limits)
		}
		if err != nil {
			return // no object, or a name that comes twice
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(object, &want); err != nil {
			t.Fatalf("walked, but: %v", err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, want %d", len(got), len(want))
		}
		for name, value := range want {
			if !bytes.Equal(got[name], value) {
				t.Errorf("%q is %s, want %s", name, got[name], value)
			}
		}
	})
}

func BenchmarkCheckBody(b *testing.B) {
	body := []byte(strings.Replace(goodBody, `"a":[`, `"x":"`+strings.Repeat("abcdefgh", 600)+`","a":[`, 1))
	id, _ := goodKey.ID("a")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := checkBody("a", goodKey, id, body); err != nil {
			b.Fatal(err)
		}
	}
}
