package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/agent/internal/secrets"
	"go.yaml.in/yaml/v3"
)

// maximumDepth keeps a file whose aliases refer to each other from being walked for ever.
const maximumDepth = 32

// tree is what one file holds, checked against the known keys.
type tree struct {
	file string
	root *yaml.Node
	// problems of the file as a whole.
	problems []error
	// accountProblems are those within one account of the list.
	accountProblems map[*yaml.Node][]error
	notes           []seenKey
}

// seenKey is a key that is accepted and does nothing. account is its account's node, nil outside of accounts.
type seenKey struct {
	path, note string
	account    *yaml.Node
}

const accountsPath = "kubernetes.accounts"

func parseTree(file string, content []byte) (*tree, error) {
	t := &tree{file: file, accountProblems: map[*yaml.Node][]error{}}
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if err.Error() == "EOF" {
			return t, nil
		}
		return nil, fmt.Errorf("%s: not YAML: %w", file, err)
	}
	var more yaml.Node
	if decoder.Decode(&more) == nil {
		return nil, fmt.Errorf("%s:%d: a second YAML document; put everything into one", file, more.Line)
	}
	if why := unfold(&document, map[*yaml.Node]bool{}, new(int)); why != "" {
		return nil, fmt.Errorf("%s: %s", file, why)
	}
	t.root = resolve(document.Content[0])
	if isNull(t.root) {
		t.root = nil
		return t, nil
	}
	if t.root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want a section of keys at the top, got %s", file, t.root.Line, describe(t.root))
	}
	t.section(t.root, keys(), "", nil, 0)
	return t, nil
}

// maximumNodes is far more than 10,000 accounts need, aliases counted each time that they are used.
const maximumNodes = 1_000_000

// unfold looks for aliases that hold themselves, or that multiply.
func unfold(n *yaml.Node, above map[*yaml.Node]bool, count *int) string {
	*count++
	switch {
	case above[n]:
		return fmt.Sprintf("line %d: an alias that holds itself", n.Line)
	case *count > maximumNodes:
		return fmt.Sprintf("more than %d values, aliases unfolded", maximumNodes)
	}
	above[n] = true
	defer delete(above, n)
	for _, inner := range n.Content {
		if why := unfold(inner, above, count); why != "" {
			return why
		}
	}
	if n.Kind == yaml.AliasNode {
		return unfold(n.Alias, above, count)
	}
	return ""
}

// section checks each key of a section, and rewrites keys to the spelling that the rest of the package uses. account is the
// account's node once the walk is inside of one.
func (t *tree) section(n *yaml.Node, known map[string]key, path string, account *yaml.Node, depth int) {
	if depth > maximumDepth {
		t.problem(account, n, path, "nested too deeply")
		return
	}
	spread(n)
	seen := map[string]bool{}
	kept := n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		canonical, k, ok := lookup(known, name.Value)
		switch {
		case !ok:
			t.problem(account, name, "", unknownKey(join(path, name.Value), name.Value, known, path))
			continue
		case seen[canonical]:
			t.problem(account, name, join(path, canonical), "given twice; remove one")
			continue
		}
		seen[canonical] = true
		if isNull(value) {
			continue
		}
		name.Value, name.Style = canonical, 0
		if t.value(value, k, join(path, canonical), account, depth) {
			kept = append(kept, name, value)
		}
	}
	n.Content = kept
}

// value checks one key's value; false leaves it out of what is decoded.
func (t *tree) value(v *yaml.Node, k key, path string, account *yaml.Node, depth int) bool {
	if why := coerce(v, k.shape); why != "" {
		t.problem(account, v, path, why)
		return false
	}
	if k.refuse != "" {
		if !isZero(v) {
			t.problem(account, v, path, "not supported: "+k.refuse)
		}
		return false
	}
	if k.note != "" {
		t.notes = append(t.notes, seenKey{path: path, note: k.note, account: account})
	}
	switch k.shape {
	case section:
		inner := t
		if k.note != "" {
			inner = &tree{file: t.file, accountProblems: map[*yaml.Node][]error{}} // the section's own note says it all
		}
		inner.section(v, k.keys, path, account, depth+1)
		if inner != t {
			t.take(inner, account)
		}
	case sections:
		for _, item := range v.Content {
			owner := account
			if path == accountsPath {
				owner = item
			}
			t.section(item, k.keys, path+"[]", owner, depth+1)
		}
	case text:
		if secrets.IsReference(v.Value) && !k.secret {
			t.problem(account, v, path, "takes no secret reference (encrypted:, encryptedFile:); mount the secret as a file and name the file")
		}
	}
	return k.note == ""
}

