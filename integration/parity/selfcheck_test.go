package parity

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the comparison would miss, the suite would miss.

func TestWordsThatAreAnAccountsNameAreMasked(t *testing.T) {
	for text, want := range map[string]string{
		"demo": "ACCOUNT", "a:demo:b": "a:ACCOUNT:b", "demo:demo": "ACCOUNT:ACCOUNT", "(account: demo, x)": "(account: ACCOUNT, x)",
		"demo-stock": "demo-stock", "my-demo": "my-demo", "demo.example.com": "demo.example.com", "demos": "demos", "größe demo": "größe ACCOUNT",
	} {
		if got := maskText(text, "demo"); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestProjections(t *testing.T) {
	of := func(account, other, view string, shared bool) any {
		t.Helper()
		var value any
		must(t, json.Unmarshal([]byte(view), &value))
		part, ok := projection{account: account, others: []string{other}, shared: shared}.of(value)
		if !ok {
			return nil
		}
		return part
	}
	for name, c := range map[string]struct {
		view string
		same bool
	}{
		"items of both":                     {`[{"account":"a","name":"x"},{"account":"b","name":"x"}]`, true},
		"an item of one":                    {`[{"account":"a","name":"x"},{"account":"b","name":"x"},{"account":"b","name":"y"}]`, false},
		"another value":                     {`[{"account":"a","up":1},{"account":"b","up":2}]`, false},
		"a number written otherwise":        {`[{"account":"a","up":1},{"account":"b","up":1.0}]`, true},
		"by account":                        {`{"a":["x","y"],"b":["y","x"]}`, true},
		"by account, one has more":          {`{"a":["x"],"b":["x","y"]}`, false},
		"the order of a set":                {`[{"account":"a","instances":[1,2]},{"account":"b","instances":[2,1]}]`, true},
		"the order of a list":               {`[{"account":"a","images":["1","2"]},{"account":"b","images":["2","1"]}]`, false},
		"twice in one":                      {`[{"account":"a","name":"x"},{"account":"b","name":"x"},{"account":"b","name":"x"}]`, false},
		"an absent field":                   {`[{"account":"a","name":"x","labels":null},{"account":"b","name":"x"}]`, false},
		"an application of one":             {`[{"name":"x","clusterNames":{"a":["c"]}}]`, false},
		"an application of both":            {`[{"name":"x","clusterNames":{"a":["c"],"b":["c"]}}]`, true},
		"an application with other members": {`[{"name":"x","clusterNames":{"a":["c"],"b":["c","d"]}}]`, false},
		"the name inside a key":             {`[{"account":"a","id":"pod:a:x"},{"account":"b","id":"pod:b:x"}]`, true},
		"what belongs to nobody":            {`[{"name":"x"}]`, true},
	} {
		if got := cmp.Equal(of("a", "b", c.view, true), of("b", "a", c.view, true)); got != c.same {
			t.Errorf("%s: equal is %v", name, got)
		}
	}
	if a, b := of("a", "b", `{"totalMatches":1,"results":[]}`, false), of("b", "a", `{"totalMatches":2,"results":[]}`, false); cmp.Equal(a, b) {
		t.Error("what a view of one account counts is not compared")
	}
}

func TestEmptyViews(t *testing.T) {
	for view, want := range map[string]bool{
		`[]`: true, `{}`: true, `[{}]`: true, `{"status":404,"error":"Not Found","message":""}`: true, `[{"totalMatches":0,"results":[]}]`: true,
		`{"name":"x"}`: false, `["x"]`: false, `[{"results":[{"name":"x"}]}]`: false,
	} {
		var value any
		must(t, json.Unmarshal([]byte(view), &value))
		if got := empty(value); got != want {
			t.Errorf("%s: empty is %v", view, got)
		}
	}
}
