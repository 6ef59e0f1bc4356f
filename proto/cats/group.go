package cats

import (
	"bytes"
	"slices"
	"sort"
	"strings"
)

// Groups returns the groups that the inventory speaks for, sorted: the rows of each watched kind (an empty one too), of
// applications and clusters, and all links that there are or were.
func (inv *Inventory) Groups() []Group {
	var groups []Group
	for t, table := range inv.tables {
		if table.watched || table.rows.count > 0 {
			groups = append(groups, Group{Type: t})
		}
	}
	for g := range inv.links {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b Group) int {
		if c := strings.Compare(string(a.Type), string(b.Type)); c != 0 {
			return c
		}
		return strings.Compare(string(a.RelType), string(b.RelType))
	})
	return groups
}

// Digest returns how many items a group has, and the XOR of their hashes: of rows the first 64 bits of the body's
// SHA-256, of links the last 60 bits of the id.
func (inv *Inventory) Digest(g Group) (count, xor uint64) {
	if g.RelType != "" {
		group := inv.links[g]
		if group == nil {
			return 0, 0
		}
		group.cursor = nil
		return group.links.count, group.links.xor
	}
	table := inv.tables[g.Type]
	if table == nil {
		return 0, 0
	}
	table.cursor = nil
	return table.rows.count, table.rows.xor
}

// Page returns up to limit items of a group that come after a key, in key order; "" begins. Fewer than limit are the
// last. A page shows the group as it is now: between pages it may change.
func (inv *Inventory) Page(g Group, after string, limit int) []Entry {
	if g.RelType != "" {
		return inv.linkPage(g, after, limit)
	}
	table := inv.tables[g.Type]
	if table == nil {
		return nil
	}
	if after == "" || table.cursor == nil {
		table.cursor = newRowCursor(table)
	}
	list := table.cursor.current()
	i := 0
	if after != "" {
		i = sort.Search(len(list), func(i int) bool { return list[i].outPath() > after })
	}
	var entries []Entry
	for ; i < len(list) && len(entries) < limit; i++ {
		if r := list[i]; r.live {
			entries = append(entries, Entry{r.outPath(), r.hash})
		}
	}
	if len(entries) < limit {
		table.cursor = nil
	}
	return entries
}

// rowCursor is a table's records in key order while its pages are read.
type rowCursor struct{ list, added []*record }

func newRowCursor(t *table) *rowCursor {
	c := &rowCursor{}
	for _, r := range t.records {
		if r.live {
			c.added = append(c.added, r)
		}
	}
	return c
}

func (c *rowCursor) current() []*record {
	if len(c.added) > 0 {
		c.list = append(c.list, c.added...)
		c.added = nil
		slices.SortFunc(c.list, func(a, b *record) int { return strings.Compare(a.outPath(), b.outPath()) })
		c.list = slices.Compact(c.list)
	}
	return c.list
}

type linkItem struct {
	sum  linkHash
	pair pair
}

// linkCursor is a link group's links in id order while its pages are read and what they lacked is sent.
type linkCursor struct{ list, added []linkItem }

func (c *linkCursor) current() []linkItem {
	if len(c.added) > 0 {
		c.list = append(c.list, c.added...)
		c.added = nil
		slices.SortFunc(c.list, func(a, b linkItem) int { return bytes.Compare(a.sum[:], b.sum[:]) })
		c.list = slices.CompactFunc(c.list, func(a, b linkItem) bool { return a.sum == b.sum && a.pair == b.pair })
	}
	return c.list
}

func (inv *Inventory) linkCursor(g Group, fresh bool) *linkCursor {
	group := inv.links[g]
	if group == nil {
		return nil
	}
	if group.cursor != nil && !fresh {
		return group.cursor
	}
	c := &linkCursor{}
	to := inv.tables[g.RelType]
	add := func(p pair) {
		if linked(p.from, p.to) {
			c.added = append(c.added, linkItem{inv.edit.hasher.sum(p.from.key(), p.to.key()), p})
		}
	}
	for _, r := range inv.tables[g.Type].records {
		for e := r.out; e != nil; e = e.nextOut {
			if e.to.table == to {
				add(pair{r, e.to})
			}
		}
		for e := r.in; e != nil; e = e.nextIn {
			if e.from.table == to {
				add(pair{r, e.from})
			}
		}
	}
	group.cursor = c
	return c
}

func (inv *Inventory) linkPage(g Group, after string, limit int) []Entry {
	c := inv.linkCursor(g, after == "")
	if c == nil {
		return nil
	}
	list := c.current()
	i := 0
	if after != "" {
		i = sort.Search(len(list), func(i int) bool { return inv.linkID(list[i]) > after })
	}
	var entries []Entry
	for ; i < len(list) && len(entries) < limit; i++ {
		if linked(list[i].pair.from, list[i].pair.to) {
			entries = append(entries, Entry{Key: inv.linkID(list[i])})
		}
	}
	return entries
}

func (inv *Inventory) linkID(item linkItem) string {
	id := inv.edit.hasher.id(item.sum)
	return string(id[:])
}

// Change returns what writes one item of a group, for somebody who lacks it: a link, an application or a cluster. It
// returns false for an item that is not there any more, and for an object, whose body only Render can make.
func (inv *Inventory) Change(g Group, key string) (Change, bool) {
	if g.RelType != "" {
		c := inv.linkCursor(g, false)
		if c == nil {
			return Change{}, false
		}
		list := c.current()
		i := sort.Search(len(list), func(i int) bool { return inv.linkID(list[i]) >= key })
		for ; i < len(list) && inv.linkID(list[i]) == key; i++ {
			if p := list[i].pair; linked(p.from, p.to) {
				return Change{Kind: PutLink, Link: Link{p.from.key(), p.to.key()}}, true
			}
		}
		return Change{}, false
	}
	k, err := PathKey(g.Type, key)
	if err != nil || !g.Type.logical() {
		return Change{}, false
	}
	r := inv.find(k)
	if r == nil || !r.live {
		return Change{}, false
	}
	return Change{Kind: PutRow, Key: k, Body: logicalBody(inv.account, k)}, true
}