func (t *tree) take(inner *tree, account *yaml.Node) {
	if account == nil {
		t.problems = append(t.problems, inner.problems...)
		return
	}
	t.accountProblems[account] = append(t.accountProblems[account], inner.accountProblems[account]...)
}

func (t *tree) problem(account, at *yaml.Node, path, text string) {
	if path != "" {
		text = path + ": " + text
	}
	err := fmt.Errorf("%s:%d: %s", t.file, at.Line, text)
	if account == nil {
		t.problems = append(t.problems, err)
		return
	}
	t.accountProblems[account] = append(t.accountProblems[account], err)
}

// lookup finds a key without regard to case.
func lookup(known map[string]key, name string) (string, key, bool) {
	if k, ok := known[name]; ok {
		return name, k, true
	}
	for n, k := range known {
		if strings.EqualFold(n, name) {
			return n, k, true
		}
	}
	return "", key{}, false
}

// coerce checks a value's shape and makes quoted numbers and booleans what they stand for. It returns what is wrong, or "".
func coerce(v *yaml.Node, s shape) string {
	wrong := fmt.Sprintf("want %s, got %s", s, describe(v))
	switch s {
	case anything:
		return ""
	case section:
		if v.Kind != yaml.MappingNode {
			return wrong
		}
		return ""
	case sections, texts:
		return coerceList(v, s, wrong)
	}
	if v.Kind != yaml.ScalarNode {
		return wrong
	}
	switch s {
	case text:
		v.Tag = "!!str"
	case boolean:
		if b, err := strconv.ParseBool(strings.ToLower(v.Value)); err != nil || len(v.Value) < len("true") {
			return wrong
		} else {
			v.Tag, v.Value, v.Style = "!!bool", strconv.FormatBool(b), 0
		}
	case whole:
		f, err := strconv.ParseFloat(v.Value, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return wrong
		}
		v.Tag, v.Value, v.Style = "!!int", strconv.FormatInt(int64(f), 10), 0
	case number:
		f, err := strconv.ParseFloat(v.Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong
		}
		v.Tag, v.Value, v.Style = "!!float", strconv.FormatFloat(f, 'g', -1, 64), 0
	}
	return ""
}

func coerceList(v *yaml.Node, s shape, wrong string) string {
	if v.Kind != yaml.SequenceNode {
		return wrong
	}
	for i, item := range v.Content {
		item = resolve(item)
		v.Content[i] = item
		inner := text
		if s == sections {
			inner = section
		}
		if isNull(item) {
			return fmt.Sprintf("entry %d is empty", i+1)
		}
		if why := coerce(item, inner); why != "" {
			return fmt.Sprintf("entry %d: %s", i+1, why)
		}
	}
	return ""
}

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && i < maximumDepth; i++ {
		n = n.Alias
	}
	return n
}

// spread puts what a merge key ("<<") names into its section, below the section's own keys.
func spread(n *yaml.Node) {
	own := map[string]bool{}
	var kept, inherited []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			inherited = append(inherited, resolve(n.Content[i+1]))
			continue
		}
		own[n.Content[i].Value] = true
		kept = append(kept, n.Content[i], n.Content[i+1])
	}
	for len(inherited) > 0 {
		from := inherited[0]
		inherited = inherited[1:]
		if from.Kind == yaml.SequenceNode {
			for _, s := range from.Content {
				inherited = append(inherited, resolve(s))
			}
			continue
		}
		for i := 0; from.Kind == yaml.MappingNode && i+1 < len(from.Content); i += 2 {
			if name := *from.Content[i]; !own[name.Value] {
				own[name.Value] = true
				kept = append(kept, &name, from.Content[i+1])
			}
		}
	}
	n.Content = kept
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// isZero tells a value that asks for nothing.
func isZero(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Value == "" || n.Value == "false" || n.Value == "0") ||
		n.Kind != yaml.ScalarNode && len(n.Content) == 0
}

// describe names a value in an error. Texts are cut: a misplaced secret should not fill the log.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	default:
		value := n.Value
		if len(value) > 40 {
			value = value[:37] + "..."
		}
		return strconv.Quote(value)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
