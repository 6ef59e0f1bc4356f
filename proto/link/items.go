package link

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// groupKey is linkv1.Group as a map key.
type groupKey struct{ typ, rel string }

func groupOf(g *linkv1.Group) groupKey { return groupKey{g.GetType(), g.GetRelType()} }

func (g groupKey) message() *linkv1.Group { return &linkv1.Group{Type: g.typ, RelType: g.rel} }

// rowName is linkv1.Key as a part of a map key.
type rowName struct{ typ, scope, name string }

func nameOf(k *linkv1.Key) rowName { return rowName{k.GetType(), k.GetScope(), k.GetName()} }

// itemKey is what a change is about: a row (to is zero), or a link.
type itemKey struct{ from, to rowName }

func (k itemKey) group() groupKey { return groupKey{k.from.typ, k.to.typ} }

// itemOf tells what a change is about; ok is false if it is about nothing that this build knows.
func itemOf(c *linkv1.Change) (key itemKey, ok bool) {
	switch c := c.GetChange().(type) {
	case *linkv1.Change_PutRow:
		key.from = nameOf(c.PutRow.GetKey())
	case *linkv1.Change_DeleteRow:
		key.from = nameOf(c.DeleteRow)
	case *linkv1.Change_PutLink:
		key.from, key.to = nameOf(c.PutLink.GetFrom()), nameOf(c.PutLink.GetTo())
		return key, key.from.typ != "" && key.to.typ != ""
	case *linkv1.Change_DeleteLink:
		key.from, key.to = nameOf(c.DeleteLink.GetFrom()), nameOf(c.DeleteLink.GetTo())
		return key, key.from.typ != "" && key.to.typ != ""
	default:
		return key, false
	}
	return key, key.from.typ != ""
}

// linkOf is the link that a change is about, nil for rows.
func linkOf(c *linkv1.Change) *linkv1.Link {
	if l := c.GetPutLink(); l != nil {
		return l
	}
	return c.GetDeleteLink()
}

// rowKey is the Entry key of a row.
func rowKey(n rowName) string { return n.scope + "/" + n.name }

// sizeOf estimates what a change takes in memory and, closely enough to cut batches, on the wire.
func sizeOf(c *linkv1.Change) int {
	const overhead = 48
	size := overhead
	switch c := c.GetChange().(type) {
	case *linkv1.Change_PutRow:
		size += sizeOfKey(c.PutRow.GetKey()) + len(c.PutRow.GetBody())
	case *linkv1.Change_DeleteRow:
		size += sizeOfKey(c.DeleteRow)
	case *linkv1.Change_PutLink:
		size += sizeOfKey(c.PutLink.GetFrom()) + sizeOfKey(c.PutLink.GetTo())
	case *linkv1.Change_DeleteLink:
		size += sizeOfKey(c.DeleteLink.GetFrom()) + sizeOfKey(c.DeleteLink.GetTo())
	}
	return size
}

func sizeOfKey(k *linkv1.Key) int { return 8 + len(k.GetType()) + len(k.GetScope()) + len(k.GetName()) }

// bodyHash is a row's part of a digest: the first 64 bits of the body's SHA-256, as the tables' body_hash begins.
func bodyHash(body []byte) uint64 {
	sum := sha256.Sum256(body)
	return binary.BigEndian.Uint64(sum[:8])
}

// linkHash is a link's part of a digest: the last 60 bits of its id, twelve digits to the base of 32 (cats.Link.ID).
func linkHash(id string) (uint64, bool) {
	const digits = 12
	if len(id) < digits {
		return 0, false
	}
	h, err := strconv.ParseUint(id[len(id)-digits:], 32, 64)
	return h, err == nil
}
