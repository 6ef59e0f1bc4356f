package fakekube

import (
	"slices"
	"strings"
)

// historyLength is how many changes of a kind can be watched afterwards, unless Compact forgets them.
const historyLength = 4096

// change is a step in a kind's history: what was there before and after it; nil: nothing.
type change struct {
	version  int64
	was, now *object
	// last is a removed object with the version of its removal.
	last *object
}

// kind holds the objects of a kind, and what happened to them lately. Its cluster's lock guards it.
type kind struct {
	resource Resource
	objects  map[string]*object
	// keys, sorted unless stale; those of removed objects may be among them then.
	keys  []string
	stale bool
	// history, oldest first, is complete for all versions above compacted.
	history   []change
	compacted int64
	// changed is closed with the next change.
	changed chan struct{}
	// served is false once the kind was taken away.
	served bool
}

func newKind(resource Resource, version int64) *kind {
	return &kind{resource: resource, objects: map[string]*object{}, compacted: version, changed: make(chan struct{}), served: true}
}

// set stores a state of an object.
func (k *kind) set(o *object) {
	key := o.key()
	was := k.objects[key]
	k.objects[key] = o
	if was == nil {
		k.keys, k.stale = append(k.keys, key), true
	}
	k.note(change{version: o.version, was: was, now: o})
}

func (k *kind) remove(key string, version int64) *object {
	was := k.objects[key]
	delete(k.objects, key)
	k.stale = true
	last := was.at(version, 0)
	k.note(change{version: version, was: was, last: last})
	return last
}

func (k *kind) note(c change) {
	if len(k.history) >= historyLength {
		half := len(k.history) / 2
		k.compacted = k.history[half-1].version
		k.history = slices.Clone(k.history[half:])
	}
	k.history = append(k.history, c)
	k.wake()
}

func (k *kind) wake() {
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *kind) forget(version int64) {
	k.history = nil
	k.compacted = version
}

func (k *kind) sorted() []string {
	if k.stale {
		k.keys = slices.DeleteFunc(k.keys, func(key string) bool { return k.objects[key] == nil })
		slices.Sort(k.keys)
		k.keys = slices.Compact(k.keys)
		k.stale = false
	}
	return k.keys
}

// after are the changes since a version; false: they are not known any more.
func (k *kind) after(version int64) ([]change, bool) {
	if version < k.compacted {
		return nil, false
	}
	first, _ := slices.BinarySearchFunc(k.history, version, func(c change, v int64) int {
		if c.version <= v {
			return -1
		}
		return 1
	})
	return k.history[first:], true
}

// page returns up to limit (0: all) objects of a selection from a key on, as they were at a version, and whether there are more and how
// many. The caller has made sure that the version is known.
func (k *kind) page(version int64, from string, s selection, limit int) (objects []*object, remaining int) {
	keys := k.sorted()
	later, _ := k.after(version)
	undone := map[string]*object{}
	for _, c := range slices.Backward(later) {
		if c.was != nil {
			undone[c.was.key()] = c.was
		} else {
			undone[c.now.key()] = nil
		}
	}
	gone := []string{}
	for key, o := range undone {
		if o != nil && k.objects[key] == nil {
			gone = append(gone, key)
		}
	}
	if len(gone) > 0 {
		keys = slices.Concat(keys, gone)
		slices.Sort(keys)
	}
	if s.namespace != "" && from < s.namespace+"/" {
		from = s.namespace + "/"
	}
	first, _ := slices.BinarySearch(keys, from)
	for _, key := range keys[first:] {
		if s.namespace != "" && !strings.HasPrefix(key, s.namespace+"/") {
			break
		}
		o, ok := undone[key]
		if !ok {
			o = k.objects[key]
		}
		switch {
		case !s.has(o):
		case limit > 0 && len(objects) == limit:
			remaining++
		default:
			objects = append(objects, o)
		}
	}
	return objects, remaining
}
