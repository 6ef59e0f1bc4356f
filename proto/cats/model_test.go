package cats

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// model says what the rows and links of a set of objects are, the slow and obvious way: it looks at all pairs.
type model struct {
	account string
	options Options
	objects map[Key]map[string]any
}

// tables is what Clouddriver's tables hold of an account.
type tables struct {
	rows  map[Key]string
	links map[Link]bool
}

func (m *model) tables() tables {
	out := tables{map[Key]string{}, map[Link]bool{}}
	parsed := map[Key]*object{}
	bodies := map[Key]string{}
	for key, obj := range m.objects {
		inv := NewInventory(m.account, m.options)
		o, err := inv.parse(obj)
		if err != nil || ignored(o.annotations) || m.options.OnlySpinnakerManaged && !managed(o.annotations) {
			continue
		}
		body, err := inv.encodeBody(o)
		if err != nil {
			continue
		}
		parsed[key], bodies[key] = o, string(body)
	}
	m.write(out.rows, bodies)
	logical := map[Key]string{}
	for key, o := range parsed {
		if _, ok := out.rows[key]; ok && key.Type.Native() {
			for _, k := range []Key{o.app, o.cluster} {
				if k.Type != "" {
					logical[k] = string(logicalBody(m.account, k))
				}
			}
		}
	}
	m.write(out.rows, logical)
	for key := range out.rows {
		if key.Type == Clusters {
			out.link(Key{Type: Applications, Name: key.Scope}, key, true)
		}
	}
	for key, o := range parsed {
		m.links(out, parsed, key, o)
	}
	// What a body has inline needs no link.
	for key, o := range parsed {
		for _, k := range append(slices.Clone(o.owners), o.involved) {
			delete(out.links, Link{key, k})
		}
	}
	return out
}

// write adds rows whose id fits and of which no other is the first of the same folded id.
func (m *model) write(rows map[Key]string, candidates map[Key]string) {
	for key, body := range candidates {
		if _, err := key.ID(m.account); err != nil {
			continue
		}
		first := true
		for other := range candidates {
			a, b := string(appendID(nil, m.account, other)), string(appendID(nil, m.account, key))
			if SameID(a, b) && (a < b || a == b && other.Name < key.Name) {
				first = false
			}
		}
		if first {
			rows[key] = body
		}
	}
}

func (m *model) links(out tables, parsed map[Key]*object, key Key, o *object) {
	for _, owner := range o.owners {
		out.link(owner, key, owner.Type.Native() == key.Type.Native())
	}
	if o.involved.Type != "" {
		out.link(o.involved, key, o.involved.Type.Native())
	}
	for _, group := range []Key{o.app, o.cluster} {
		out.link(group, key, true)
	}
	for other, s := range parsed {
		if other.Type != service || other.Scope != key.Scope {
			continue
		}
		named := slices.Contains(o.services, other.Name)
		selected := key.Type == replicaSet && len(s.selector) > 0 && subset(s.selector, o.labels)
		if named || selected {
			out.link(other, key, true)
			out.link(key, other, true)
		}
	}
}

func (out tables) link(from, to Key, holds bool) {
	_, a := out.rows[from]
	_, b := out.rows[to]
	if holds && a && b && len(to.Type) <= MaximumTypeLength {
		out.links[Link{from, to}] = true
	}
}

// apply plays changes and says what is wrong with them.
func (out tables) apply(changes []Change) (wrong []string) {
	for _, c := range changes {
		switch c.Kind {
		case PutRow:
			if !json.Valid(c.Body) {
				wrong = append(wrong, c.String()+": body is no JSON")
			}
			out.rows[c.Key] = string(c.Body)
		case DeleteRow:
			if _, ok := out.rows[c.Key]; !ok {
				wrong = append(wrong, c.String()+": there was none")
			}
			delete(out.rows, c.Key)
		case PutLink:
			if out.links[c.Link] {
				wrong = append(wrong, c.String()+": it was there")
			}
			out.links[c.Link] = true
		case DeleteLink:
			if !out.links[c.Link] {
				wrong = append(wrong, c.String()+": there was none")
			}
			delete(out.links, c.Link)
		}
	}
	return wrong
}

// difference says how two states differ.
func (out tables) difference(want tables) []string {
	var lines []string
	for k, body := range want.rows {
		if got, ok := out.rows[k]; !ok {
			lines = append(lines, "row missing: "+k.String())
		} else if got != body {
			lines = append(lines, "row differs: "+k.String()+"\n\t"+got+"\n\t"+body)
		}
	}
	for k := range out.rows {
		if _, ok := want.rows[k]; !ok {
			lines = append(lines, "row too many: "+k.String())
		}
	}
	for l := range want.links {
		if !out.links[l] {
			lines = append(lines, "link missing: "+l.From.String()+" -> "+l.To.String())
		}
	}
	for l := range out.links {
		if !want.links[l] {
			lines = append(lines, "link too many: "+l.From.String()+" -> "+l.To.String())
		}
	}
	slices.Sort(lines)
	return lines
}

// digests computes every group's digest and entries from the tables.
func (out tables) digests(account string) map[Group]map[string]uint64 {
	groups := map[Group]map[string]uint64{}
	add := func(g Group, key string, hash uint64) {
		if groups[g] == nil {
			groups[g] = map[string]uint64{}
		}
		groups[g][key] = hash
	}
	for k, body := range out.rows {
		add(Group{Type: k.Type}, k.Path(), bodyHash(body))
	}
	for l := range out.links {
		add(Group{l.From.Type, l.To.Type}, l.ID(account), 0)
	}
	return groups
}

func sortedKeys(m map[string]uint64) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }
