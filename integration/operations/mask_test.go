package operations

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// masks are what differs between any two runs, wherever it stands in a text: in output, or in a string of an object.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	// The hash of a pod template, which follows from the template; after a restart that holds the time.
	{regexp.MustCompile(`-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b`), "-HASH"},
	// The random end of a generated name; the alphabet is the API server's.
	{regexp.MustCompile(`-[bcdfghjklmnpqrstvwxz2456789]{5}\b`), "-RANDOM"},
	{regexp.MustCompile(`(resourceVersion\\?":\s*\\?")\d+`), "${1}VERSION"},
	// The end of an event's name is its time.
	{regexp.MustCompile(`\.[0-9a-f]{16}\b`), ".EVENT"},
	// A cause of a change that kubectl recorded names the credentials that it was given; an agent is given none.
	{regexp.MustCompile(` --kubeconfig=\S+`), ""},
	// Where a pod came to run.
	{regexp.MustCompile(`\bnode-[123]\b`), "NODE"},
}

// assigned are fields of objects whose values the cluster chooses anew each time.
var assigned = []string{"resourceVersion", "clusterIP", "clusterIPs", "nodePort", "nodeName", "podIP", "podIPs", "hostIP", "hostIPs", "pod-template-hash"}

func maskText(text, namespace string) string {
	text = strings.ReplaceAll(text, namespace, "NAMESPACE")
	text = strings.ReplaceAll(text, capital(namespace), "CAPITAL")
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.with)
	}
	return text
}

// capital is a namespace as a kind's name.
func capital(namespace string) string { return strings.ToUpper(namespace[:1]) + namespace[1:] }

// maskOutput returns the JSON documents of an output, or its text, without what must differ.
func maskOutput(output, namespace string, s step) (any, error) {
	if !strings.HasPrefix(output, "{") {
		return maskText(output, namespace), nil
	}
	if output[len(output)-1] != '\n' {
		return nil, fmt.Errorf("the output does not end with its line: %q", output[max(0, len(output)-40):])
	}
	decoder := json.NewDecoder(strings.NewReader(output))
	decoder.UseNumber()
	var documents []any
	for {
		var document any
		err := decoder.Decode(&document)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w in %.400s", err, output)
		}
		documents = append(documents, maskValue(document, namespace, s.masked))
	}
	if s.unordered {
		for _, d := range documents {
			sortItems(d)
		}
	}
	return documents, nil
}

func maskValue(value any, namespace string, more []string) any {
	switch v := value.(type) {
	case string:
		return maskText(v, namespace)
	case []any:
		for i := range v {
			v[i] = maskValue(v[i], namespace, more)
		}
	case map[string]any:
		masked := make(map[string]any, len(v))
		for name, inner := range v {
			switch {
			case inner != "" && slices.Contains(assigned, name) || slices.Contains(more, name):
				inner = "MASKED"
			default:
				inner = maskValue(inner, namespace, more)
			}
			if managed, is := inner.([]any); is && name == "managedFields" {
				sortByJSON(managed) // by time, in seconds: those of controllers come when they come
			}
			masked[maskText(name, namespace)] = inner
		}
		return masked
	}
	return value
}

// sortItems orders the items of a list whose names the cluster chose.
func sortItems(document any) {
	list, _ := document.(map[string]any)
	items, _ := list["items"].([]any)
	sortByJSON(items)
}

func sortByJSON(items []any) {
	slices.SortFunc(items, func(a, b any) int {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return bytes.Compare(x, y)
	})
}
