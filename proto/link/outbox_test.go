package link

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Whatever is put, taken, acknowledged and sent again: what the other side applies, in order, ends in the latest states, no set is ever
// seen in parts, and a state that was applied is never followed by an older one.
func TestOutboxTellsTheLatestStatesAndKeepsSetsWhole(t *testing.T) {
	for seed := range uint64(2_000) {
		r := seeded(seed)
		m := &outboxModel{t: t, seed: seed, box: outbox{maxSet: 500 + r.IntN(2_000)}, groups: map[groupKey]*group{},
			latest: map[string]int{}, applied: map[string]int{}, members: map[string][]string{}}
		for range 60 {
			m.step(r)
		}
		m.box.requeue()
		m.requeued = true
		for m.box.pending > 0 {
			m.send(r)
		}
		m.box.ack(m.seq, func(time.Time) {})
		m.finish()
	}
}

// outboxModel applies what an outbox sends.
type outboxModel struct {
	t      *testing.T
	seed   uint64
	box    outbox
	groups map[groupKey]*group
	seq    uint64

	requeued        bool
	puts            int
	latest, applied map[string]int
	// members lists the items of each put; they must be applied together, or be overtaken by newer ones.
	members map[string][]string
}

func (m *outboxModel) group(key itemKey) *group {
	k := key.group()
	if m.groups[k] == nil {
		m.groups[k] = &group{key: k}
	}
	return m.groups[k]
}

func (m *outboxModel) step(r *rand.Rand) {
	switch r.IntN(6) {
	case 0, 1, 2:
		m.put(r)
	case 3:
		m.send(r)
	case 4:
		m.box.ack(m.seq-min(m.seq, uint64(r.IntN(3))), func(time.Time) {})
	case 5:
		if r.IntN(3) == 0 {
			m.box.requeue()
			m.requeued = true
		}
	}
	m.check()
}

func (m *outboxModel) put(r *rand.Rand) {
	m.puts++
	var set []*linkv1.Change
	for range 1 + r.IntN(4) {
		name := string(rune('a' + r.IntN(7)))
		m.latest[name] = m.puts
		set = append(set, putRow("pod", name, body("pod", name, m.puts)))
		m.members[fmt.Sprint(m.puts)] = append(m.members[fmt.Sprint(m.puts)], name)
	}
	m.box.put(set, time.Time{}, m.group)
}

func (m *outboxModel) send(r *rand.Rand) {
	sets := m.box.take(50+r.IntN(400), 1+r.IntN(8))
	if len(sets) == 0 {
		return
	}
	m.seq++
	m.box.sent(m.seq, sets)
	for _, set := range sets {
		for _, it := range set.items {
			name, version := it.key.from.name, versionOf(it.change.GetPutRow().GetBody())
			// What is sent again may be older than what was applied of the former sending; the newer follows.
			if m.applied[name] > version && !m.requeued {
				m.t.Fatalf("seed %d: %s went from %d to %d", m.seed, name, m.applied[name], version)
			}
			m.applied[name] = version
		}
	}
	m.whole(sets)
}

// whole: if a put's item is applied in its version, its other items are there in that version or a newer one.
func (m *outboxModel) whole(sets []*changeSet) {
	for _, set := range sets {
		for _, it := range set.items {
			version := versionOf(it.change.GetPutRow().GetBody())
			for _, other := range m.members[fmt.Sprint(version)] {
				if m.applied[other] < version {
					m.t.Fatalf("seed %d: put %d was applied for %s and not for %s", m.seed, version, it.key.from.name, other)
				}
			}
		}
	}
}

func (m *outboxModel) check() {
	pending, bytes := 0, 0
	seen := map[*group]int{}
	for set := m.box.head; set != nil; set = set.next {
		size := 0
		for _, it := range set.items {
			pending++
			size += it.size
			seen[it.group]++
		}
		if size != set.bytes {
			m.t.Fatalf("seed %d: a set counts %d bytes and has %d", m.seed, set.bytes, size)
		}
		bytes += size
	}
	changes := pending
	for _, f := range m.box.flights {
		for _, set := range f.sets {
			bytes += set.bytes
			changes += len(set.items)
		}
	}
	for _, g := range m.groups {
		if g.pending != seen[g] {
			m.t.Fatalf("seed %d: a group counts %d unsent changes and has %d", m.seed, g.pending, seen[g])
		}
	}
	if pending != m.box.pending || bytes != m.box.bytes || changes != m.box.changes {
		m.t.Fatalf("seed %d: counts %d/%d/%d, has %d/%d/%d", m.seed, m.box.pending, m.box.bytes, m.box.changes, pending, bytes, changes)
	}
}

func (m *outboxModel) finish() {
	for name, version := range m.latest {
		if m.applied[name] != version {
			m.t.Fatalf("seed %d: %s ended at %d, its latest is %d", m.seed, name, m.applied[name], version)
		}
	}
	m.check()
	if m.box.bytes != 0 || m.box.changes != 0 {
		m.t.Fatalf("seed %d: %d changes are left", m.seed, m.box.changes)
	}
}

func TestSetLargerThanAFrameIsCut(t *testing.T) {
	box := outbox{maxSet: 300}
	var set []*linkv1.Change
	for i := range 20 {
		name := fmt.Sprint(i)
		set = append(set, putRow("pod", name, body("pod", name, 1)))
	}
	g := &group{}
	box.put(set, time.Time{}, func(itemKey) *group { return g })
	frames := 0
	for box.pending > 0 {
		for _, s := range box.take(1, 1) {
			frames++
			if s.bytes-s.largest() > 300 {
				t.Fatalf("a set of %d bytes", s.bytes)
			}
		}
	}
	if frames < 2 {
		t.Fatal("it was not cut")
	}
}

func TestALargeBodyTravelsWithItsLinksAndNewerStatesTakeItsPlace(t *testing.T) {
	box := outbox{maxSet: 300}
	g := &group{}
	put := func(body []byte) {
		box.put([]*linkv1.Change{putRow("pod", "large", body), putLink(&linkv1.Link{From: &linkv1.Key{Type: "pod", Name: "large"}, To: &linkv1.Key{Type: "replicaSet", Name: "rs"}})}, time.Time{}, func(itemKey) *group { return g })
	}
	put(make([]byte, 10_000))
	put(make([]byte, 11_000))
	sets := box.take(1, 1)
	if len(sets) != 1 || len(sets[0].items) != 2 || len(sets[0].items[0].change.GetPutRow().GetBody()) != 11_000 || box.pending != 0 {
		t.Errorf("%d sets, %d changes are left", len(sets), box.pending)
	}
}

func TestACommitTellsSinceWhenTheOldestOfItsEventsWaits(t *testing.T) {
	box := outbox{maxSet: 100_000}
	g := &group{}
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	put := func(name string, read time.Time) {
		box.put([]*linkv1.Change{putRow("pod", name, body("pod", name, 1))}, read, func(itemKey) *group { return g })
	}
	put("a", at(1))
	put("b", at(2))
	put("a", at(3)) // the state of 1 was never sent; whoever waits for it waits since then
	put("wanted", time.Time{})
	box.sent(1, box.take(1<<20, 100))
	box.requeue() // the session broke
	put("b", at(4))
	box.sent(2, box.take(1<<20, 100))
	var reads []int
	box.ack(2, func(read time.Time) { reads = append(reads, read.Second()) })
	if !slices.Equal(reads, []int{1, 2}) || box.changes != 0 {
		t.Errorf("%v, %d changes are left", reads, box.changes)
	}
}
