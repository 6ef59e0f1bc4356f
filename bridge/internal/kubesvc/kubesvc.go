// Package kubesvc knows the settings that the replaced product's plugin had in Clouddriver's profile (kubesvc.*, from its 2.38 on
// armory.kubesvc.*), and what becomes of each: nothing reads them there any more. Check says so for a profile that people have.
package kubesvc

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Fate is what becomes of a setting.
type Fate string

// The fates.
const (
	// Moved: there is a key for it in fairlead-bridge.yml.
	Moved Fate = "moved"
	// Obsolete: it may stay, and does nothing.
	Obsolete Fate = "obsolete"
	// Refused: it asks for something that there is not; a person has to decide.
	Refused Fate = "refused"
	// Unknown: the replaced product has no such setting.
	Unknown Fate = "unknown"
)

// Setting is one of a profile, and what becomes of it.
type Setting struct {
	// Path is below kubesvc: "cache.operationWaitMs".
	Path string
	Line int
	Fate Fate
	// Text says where it moved, why it is obsolete, or what to do instead.
	Text string
}

// Check finds the settings of a profile, in its order.
func Check(profile []byte) ([]Setting, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(profile, &document); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	var found []Setting
	left := mostNodes
	walk(document.Content[0], "", 0, &left, func(path string, line int, value *yaml.Node) {
		lower := strings.ToLower(path)
		for _, root := range []string{"armory.kubesvc.", "kubesvc."} {
			if strings.HasPrefix(lower, root) {
				found = append(found, judge(path[len(root):], line, value))
				return
			}
		}
	})
	return found, nil
}

// Aliases may hold themselves, and multiply: a profile is walked so deep, and so far.
const (
	mostDeep  = 20
	mostNodes = 100_000
)

// walk visits the leaves; lists are leaves, and keys may be written with dots.
func walk(n *yaml.Node, path string, depth int, left *int, leaf func(path string, line int, value *yaml.Node)) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode || depth > mostDeep {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if *left--; *left < 0 {
			return
		}
		name, value := n.Content[i], n.Content[i+1]
		full := name.Value
		if path != "" {
			full = path + "." + name.Value
		}
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			walk(value, full, depth+1, left, leaf)
			continue
		}
		leaf(full, name.Line, value)
	}
}

// judge finds a setting's entry: the longest one that is it, or that it is below of.
func judge(path string, line int, value *yaml.Node) Setting {
	s := Setting{Path: path, Line: line, Fate: Unknown, Text: "the replaced product has no such setting"}
	names := strings.Split(path, ".")
	for n := len(names); n > 0; n-- {
		known, ok := lookup(strings.Join(names[:n], "."))
		if !ok || n < len(names) && !known.below {
			continue
		}
		s.Fate, s.Text = known.fate, known.text
		if s.Fate == Refused && harmless(value) {
			s.Fate, s.Text = Obsolete, "it asks for nothing"
		}
		return s
	}
	if near := nearest(path); near != "" {
		s.Text += "; did you mean " + near + "?"
	}
	return s
}

func harmless(value *yaml.Node) bool {
	return value.Kind == yaml.ScalarNode && (value.Value == "" || value.Value == "false" || value.Value == "NONE" || value.Value == "null") ||
		value.Kind != yaml.ScalarNode && len(value.Content) == 0
}

// fold makes spellings equal, as Spring does: cluster-kubernetes, clusterKubernetes.
func fold(path string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(path))
}

func lookup(path string) (entry, bool) {
	for name, e := range settings() {
		if fold(name) == fold(path) {
			return e, true
		}
	}
	return entry{}, false
}

// nearest is the known setting that differs least, if that may be a slip.
func nearest(path string) string {
	best, least := "", 4
	for _, name := range slices.Sorted(maps.Keys(settings())) {
		if d := distance(fold(name), fold(path)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts insertions, deletions and replacements.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			before, row[j+1] = row[j+1], min(before+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
