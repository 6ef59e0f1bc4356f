package cats

import (
	"slices"
	"strconv"
	"strings"
)

// encodeBody writes the row of an object: what Clouddriver's KubernetesCacheData makes of it, with the relationships
// that the object itself names, and the object as kubectl prints it, without managed fields and secrets. The result is
// good until the next call.
func (inv *Inventory) encodeBody(o *object) ([]byte, error) {
	e := &inv.encoder
	e.out, e.keys, e.deep = e.out[:0], e.keys[:0], 0
	e.out = append(e.out, `{"attributes":{"apiVersion":`...)
	e.string(strings.ToLower(o.apiVersion))
	e.out = append(e.out, `,"fullResourceName":`...)
	e.string(string(o.key.Type))
	e.out = append(e.out[:len(e.out)-1], ' ')
	e.stringRest(o.key.Name)
	e.out = append(e.out, `,"kind":`...)
	e.string(string(o.key.Type))
	e.out = append(e.out, `,"manifest":`...)
	manifest := inManifest
	if o.key.Type == secret {
		manifest = inSecret
	}
	if err := e.object(o.raw, manifest); err != nil {
		return nil, err
	}
	e.out = append(e.out, `,"moniker":`...)
	o.moniker.encode(e)
	e.out = append(e.out, `,"name":`...)
	e.string(o.key.Name)
	e.out = append(e.out, `,"namespace":`...)
	e.string(o.key.Scope)
	e.out = append(e.out, `},"id":`...)
	e.id(inv.account, o.key)
	e.out = append(e.out, `,"relationships":`...)
	inv.related = append(inv.related[:0], o.owners...)
	for _, k := range []Key{o.involved, o.app, o.cluster} {
		if k.Type != "" {
			inv.related = append(inv.related, k)
		}
	}
	e.relationships(inv.account, inv.related)
	e.out = append(e.out, `,"ttlSeconds":-1}`...)
	return e.out, nil
}

// logicalBody writes the row of an application or cluster. Clouddriver adds an expiry that nothing reads and that would
// change the row with every poll; it is left out.
func logicalBody(account string, k Key) []byte {
	e := &encoder{out: make([]byte, 0, 256)}
	e.out = append(e.out, `{"attributes":{"name":`...)
	e.string(k.Name)
	e.out = append(e.out, `},"id":`...)
	e.id(account, k)
	e.out = append(e.out, `,"relationships":`...)
	var related []Key
	if k.Type == Clusters {
		related = []Key{{Type: Applications, Name: k.Scope}}
	}
	e.relationships(account, related)
	e.out = append(e.out, `,"ttlSeconds":600}`...)
	return e.out
}

// encode writes Clouddriver's Moniker, which leaves out what is absent.
func (m *moniker) encode(e *encoder) {
	e.out = append(e.out, '{')
	start := len(e.out)
	comma := func() {
		if len(e.out) > start {
			e.out = append(e.out, ',')
		}
	}
	field := func(name string, t text) {
		if t.ok {
			comma()
			e.string(name)
			e.out = append(e.out, ':')
			e.string(t.value)
		}
	}
	field("app", m.app)
	field("cluster", m.cluster)
	field("detail", m.detail)
	if m.sequence.ok {
		comma()
		e.out = strconv.AppendInt(append(e.out, `"sequence":`...), int64(m.sequence.value), 10)
	}
	field("stack", m.stack)
	e.out = append(e.out, '}')
}

// id writes an id as a JSON string.
func (e *encoder) id(account string, k Key) {
	e.out = append(e.out, '"')
	start := len(e.out)
	e.out = appendID(e.out, account, k)
	for _, c := range e.out[start:] {
		if c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			id := string(e.out[start:])
			e.out = e.out[:start]
			e.stringRest(id)
			return
		}
	}
	e.out = append(e.out, '"')
}

// relationships writes ids by type, types and ids in byte order. "pod" and "service" always exist: Clouddriver's
// "sticky kinds".
func (e *encoder) relationships(account string, keys []Key) {
	slices.SortFunc(keys, func(a, b Key) int {
		if a.Type != b.Type {
			return strings.Compare(string(a.Type), string(b.Type))
		}
		if a.Scope != b.Scope {
			return strings.Compare(a.Scope, b.Scope)
		}
		return strings.Compare(a.Name, b.Name)
	})
	e.out = append(e.out, '{')
	sticky := []Type{pod, service}
	first := true
	group := func(t Type, keys []Key) {
		if !first {
			e.out = append(e.out, ',')
		}
		first = false
		e.string(string(t))
		e.out = append(e.out, ':', '[')
		for i, k := range keys {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			e.id(account, k)
		}
		e.out = append(e.out, ']')
	}
	for len(keys) > 0 || len(sticky) > 0 {
		if len(keys) == 0 || len(sticky) > 0 && sticky[0] < keys[0].Type {
			group(sticky[0], nil)
			sticky = sticky[1:]
			continue
		}
		t, n := keys[0].Type, 1
		for n < len(keys) && keys[n].Type == t {
			n++
		}
		if len(sticky) > 0 && sticky[0] == t {
			sticky = sticky[1:]
		}
		group(t, keys[:n])
		keys = keys[n:]
	}
	e.out = append(e.out, '}')
}
