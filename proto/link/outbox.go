package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// outbox is what one account has still to tell its bridge: the latest state of each item, in the order in which its set first
// changed, and what was sent and is not acknowledged.
//
// Invariants:
//   - an unsent item is there once (unless a barrier lies between), with its newest state;
//   - a set is sent whole, after every earlier set that shares an item with it;
//   - what was sent stays until it is acknowledged, and goes back to the front, in order, when the session is another one.
type outbox struct {
	// maxSet bounds a set beside its largest item, which may be a body as large as bodies may be: what is larger is cut, and sets that
	// would grow above it by sharing items stay apart, in order.
	maxSet int

	head, tail *changeSet
	// index finds unsent items. A map keeps the room of its largest size, so it is made anew when it was large and is empty.
	index      map[itemKey]place
	largeIndex bool
	flights    []flight
	// pending counts unsent changes; bytes and changes count unsent and unacknowledged ones.
	pending, bytes, changes int
	born                    uint64
}

// keptIndex items take some 30 KiB in the index, which an account may keep.
const keptIndex = 256

// changeSet is changes that commit together.
type changeSet struct {
	items []item
	bytes int
	// read is when the oldest of its changes was read from a watch; zero: none of them was.
	read time.Time
	// born orders sets; a merged set keeps the oldest place.
	born       uint64
	prev, next *changeSet
}

type item struct {
	key    itemKey
	change *linkv1.Change
	size   int
	group  *group
}

type place struct {
	set *changeSet
	at  int
}

// flight is one step that was sent and is not acknowledged. Steps other than batches have no sets.
type flight struct {
	seq  uint64
	sets []*changeSet
}

// largest is the size of a set's largest item.
func (s *changeSet) largest() (most int) {
	for i := range s.items {
		most = max(most, s.items[i].size)
	}
	return most
}

// waits says since when the older of two sets waits.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// put adds a set that was read at a time; groups gives the group of a key.
func (o *outbox) put(changes []*linkv1.Change, read time.Time, groups func(itemKey) *group) {
	set, largest := changeSet{items: make([]item, 0, len(changes)), read: read}, 0
	for _, c := range changes {
		key, ok := itemOf(c)
		if !ok {
			continue
		}
		size := sizeOf(c)
		if set.bytes > 0 && set.bytes+size-max(largest, size) > o.maxSet {
			o.add(&set)
			set, largest = changeSet{read: read}, 0
		}
		largest = max(largest, size)
		set.items = append(set.items, item{key: key, change: c, size: size, group: groups(key)})
		set.bytes += size
	}
	if len(set.items) > 0 {
		o.add(&set)
	}
}

// add takes a set that is not in the list, merging it with the unsent sets that share items with it.
func (o *outbox) add(set *changeSet) {
	if o.index == nil {
		o.index = make(map[itemKey]place)
	}
	target, total := o.touched(set)
	if target != nil && total-set.largest() > o.maxSet {
		// A barrier: what is unsent stays as it is and goes first.
		clear(o.index)
		target = nil
	}
	if target == nil {
		o.born++
		target = &changeSet{born: o.born, items: make([]item, 0, len(set.items))}
		o.link(target)
	}
	target.read = earliest(target.read, set.read)
	for i := range set.items {
		if p, ok := o.index[set.items[i].key]; ok && p.set != target {
			o.absorb(target, p.set)
		}
		o.place(target, set.items[i])
	}
}

// touched finds the oldest unsent set that shares an item with set, and the size of all that do.
func (o *outbox) touched(set *changeSet) (oldest *changeSet, total int) {
	var seen []*changeSet
	total = set.bytes
	for i := range set.items {
		p, ok := o.index[set.items[i].key]
		if !ok {
			continue
		}
		total -= p.set.items[p.at].size // the new state takes its place
		if contains(seen, p.set) {
			continue
		}
		seen = append(seen, p.set)
		total += p.set.bytes
		if oldest == nil || p.set.born < oldest.born {
			oldest = p.set
		}
	}
	return oldest, total
}

func contains(sets []*changeSet, set *changeSet) bool {
	for _, s := range sets {
		if s == set {
			return true
		}
	}
	return false
}

// absorb moves the items of a newer set into an older one.
func (o *outbox) absorb(target, set *changeSet) {
	o.unlink(set)
	for i := range set.items {
		o.index[set.items[i].key] = place{target, len(target.items)}
		target.items = append(target.items, set.items[i])
	}
	target.bytes += set.bytes
	target.read = earliest(target.read, set.read)
}

