package cats

import (
	"bytes"
	"slices"
)

// edit collects what one call changes: rows and links are noted with their state before the first touch, and compared
// with their state at the end.
type edit struct {
	hasher linkHasher
	rows   map[*record]rowState
	links  map[pair]bool
	body   map[*record][]byte
	loose  []*record // may have to be forgotten
}

type rowState struct {
	hash uint64
	live bool
}

func newEdit(account string) edit {
	e := edit{rows: make(map[*record]rowState), links: make(map[pair]bool), body: make(map[*record][]byte)}
	e.hasher.reset(account)
	return e
}

func (e *edit) row(r *record) {
	if _, ok := e.rows[r]; !ok {
		e.rows[r] = rowState{r.hash, r.live}
	}
}

func (e *edit) link(from, to *record) {
	p := pair{from, to}
	if _, ok := e.links[p]; !ok {
		e.links[p] = linked(from, to)
	}
}

// between notes the links that a relation between two records may give; of members only the way back is one.
func (e *edit) between(from, to *record, kind edgeKind) {
	e.link(to, from)
	if kind != edgeApp && kind != edgeCluster && kind != edgeHome {
		e.link(from, to)
	}
}

func (e *edit) prune(r *record) { e.loose = append(e.loose, r) }

// statement is an edge that a record ought to have.
type statement struct {
	to   *record
	kind edgeKind
}

// restate makes a record's edges those that its object names.
func (inv *Inventory) restate(r *record, o *object) {
	desired := inv.desired[:0]
	for _, k := range o.owners {
		desired = append(desired, statement{inv.lookup(k), edgeOwner})
	}
	if o.involved.Type != "" {
		desired = append(desired, statement{inv.lookup(o.involved), edgeInvolved})
	}
	if o.app.Type != "" {
		desired = append(desired, statement{inv.lookup(o.app), edgeApp})
	}
	if o.cluster.Type != "" {
		desired = append(desired, statement{inv.lookup(o.cluster), edgeCluster})
	}
	for _, name := range o.services {
		desired = append(desired, statement{inv.lookup(Key{service, o.key.Scope, name}), edgeService})
	}
	inv.desired = desired
	for e := r.out; e != nil; {
		next := e.nextOut
		if e.kind != edgeSelector && !slices.Contains(desired, statement{e.to, e.kind}) {
			inv.cut(e)
		}
		e = next
	}
	for _, s := range desired {
		if !r.states(s) {
			inv.connect(r, s.to, s.kind)
		}
	}
}

func (r *record) states(s statement) bool {
	for e := r.out; e != nil; e = e.nextOut {
		if e.to == s.to && e.kind == s.kind {
			return true
		}
	}
	return false
}

func (inv *Inventory) connect(from, to *record, kind edgeKind) {
	inv.edit.between(from, to, kind)
	from.addEdge(to, kind)
	if kind.counted() && from.live {
		inv.count(from, to, 1)
	}
}

func (inv *Inventory) cut(e *edge) {
	from, to := e.from, e.to
	inv.edit.between(from, to, e.kind)
	if e.kind.counted() && from.live {
		inv.count(from, to, -1)
	}
	from.removeEdge(e)
	if to.in == nil {
		inv.edit.prune(to)
	}
}

// count adds a member to an application or cluster, or takes one away. Like in stock Clouddriver, custom resources do
// not make an application exist.
func (inv *Inventory) count(member, group *record, n int32) {
	if !member.table.core {
		return
	}
	group.members += n
	inv.setPresent(group, group.members > 0)
}

func (inv *Inventory) setPresent(r *record, present bool) {
	if r.present == present {
		inv.refresh(r)
		return
	}
	inv.edit.row(r)
	r.present = present
	if present {
		r.table.family.enter(r)
		inv.refreshRivals(r)
		inv.refresh(r)
		return
	}
	rivals := r.table.family.leave(r)
	inv.refresh(r)
	for _, o := range rivals {
		inv.refresh(o)
	}
}

// refreshRivals makes the rows that compete with r for an id agree on who is written.
func (inv *Inventory) refreshRivals(r *record) {
	for _, o := range r.table.family.rivals(r) {
		inv.refresh(o)
	}
}

