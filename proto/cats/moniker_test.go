package cats

import (
	"fmt"
	"testing"
)

func monikerJSON(t Type, name string, annotations map[string]any) string {
	var e encoder
	m := monikerOf(t, name, annotations)
	m.encode(&e)
	return string(e.out)
}

// Names as com.netflix.frigga.Names and KubernetesResourceAwareNames read them.
func TestMonikersOfNames(t *testing.T) {
	for name, want := range map[string]string{
		"web":                           `{"app":"web","cluster":"web"}`,
		"web-stack-detail-more":         `{"app":"web","cluster":"web-stack-detail-more"}`,
		"web-v003":                      `{"app":"web","cluster":"web","sequence":3}`,
		"web-v12":                       `{"app":"web","cluster":"web-v12"}`,
		"web-v123456":                   `{"app":"web","cluster":"web","sequence":123456}`,
		"web-v1234567":                  `{"app":"web","cluster":"web-v1234567"}`,
		"web-v003x":                     `{"app":"web","cluster":"web-v003x"}`,
		"web--v003":                     `{"app":"web","cluster":"web-","sequence":3}`,
		"v003":                          `{"app":"v003","cluster":"v003"}`,
		"-v003":                         `{}`,
		"-web":                          `{}`,
		"deny.all":                      `{"app":"deny.all","cluster":"deny.all"}`,
		"web-a-b~c^d":                   `{"app":"web","cluster":"web-a-b~c^d"}`,
		"web-a~b":                       `{}`,
		"golden:plain":                  `{}`,
		"golden:plain-v003":             `{}`,
		"system:coredns":                `{"app":"system","cluster":"system:coredns"}`,
		"system:certificates:node-v003": `{"app":"system","cluster":"system:certificates:node","sequence":3}`,
		"system:":                       `{"app":"system","cluster":"system:"}`,
		"System:x":                      `{}`,
		"größe":                         `{}`,
	} {
		if got := monikerJSON(pod, name, nil); got != want {
			t.Errorf("moniker of %q is %s, want %s", name, got, want)
		}
	}
}

func TestMonikersOfAnnotations(t *testing.T) {
	type annotations = map[string]any
	for _, c := range []struct {
		t    Type
		with annotations
		want string
	}{
		{pod, annotations{annotationApplication: "a", annotationCluster: "deployment c", annotationStack: "s", annotationDetail: "d", annotationSequence: "7"}, `{"app":"a","cluster":"deployment c","detail":"d","sequence":7,"stack":"s"}`},
		{pod, annotations{annotationApplication: `"quoted \"x\" \u00fc"`}, `{"app":"quoted \"x\" ü","cluster":"web","sequence":3}`},
		{pod, annotations{annotationApplication: ""}, `{"app":"","cluster":"web","sequence":3}`},
		{pod, annotations{annotationApplication: `"`}, `{"app":"\"","cluster":"web","sequence":3}`},
		{pod, annotations{annotationApplication: `"broken\"`}, `{"cluster":"web","sequence":3}`},
		{pod, annotations{annotationSequence: "three"}, `{"app":"web","cluster":"web"}`},
		{pod, annotations{annotationSequence: `"5"`}, `{"app":"web","cluster":"web","sequence":5}`},
		{pod, annotations{annotationSequence: "12.9"}, `{"app":"web","cluster":"web","sequence":12}`},
		{pod, annotations{annotationSequence: "-4"}, `{"app":"web","cluster":"web","sequence":-4}`},
		{pod, annotations{annotationSequence: "007"}, `{"app":"web","cluster":"web"}`},
		{pod, annotations{annotationSequence: "3000000000"}, `{"app":"web","cluster":"web"}`},
		{pod, annotations{annotationSequence: ""}, `{"app":"web","cluster":"web"}`},
		{pod, annotations{annotationRevision: "9"}, `{"app":"web","cluster":"web","sequence":3}`},
		{replicaSet, annotations{annotationRevision: "9"}, `{"app":"web","cluster":"web","sequence":9}`},
		{replicaSet, annotations{annotationRevision: "latest"}, `{"app":"web","cluster":"web"}`},
		{replicaSet, annotations{annotationRevision: "9", annotationSequence: "8"}, `{"app":"web","cluster":"web","sequence":8}`},
	} {
		if got := monikerJSON(c.t, "web-v003", c.with); got != c.want {
			t.Errorf("moniker of a %s with %v is %s, want %s", c.t, c.with, got, c.want)
		}
	}
}

// What Jackson's ObjectMapper.readValue made of these (2.13 and 2.19 alike).
func TestAnnotationsAreReadAsJacksonReadsThem(t *testing.T) {
	for value, want := range map[string]string{
		"12.9": "12", "-12.9": "-12", "1e2": "100", "1.5e3": "1500", "007": "", "00": "", "+3": "", "3 4": "3", "3,": "",
		"3x": "", "[3]": "", `"5"`: "5", `" 5 "`: "5", `""`: "", `"5.5"`: "", `"+5"`: "5", `"007"`: "7", `"1e2"`: "",
		"true": "", "null": "", `"null"`: "", "-0": "0", "3000000000": "", `"3000000000"`: "", "2147483647.9": "", "1e10": "",
		"{}": "", " 3 ": "3", "3\n": "3", "NaN": "", ".5": "", "5.": "", "99999999999999999999": "", `"5" x`: "5",
		"-2147483648": "-2147483648", "1e400": "", "": "",
	} {
		got := ""
		if n := annotatedNumber(map[string]any{"k": value}, "k", number{}); n.ok {
			got = fmt.Sprint(n.value)
		}
		if got != want {
			t.Errorf("number of %q is %q, want %q", value, got, want)
		}
	}
	for value, want := range map[string]bool{
		"true": true, "false": false, "True": false, `"true"`: true, `"True"`: true, `"TRUE"`: true, `"tRue"`: false,
		`" true "`: true, `"false"`: false, "1": true, "0": false, "2": true, "-1": true, "1.0": false, `"1"`: false,
		"yes": false, "": false, "null": false, "[true]": false, "true x": true, "truex": false, " true": true, "99999999999": true,
	} {
		if got := ignored(map[string]any{annotationIgnore: value}); got != want {
			t.Errorf("ignored(%q) = %v", value, got)
		}
	}
	for value, want := range map[string]string{
		`"a" "b"`: "a", "\"a\tb\"": "", `"\u00fc"`: "ü", `"\x"`: "", `"a\"`: "", `"a"b"`: "a", `"\ud83d\ude00"`: "😀", `"\/"`: "/",
	} {
		if got := annotatedText(map[string]any{"k": value}, "k", text{}); got.value != want {
			t.Errorf("text of %q is %q, want %q", value, got.value, want)
		}
	}
}
