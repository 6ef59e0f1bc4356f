package cats

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Annotations that the format reads (KubernetesManifestAnnotater).
const (
	annotationApplication = "moniker.spinnaker.io/application"
	annotationCluster     = "moniker.spinnaker.io/cluster"
	annotationStack       = "moniker.spinnaker.io/stack"
	annotationDetail      = "moniker.spinnaker.io/detail"
	annotationSequence    = "moniker.spinnaker.io/sequence"
	annotationRevision    = "deployment.kubernetes.io/revision"
	annotationIgnore      = "caching.spinnaker.io/ignore"
	annotationLastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// text is a string that may be absent, which differs from empty.
type text struct {
	value string
	ok    bool
}

// number is an integer that may be absent.
type number struct {
	value int32
	ok    bool
}

// moniker is what an object belongs to in Spinnaker's eyes.
type moniker struct {
	app, cluster, detail, stack text
	sequence                    number
}

// monikerOf reads the annotations and, where they are silent, the name. An annotation that cannot be read leaves its
// field absent, as in Clouddriver: the name does not step in.
func monikerOf(t Type, name string, annotations map[string]any) moniker {
	parsed := parseName(name)
	m := moniker{
		app:      annotatedText(annotations, annotationApplication, parsed.app),
		cluster:  annotatedText(annotations, annotationCluster, parsed.cluster),
		detail:   annotatedText(annotations, annotationDetail, text{}),
		stack:    annotatedText(annotations, annotationStack, text{}),
		sequence: parsed.sequence,
	}
	if t == replicaSet {
		m.sequence = annotatedNumber(annotations, annotationRevision, m.sequence)
	}
	m.sequence = annotatedNumber(annotations, annotationSequence, m.sequence)
	return m
}

// annotatedText reads a string that Clouddriver wrote plainly, or once upon a time in JSON's quotes.
func annotatedText(annotations map[string]any, key string, absent text) text {
	value, ok := annotations[key].(string)
	if !ok {
		return absent
	}
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return text{value, true}
	}
	if s, ok := scalar(value).(string); ok {
		return text{s, true}
	}
	return text{}
}

// annotatedNumber reads what Jackson accepts as an Integer: a number, of which the fraction is cut, or a quoted integer.
func annotatedNumber(annotations map[string]any, key string, absent number) number {
	value, ok := annotations[key].(string)
	if !ok {
		return absent
	}
	switch v := scalar(value).(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && f >= math.MinInt32 && f <= math.MaxInt32 {
			return number{int32(f), true}
		}
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32); err == nil {
			return number{int32(n), true}
		}
	}
	return number{}
}

// ignored tells whether the object asks not to be cached, in what Jackson accepts as a Boolean. An annotation that is
// none makes stock Clouddriver fail to cache the whole account; here it counts as false.
func ignored(annotations map[string]any) bool {
	value, ok := annotations[annotationIgnore].(string)
	if !ok {
		return false
	}
	switch v := scalar(value).(type) {
	case bool:
		return v
	case json.Number:
		return strings.Trim(v.String(), "-0123456789") == "" && strings.Trim(v.String(), "-0") != ""
	case string:
		v = strings.TrimSpace(v)
		return v == "true" || v == "True" || v == "TRUE"
	}
	return false
}

// scalar reads the JSON string, number or word at the beginning of a text as Jackson does, which looks no further than
// a string's closing quote or the space after a word. What is none of these gives nil.
func scalar(s string) any {
	s = strings.TrimLeft(s, " \t\r\n")
	if !strings.HasPrefix(s, `"`) {
		if end := strings.IndexAny(s, " \t\r\n"); end >= 0 {
			s = s[:end]
		}
		switch {
		case s == "true" || s == "false":
			return s == "true"
		case validNumber(s):
			return json.Number(s)
		}
		return nil
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			var v string
			if json.Unmarshal([]byte(s[:i+1]), &v) != nil {
				return nil
			}
			return v
		}
	}
	return nil
}

// parsedName is what a name alone tells.
type parsedName struct {
	app, cluster text
	sequence     number
}

// parseName follows com.netflix.frigga.Names ("app-stack-detail-v003") and, for names that begin with "system:",
// Clouddriver's KubernetesResourceAwareNames. A name of another shape tells nothing.
func parseName(name string) parsedName {
	if strings.Trim(name, javaSpace) == "" {
		return parsedName{}
	}
	system := strings.HasPrefix(name, "system:")
	cluster, sequence := cutPush(name)
	if sequence.ok && !system && !only(cluster, friggaHyphenChars) {
		cluster, sequence = name, number{}
	}
	if system {
		return parsedName{app: text{"system", true}, cluster: text{cluster, true}, sequence: sequence}
	}
	app, rest, _ := strings.Cut(cluster, "-")
	stack, detail, _ := strings.Cut(rest, "-")
	if app == "" || !only(app, friggaChars) || !only(stack, friggaChars) || !only(detail, friggaHyphenChars) {
		return parsedName{}
	}
	return parsedName{app: text{app, true}, cluster: text{cluster, true}, sequence: sequence}
}

// javaSpace is what String.trim removes.
const javaSpace = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f "

// cutPush cuts "-v003" (three to six digits) from a name.
func cutPush(name string) (string, number) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return name, number{}
	}
	push := name[dash+1:]
	if len(push) < 4 || len(push) > 7 || push[0] != 'v' {
		return name, number{}
	}
	n := int32(0)
	for _, c := range []byte(push[1:]) {
		if c < '0' || c > '9' {
			return name, number{}
		}
		n = n*10 + int32(c-'0')
	}
	return name[:dash], number{n, true}
}

func friggaChars(c byte) bool {
	return c == '.' || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func friggaHyphenChars(c byte) bool { return c == '-' || c == '~' || c == '^' || friggaChars(c) }

func only(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}
