package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	kjson "sigs.k8s.io/json"
)

// documents are what a decoder may go wrong with.
var documents = []string{
	`{}`, ` {"a" : [ ] , "b":{ } }` + "\n", `{"a":1,"a":{"b":2},"a":"last"}`, `{"metadata":{"x":1},"metadata":{"managedFields":1,"y":2}}`,
	`{"n":[0,-0,1,-1,10,9223372036854775807,9223372036854775808,-9223372036854775809,1.0,1e3,1E-3,1.5e+2,0.1,123456789012345678901234567890]}`,
	`{"s":["","\u0000","\ud83d\ude00","\ud83d","\ude00x","é","日本","\"\\\/\b\f\n\r\t","` + strings.Repeat("long ", 40) + `","` + "\xff\xfe" + `","a` + "\x7f" + `"]}`,
	`{"k\u0065y":1,"key":2,"` + "\xff" + `":3,"":4}`, `{"w":[true,false,null],"deep":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `}`,
	`null`, `[]`, `"x"`, `1`, ``, ` `, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":[,]}`, `{a:1}`, `{"a":tru}`, `{"a":nul`, `{"a":truex}`,
	`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":-}`, `{"a":1e}`, `{"a":1e+}`, `{"a":--1}`, `{"a":1-1}`, `{"a":1e999}`, `{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u123`, `{"a":"x`,
	`{"a":1}}`, `{"a":1} {"b":2}`, `{"a":1}x`, "\ufeff{}", `{"a":NaN}`, `{"a":1]`, `{"a":[1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":[1 2]}`,
}

// sameAsKubernetes compares the decoder with client-go's.
func sameAsKubernetes(t *testing.T, text string) {
	t.Helper()
	var want map[string]any
	wrong := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &want)
	got, err := decodeObject([]byte(text), false, false)
	switch {
	case (err == nil) != (wrong == nil && want != nil):
		t.Errorf("%.200q: error %v, client-go's %v", text, err, wrong)
	case err == nil && !reflect.DeepEqual(got, want):
		t.Errorf("%.200q: %#v, client-go's %#v", text, got, want)
	}
	// The same text must have the same end, whatever pieces it comes in.
	valid := json.Valid([]byte(text))
	for name, source := range map[string]io.Reader{"whole": strings.NewReader(text), "bytewise": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text))} {
		r := &jsonReader{source: source}
		raw, err := r.value()
		if valid && (err != nil || string(raw) != strings.Trim(text, " \n\t\r")) {
			t.Errorf("%.200q, %s: value %.200q, %v", text, name, raw, err)
		}
		if err == nil && !json.Valid(raw) {
			t.Errorf("%.200q, %s: %.200q is no JSON", text, name, raw)
		}
	}
}

func TestJSONIsReadAsClientGoReadsIt(t *testing.T) {
	for _, text := range documents {
		sameAsKubernetes(t, text)
	}
	for _, depth := range []int{maximumNesting - 1, maximumNesting, maximumNesting + 1} {
		sameAsKubernetes(t, `{"a":`+strings.Repeat(`[`, depth-1)+strings.Repeat(`]`, depth-1)+`}`)
		sameAsKubernetes(t, strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat(`}`, depth))
	}
}

// What is remembered of one object must not show in another, and what is forgotten must not be missing.
func TestManyDifferentObjectsAreDecodedOneAfterTheOther(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 3 * mostMet {
		text := fmt.Sprintf(`{"k%d":"v%d","l":["v%d",{"same":"same","k%d":%d}]}`, n, n, random.IntN(n+1), random.IntN(n+1), n)
		var want map[string]any
		if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		raw := []byte(text)
		got, err := decodeObject(raw, false, false)
		clear(raw) // the bytes are the reader's again
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v, %v", text, got, err)
		}
	}
}

func TestWhatMustNotLeaveIsNotDecoded(t *testing.T) {
	const text = `{"data":{"a":"x"},"stringData":{"b":"y"},"d\u0061ta":1,"spec":{"data":1,"metadata":{"managedFields":1}},"metadata":{"managedFields":[{}],"name":"n","data":2}}`
	for _, c := range []struct {
		secret, inventory bool
		want              string
	}{
		{false, false, `{"data":1,"metadata":{"data":2,"managedFields":[{}],"name":"n"},"spec":{"data":1,"metadata":{"managedFields":1}},"stringData":{"b":"y"}}`},
		{false, true, `{"data":1,"metadata":{"data":2,"name":"n"},"spec":{"data":1,"metadata":{"managedFields":1}},"stringData":{"b":"y"}}`},
		{true, true, `{"metadata":{"data":2,"name":"n"},"spec":{"data":1,"metadata":{"managedFields":1}}}`},
	} {
		object, err := decodeObject([]byte(text), c.secret, c.inventory)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(object); string(got) != c.want {
			t.Errorf("secret %v, inventory %v: %s", c.secret, c.inventory, got)
		}
	}
}

func FuzzJSONIsReadAsClientGoReadsIt(f *testing.F) {
	for _, text := range documents {
		f.Add(text)
	}
	f.Fuzz(sameAsKubernetes)
}