// place puts one item into a set, over its older state if that is unsent.
func (o *outbox) place(target *changeSet, it item) {
	if p, ok := o.index[it.key]; ok {
		old := &p.set.items[p.at]
		p.set.bytes += it.size - old.size
		o.bytes += it.size - old.size
		old.change, old.size = it.change, it.size
		return
	}
	o.index[it.key] = place{target, len(target.items)}
	o.largeIndex = o.largeIndex || len(o.index) > keptIndex
	target.items = append(target.items, it)
	target.bytes += it.size
	o.bytes += it.size
	o.changes++
	o.pending++
	it.group.pending++
}

func (o *outbox) link(set *changeSet) {
	set.prev, set.next = o.tail, nil
	if o.tail == nil {
		o.head = set
	} else {
		o.tail.next = set
	}
	o.tail = set
}

func (o *outbox) unlink(set *changeSet) {
	if set.prev == nil {
		o.head = set.next
	} else {
		set.prev.next = set.next
	}
	if set.next == nil {
		o.tail = set.prev
	} else {
		set.next.prev = set.prev
	}
	set.prev, set.next = nil, nil
}

// take removes the sets of the next batch from the unsent ones: at least one, further ones while they fit.
func (o *outbox) take(maxBytes, maxChanges int) []*changeSet {
	var sets []*changeSet
	bytes, changes := 0, 0
	for set := o.head; set != nil; set = o.head {
		if len(sets) > 0 && (bytes+set.bytes > maxBytes || changes+len(set.items) > maxChanges) {
			break
		}
		o.unlink(set)
		for i := range set.items {
			if o.index[set.items[i].key].set == set {
				delete(o.index, set.items[i].key)
			}
			set.items[i].group.pending--
		}
		o.pending -= len(set.items)
		bytes += set.bytes
		changes += len(set.items)
		sets = append(sets, set)
	}
	if o.pending == 0 && o.largeIndex {
		o.index, o.largeIndex = nil, false
	}
	return sets
}

func (o *outbox) sent(seq uint64, sets []*changeSet) {
	o.flights = append(o.flights, flight{seq: seq, sets: sets})
}

// drop takes one item of a taken set out: it will not be sent.
func (o *outbox) drop(set *changeSet, at int) {
	o.bytes -= set.items[at].size
	o.changes--
	set.bytes -= set.items[at].size
	set.items = append(set.items[:at], set.items[at+1:]...)
}

// ack forgets what was sent up to seq, and hands out when it had been read.
func (o *outbox) ack(seq uint64, committed func(read time.Time)) {
	n := 0
	for n < len(o.flights) && o.flights[n].seq <= seq {
		for _, set := range o.flights[n].sets {
			if !set.read.IsZero() && len(set.items) > 0 {
				committed(set.read)
			}
			o.bytes -= set.bytes
			o.changes -= len(set.items)
		}
		n++
	}
	left := copy(o.flights, o.flights[n:])
	clear(o.flights[left:])
	o.flights = o.flights[:left]
}

// requeue makes everything that is not acknowledged unsent again, oldest first, newer states in the place of older ones.
func (o *outbox) requeue() {
	if len(o.flights) == 0 {
		return
	}
	flights, pending := o.flights, o.head
	for set := pending; set != nil; set = set.next {
		for i := range set.items {
			set.items[i].group.pending--
		}
	}
	*o = outbox{maxSet: o.maxSet}
	for _, f := range flights {
		for _, set := range f.sets {
			o.add(set)
		}
	}
	for set := pending; set != nil; {
		next := set.next
		o.add(set)
		set = next
	}
}

// reset forgets everything.
func (o *outbox) reset() {
	for set := o.head; set != nil; set = set.next {
		for i := range set.items {
			set.items[i].group.pending--
		}
	}
	*o = outbox{maxSet: o.maxSet}
}

// each calls f for every item that is unsent or unacknowledged and belongs to the group.
func (o *outbox) each(g *group, f func(*item)) {
	for _, flight := range o.flights {
		for _, set := range flight.sets {
			eachOf(set, g, f)
		}
	}
	if g.pending == 0 {
		return
	}
	for set := o.head; set != nil; set = set.next {
		eachOf(set, g, f)
	}
}

func eachOf(set *changeSet, g *group, f func(*item)) {
	for i := range set.items {
		if set.items[i].group == g {
			f(&set.items[i])
		}
	}
}
