package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

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

// FuzzReader compares what the reader takes with what the standard library takes, and what it reads of an object with what that reads.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		goodBody, `{"a":{"b":[1,2,{"c":"\\\""}]},"d":null,"e":-1.5e+7}`, ` { "\u0000" : [ ] , "x":true} `, `"\ud83d\ude00 \\ud800 \u00e9 größe 漢字 plain text of some length"`,
		`"\ud83d\ud83d"`, `"\udc00"`, `[01]`, `[-]`, `[1.]`, `[1e]`, `[1E-07,0,-0.0]`, `{"a":1,}`, `[1,]`, `{"a"}`, `{a:1}`, `nul`, `tru`, `falsee`, "\"\x7f\"", "\"\x1f\"", "\"\xff\"",
		"\"\xed\xa0\x80\"", `"1234567\n"`, `"12345678`, `{"a":1,"\u0061":2}`, "[1]\x00", `"\x"`, `"\u12"`, `"\ud83d\u12"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reader{data: data}
		err := r.skip()
		if err == nil {
			err = r.end()
		}
		valid := json.Valid(data) && utf8.Valid(data)
		switch {
		case err == nil && !valid:
			t.Fatal("taken, and is no JSON in UTF-8")
		case err == nil && halves(data):
			t.Fatal("taken, and holds half a surrogate pair")
		case errors.Is(err, errSurrogate) && valid && !halves(data):
			t.Fatal("refused for a surrogate that is whole")
		case err != nil && valid && !halves(data) && len(data) < maximumDepth:
			t.Fatalf("refused: %v", err)
		case err != nil:
			return
		}
		compareMembers(t, data)
	})
}

// compareMembers reads an object in both ways.
func compareMembers(t *testing.T, object []byte) {
	t.Helper()
	got := map[string]json.RawMessage{}
	r := &reader{data: object}
	err := r.object(func(name []byte) error {
		member := string(name)
		r.peek()
		start := r.at
		err := r.skip()
		got[member] = object[start:r.at]
		return err
	})
	if err != nil {
		return // no object, or a name that comes twice
	}
	want := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &want); err != nil {
		t.Fatalf("read, but: %v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d members, want %d", len(got), len(want))
	}
	for name, value := range want {
		if !bytes.Equal(got[name], value) {
			t.Errorf("%q is %s, want %s", name, got[name], value)
		}
	}
}

// halves tells whether valid JSON holds half a surrogate pair: U+FFFD stands in its place when Go has read it.
func halves(data []byte) bool {
	return strings.Count(compact(data), "\uFFFD") > strings.Count(string(data), "\uFFFD")+strings.Count(strings.ToLower(string(data)), `\ufffd`)
}

// compact is valid JSON without escapes of what needs none.
func compact(data []byte) string {
	var text strings.Builder
	for tokens := json.NewDecoder(bytes.NewReader(data)); ; {
		token, err := tokens.Token()
		if err != nil {
			return text.String()
		}
		if s, ok := token.(string); ok {
			text.WriteString(s)
		}
	}
}

func TestTheLimitsOfClouddriversReaderHoldWhereverTheyAreMet(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"as deep as may be":   {strings.Repeat("[", maximumDepth) + strings.Repeat("]", maximumDepth), nil},
		"deeper":              {strings.Repeat(`{"a":`, maximumDepth+1) + "1" + strings.Repeat("}", maximumDepth+1), errDepth},
		"deeper than any":     {strings.Repeat("[", 1<<20), errDepth},
		"side by side":        {"[" + strings.Repeat("[],", 2*maximumDepth) + "{}]", nil},
		"a long number":       {strings.Repeat("1", maximumNumber), nil},
		"a longer one":        {"[0." + strings.Repeat("1", maximumNumber) + "]", errNumber},
		"a long exponent":     {"1e" + strings.Repeat("0", maximumNumber), errNumber},
		"a long name":         {`{"` + strings.Repeat("n", maximumName) + `":1}`, nil},
		"a longer name":       {`{"a":[{"` + strings.Repeat("n", maximumName+1) + `":1}]}`, errName},
		"a text of that size": {`"` + strings.Repeat("n", maximumName+1) + `"`, nil},
	} {
		r := &reader{data: []byte(c.body)}
		if err := r.skip(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestANameThatComesTwiceIsFoundAmongManyAndBehindAnEscape(t *testing.T) {
	for _, count := range []int{1, 12, 13, 500} {
		object := "{"
		for i := range count {
			object += fmt.Sprintf(`"n%d":0,`, i)
		}
		for _, twice := range []string{`"n0"`, fmt.Sprintf(`"n%d"`, count-1), `"\u006e0"`} {
			r := &reader{data: []byte(object + twice + ":0}")}
			if err := r.object(func([]byte) error { return r.skip() }); err == nil || !strings.Contains(err.Error(), "comes twice") {
				t.Errorf("%s after %d names: %v", twice, count, err)
			}
		}
	}
}

func BenchmarkCheckBody(b *testing.B) {
	// A body of 4 KiB like that of a pod: names, short texts, and an annotation.
	container := `,{"env":[{"name":"HOME","value":"/home/web"}],"image":"registry.example.com/team/web:1.2.3","imagePullPolicy":"IfNotPresent","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1","memory":"512Mi"}}}`
	body := []byte(strings.Replace(goodBody, `"a":["}",`, `"x":"`+strings.Repeat("abcdefgh", 100)+`","a":["}"`+strings.Repeat(container, 10)+",", 1))
	id, _ := goodKey.ID("a")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := checkBody("a", goodKey, id, body); err != nil {
			b.Fatal(err)
		}
	}
}
