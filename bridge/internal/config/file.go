package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile sets what a file gives and returns what is wrong with it.
func readFile(c *Config, file string, content []byte) []error {
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return []error{fmt.Errorf("%s: not YAML: %w", file, err)}
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return []error{fmt.Errorf("%s:%d: a second YAML document; everything belongs into one", file, second.Line)}
	}
	r := &reader{c: c, file: file}
	r.section(document.Content[0], "")
	return r.problems
}

type reader struct {
	c        *Config
	file     string
	problems []error
}

func (r *reader) problem(at *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %w", r.file, at.Line, fmt.Errorf(format, args...)))
}

// section reads the members of a section; path is "" for the whole file, else it ends in a dot.
func (r *reader) section(n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n, "%s: want a section of keys", strings.TrimSuffix(cmp.Or(path, "the file."), "."))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		full := path + name.Value
		if seen[name.Value] {
			r.problem(name, "%s: given twice; remove one", full)
			continue
		}
		seen[name.Value] = true
		switch {
		case isSection(full + "."):
			r.section(value, full+".")
		case find(full) != nil:
			r.value(find(full), value)
		default:
			r.problem(name, "%s: no such key%s", full, nearest(full))
		}
	}
}

// value reads one key's value. One that is empty counts as not given.
func (r *reader) value(k *Key, n *yaml.Node) {
	if isNull(n) {
		return
	}
	field := k.field(r.c)
	list, isList := field.(*[]string)
	policies, isPolicies := field.(*[]CachePolicy)
	listed, isRules := field.(rules)
	switch {
	case isRules:
		listed.read(r, n, k.Path)
	case isPolicies:
		*policies = r.policies(n)
	case isList && n.Kind == yaml.SequenceNode:
		*list = nil
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || isNull(item) {
				r.problem(item, "%s: want a list of texts", k.Path)
				return
			}
			*list = append(*list, item.Value)
		}
	case n.Kind == yaml.ScalarNode && !isList:
		if err := set(field, n.Value); err != nil {
			r.problem(n, "%s: %w", k.Path, err)
		}
	default:
		r.problem(n, "%s: want %s", k.Path, kind(field))
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isSection(prefix string) bool {
	for i := range keys {
		if strings.HasPrefix(keys[i].Path, prefix) {
			return true
		}
	}
	return false
}

func find(path string) *Key {
	for i := range keys {
		if keys[i].Path == path {
			return &keys[i]
		}
	}
	return nil
}

// nearest suggests what an unknown key was meant to be: a key of that name elsewhere, or one that is spelt alike.
func nearest(path string) string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	best, least := "", len(path)/3+2
	for _, known := range names() {
		d := distance(strings.ToLower(path), strings.ToLower(known))
		if strings.EqualFold(name, known[strings.LastIndexByte(known, '.')+1:]) {
			d = min(d, 1)
		}
		if d < least {
			best, least = known, d
		}
	}
	if best == "" {
		return "; \"fairlead-bridge config keys\" lists them"
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// names are all keys and the sections that they stand in.
func names() []string {
	var list []string
	for _, k := range keys {
		list = append(list, k.Path)
		for section := k.Path; strings.Contains(section, "."); {
			section = section[:strings.LastIndexByte(section, '.')]
			list = append(list, section)
		}
	}
	return list
}

// distance is how many letters have to be added, dropped or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
