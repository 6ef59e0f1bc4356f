package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAListIsReadItemByItemWhateverTheOrderOfItsFields(t *testing.T) {
	for text, want := range map[string]string{
		`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"a":1},{"b":2}]}`: `7 c 2 [{"a":1} {"b":2}] <nil>`,
		`{"apiVersion":"v1","items":[{"a":1}],"kind":"L","metadata":{"resourceVersion":"7"}}`:                              `7  1 [{"a":1}] <nil>`,
		`{"items":null,"metadata":{"resourceVersion":"7"},"extra":{"deep":[1,{"x":[]}]}}`:                                  `7  0 [] <nil>`,
		`{"items":[]}`:             `  0 [] <nil>`,
		`{}`:                       `  0 [] <nil>`,
		`{"items":[{"a":1}`:        `  1 [{"a":1}] unexpected EOF`,
		`{"items":[{"a":`:          `  0 [] unexpected EOF`,
		`{"items":[{"a":1}]`:       `  1 [{"a":1}] unexpected EOF`,
		`{"items":{"a":1}}`:        `  0 [] items of a list are {, not an array`,
		`[]`:                       `  0 [] the API server's list has [ where { belongs`,
		``:                         `  0 [] unexpected EOF`,
		`{"metadata":"x"}`:         `  0 [] json: cannot unmarshal string into Go value of type struct { ResourceVersion string; Continue string }`,
		`{"items":[{"a":1},nope]}`: `  1 [{"a":1}] invalid character "o" in the JSON`,
	} {
		for name, reader := range map[string]io.Reader{"whole": strings.NewReader(text), "bytewise": iotest.OneByteReader(strings.NewReader(text))} {
			var items []string
			page, err := ReadList(reader, func(raw []byte) error { items = append(items, string(raw)); return nil })
			if got := fmt.Sprint(page.ResourceVersion, " ", page.Continue, " ", page.Count, " ", items, " ", err); got != want {
				t.Errorf("%s %s:\n got  %s\n want %s", name, text, got, want)
			}
		}
	}
	stop := errors.New("stop")
	if _, err := ReadList(strings.NewReader(`{"items":[1,2]}`), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// endless gives the beginning of an object that never ends.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, `{"items":[{"a":"`), nil
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestAnObjectWithoutEndIsNotReadIntoMemory(t *testing.T) {
	if _, err := ReadList(&endless{}, func([]byte) error { return nil }); !errors.Is(err, errTooLarge) {
		t.Error(err)
	}
}

func TestAWatchIsReadEventByEvent(t *testing.T) {
	s := newEvents(strings.NewReader(`{"type":"ADDED","object":{"a":1}}` + "\n" + `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}{"object":{},"type":"DELETED"}`))
	var got []string
	var e event
	err := s.next(&e)
	for ; err == nil; err = s.next(&e) {
		got = append(got, e.Type+string(e.Object)+versionOf(e.Object))
	}
	if want := `[ADDED{"a":1} BOOKMARK{"metadata":{"resourceVersion":"9"}}9 DELETED{}]`; fmt.Sprint(got) != want || !errors.Is(err, io.EOF) {
		t.Error(got, err)
	}
	if err := newEvents(strings.NewReader(`{"type":"ADDED","obj`)).next(&e); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestErrorsInAWatchMeanListAgainOnlyWhenTheHistoryIsGone(t *testing.T) {
	for text, expired := range map[string]bool{
		`{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (2)"}`: true,
		`{"kind":"Status","code":410,"reason":"Gone"}`:                                                true,
		`{"kind":"Status","code":500,"reason":"InternalError","message":"etcd"}`:                      false,
		`[]`: false,
	} {
		if err := watchError([]byte(text)); err == nil || errors.Is(err, errExpired) != expired {
			t.Errorf("%s: %v", text, err)
		}
	}
}

var podKind = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}

func TestObjectsAreDecodedAsKubernetesDoes(t *testing.T) {
	o, err := decodeForInventory([]byte(`{"metadata":{"name":"p","managedFields":[{"manager":"m"}]},"spec":{"n":1,"f":1.5,"big":9007199254740993,"N":2}}`), podKind)
	if err != nil {
		t.Fatal(err)
	}
	spec := o["spec"].(map[string]any)
	if o["kind"] != "Pod" || o["apiVersion"] != "v1" || spec["n"] != int64(1) || spec["f"] != 1.5 || spec["big"] != int64(9007199254740993) || spec["N"] != int64(2) {
		t.Error(o)
	}
	if o["metadata"].(map[string]any)["managedFields"] != nil {
		t.Error(o)
	}
	for _, bad := range []string{"", "null", "[]", "1", `{"a"`, `"x"`} {
		if _, err := decodeForInventory([]byte(bad), podKind); err == nil {
			t.Errorf("%s is an object", bad)
		}
		if _, err := decodeForInventory([]byte(bad), schema.GroupVersionKind{Version: "v1", Kind: "Secret"}); err == nil {
			t.Errorf("%s is a Secret", bad)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add(`{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{"b":2}]}`)
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = ReadList(strings.NewReader(text), func(raw []byte) error {
			for _, kind := range []string{"Pod", "Secret"} {
				object, err := decodeForInventory(raw, schema.GroupVersionKind{Version: "v1", Kind: kind})
				if err == nil && object == nil {
					panic("neither an object nor an error")
				}
			}
			return nil
		})
	})
}

func BenchmarkReadList(b *testing.B) {
	item := `{"metadata":{"name":"pod","namespace":"ns","managedFields":[{"manager":"m","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}}}}],"labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"1"}]}]}}`
	text := `{"metadata":{"resourceVersion":"7"},"items":[` + strings.Repeat(item+",", 499) + item + `]}`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := ReadList(strings.NewReader(text), func(raw []byte) error {
			_, err := decodeForInventory(raw, podKind)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
