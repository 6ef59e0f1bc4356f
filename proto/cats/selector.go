package cats

import "slices"

// selectorIndex finds the replica sets that a service selects, and the services that select a replica set, in time that
// depends on how many there are to find. Labels are hashes that include the namespace (hashLabels).
type selectorIndex struct {
	// Services by the one entry of their selector that the fewest others are filed under.
	services map[uint64][]*record
	// Replica sets by each label of their pod template.
	replicaSets map[uint64][]*record
}

func newSelectorIndex() selectorIndex {
	return selectorIndex{make(map[uint64][]*record), make(map[uint64][]*record)}
}

// update files r under what its object says now and connects it with what it matches.
func (x *selectorIndex) update(inv *Inventory, r *record, o *object) {
	switch r.table.typ {
	case service:
		if r.present && slices.Equal(r.selector(), o.selector) {
			return
		}
		x.unfile(r)
		if len(o.selector) > 0 {
			r.extra().selector = slices.Clone(o.selector)
			x.fileService(r)
		}
		x.connectService(inv, r)
	case replicaSet:
		if r.present && slices.Equal(r.labels(), o.labels) {
			return
		}
		x.unfile(r)
		if len(o.labels) > 0 {
			r.extra().labels = slices.Clone(o.labels)
			for _, l := range o.labels {
				x.replicaSets[l] = append(x.replicaSets[l], r)
			}
		}
		x.connectReplicaSet(inv, r)
	}
}

// remove takes a deleted object out.
func (x *selectorIndex) remove(inv *Inventory, r *record) {
	if r.table.typ != service && r.table.typ != replicaSet {
		return
	}
	x.unfile(r)
	for e := r.in; e != nil; {
		next := e.nextIn
		if e.kind == edgeSelector {
			inv.cut(e)
		}
		e = next
	}
}

func (x *selectorIndex) fileService(r *record) {
	m := r.more
	m.anchor = m.selector[0]
	for _, l := range m.selector[1:] {
		if len(x.services[l]) < len(x.services[m.anchor]) {
			m.anchor = l
		}
	}
	x.services[m.anchor] = append(x.services[m.anchor], r)
}

func (x *selectorIndex) unfile(r *record) {
	if r.more == nil {
		return
	}
	if len(r.more.selector) > 0 {
		takeOut(x.services, r.more.anchor, r)
		r.more.selector = nil
	}
	for _, l := range r.more.labels {
		takeOut(x.replicaSets, l, r)
	}
	r.more.labels = nil
}

func takeOut(index map[uint64][]*record, label uint64, r *record) {
	list := index[label]
	i := slices.Index(list, r)
	if i < 0 {
		return
	}
	last := len(list) - 1
	list[i], list[last] = list[last], nil
	if last == 0 {
		delete(index, label)
		return
	}
	index[label] = list[:last]
}

// connectService makes a service's edges those of the replica sets that it selects.
func (x *selectorIndex) connectService(inv *Inventory, r *record) {
	selected := make(map[*record]bool)
	selector := r.selector()
	if len(selector) > 0 {
		fewest := x.replicaSets[selector[0]]
		for _, l := range selector[1:] {
			if list := x.replicaSets[l]; len(list) < len(fewest) {
				fewest = list
			}
		}
		for _, rs := range fewest {
			if subset(selector, rs.labels()) {
				selected[rs] = true
			}
		}
	}
	for e := r.in; e != nil; {
		next := e.nextIn
		if e.kind == edgeSelector {
			if selected[e.from] {
				delete(selected, e.from)
			} else {
				inv.cut(e)
			}
		}
		e = next
	}
	for rs := range selected {
		inv.connect(rs, r, edgeSelector)
	}
}

// connectReplicaSet makes a replica set's edges those of the services that select it.
func (x *selectorIndex) connectReplicaSet(inv *Inventory, r *record) {
	labels := r.labels()
	var selecting []*record
	for _, l := range labels {
		for _, s := range x.services[l] {
			if subset(s.selector(), labels) {
				selecting = append(selecting, s)
			}
		}
	}
	for e := r.out; e != nil; {
		next := e.nextOut
		if e.kind == edgeSelector && !slices.Contains(selecting, e.to) {
			inv.cut(e)
		}
		e = next
	}
	for _, s := range selecting {
		if !r.states(statement{s, edgeSelector}) {
			inv.connect(r, s, edgeSelector)
		}
	}
}

func (r *record) selector() []uint64 {
	if r.more == nil {
		return nil
	}
	return r.more.selector
}

func (r *record) labels() []uint64 {
	if r.more == nil {
		return nil
	}
	return r.more.labels
}

// subset tells whether all of a are in b; both are sorted.
func subset(a, b []uint64) bool {
	for _, v := range a {
		for len(b) > 0 && b[0] < v {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != v {
			return false
		}
		b = b[1:]
	}
	return true
}