// refresh decides whether a record's row is written, and tells what depends on it.
func (inv *Inventory) refresh(r *record) {
	live := r.present && !r.long && r.table.family.wins(r)
	if live == r.live {
		return
	}
	inv.edit.row(r)
	for e := r.out; e != nil; e = e.nextOut {
		inv.edit.between(r, e.to, e.kind)
	}
	for e := r.in; e != nil; e = e.nextIn {
		inv.edit.between(e.from, r, e.kind)
	}
	r.live = live
	n := int32(1)
	if !live {
		n = -1
	}
	for e := r.out; e != nil; e = e.nextOut {
		if e.counted() {
			inv.count(r, e.to, n)
		}
	}
}

// finish turns the edit into changes: rows by key, those that go first (one that comes may have an id that MySQL takes
// for theirs), then links by id.
func (inv *Inventory) finish() []Change {
	e := &inv.edit
	var changes []Change
	for r, before := range e.rows {
		changes = inv.finishRow(changes, r, before)
	}
	slices.SortFunc(changes, func(a, b Change) int {
		if a.Kind != b.Kind {
			return int(b.Kind) - int(a.Kind)
		}
		return compareKeys(a.Key, b.Key)
	})
	changes = inv.finishLinks(changes)
	for i := 0; i < len(e.loose); i++ {
		inv.forget(e.loose[i])
	}
	e.loose = e.loose[:0]
	e.rows, e.links, e.body = emptied(e.rows), emptied(e.links), emptied(e.body)
	return changes
}

// emptied returns an empty map: the same one, unless it has grown so big that clearing it each time would cost.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > 1024 {
		return make(map[K]V)
	}
	clear(m)
	return m
}

func (inv *Inventory) finishRow(changes []Change, r *record, before rowState) []Change {
	rows := &r.table.rows
	if before.live {
		rows.remove(before.hash)
	}
	if r.live {
		rows.add(r.hash)
	}
	if !r.live {
		delete(inv.missing, r)
		if before.live {
			changes = append(changes, Change{Kind: DeleteRow, Key: r.key()})
		}
		return changes
	}
	if !before.live && r.table.cursor != nil {
		r.table.cursor.added = append(r.table.cursor.added, r)
	}
	body := inv.edit.body[r]
	if body == nil && !before.live {
		body = inv.storedBody(r)
		if body == nil {
			inv.missing[r] = struct{}{}
		}
	}
	if body != nil {
		changes = append(changes, Change{Kind: PutRow, Key: r.key(), Body: body})
		if r.more != nil {
			r.more.body = nil
		}
	}
	return changes
}

// storedBody returns the body of a row without its object: of applications and clusters, and of rows that were kept
// while another stood in their place.
func (inv *Inventory) storedBody(r *record) []byte {
	if r.table.typ.logical() {
		return logicalBody(inv.account, r.key())
	}
	if r.more != nil {
		return r.more.body
	}
	return nil
}

func (inv *Inventory) finishLinks(changes []Change) []Change {
	type identified struct {
		sum    linkHash
		change Change
	}
	var found []identified
	for p, before := range inv.edit.links {
		after := linked(p.from, p.to)
		if after == before {
			continue
		}
		link := Link{p.from.key(), p.to.key()}
		sum := inv.edit.hasher.sum(link.From, link.To)
		group := inv.linkGroup(p)
		kind := PutLink
		if after {
			group.links.add(sum.digest())
			if group.cursor != nil {
				group.cursor.added = append(group.cursor.added, linkItem{sum, p})
			}
		} else {
			kind = DeleteLink
			group.links.remove(sum.digest())
		}
		found = append(found, identified{sum, Change{Kind: kind, Link: link}})
	}
	slices.SortFunc(found, func(a, b identified) int { return bytes.Compare(a.sum[:], b.sum[:]) })
	for _, f := range found {
		changes = append(changes, f.change)
	}
	return changes
}

func (inv *Inventory) linkGroup(p pair) *linkGroup {
	g := Group{p.from.table.typ, p.to.table.typ}
	group := inv.links[g]
	if group == nil {
		group = &linkGroup{}
		inv.links[g] = group
	}
	return group
}

// forget drops a record that nothing needs any more.
func (inv *Inventory) forget(r *record) {
	if r.present || r.in != nil || r.table.records[r.path] != r {
		return
	}
	for r.out != nil {
		to := r.out.to
		r.removeEdge(r.out)
		if to.in == nil {
			inv.edit.prune(to)
		}
	}
	delete(r.table.records, r.path)
}

func (r *record) extra() *more {
	if r.more == nil {
		r.more = &more{}
	}
	return r.more
}

// winner returns the rival of r that is written, r itself if none is.
func (f *family) winner(r *record) *record {
	for _, o := range f.rivals(r) {
		if o.live {
			return o
		}
	}
	return r
}
