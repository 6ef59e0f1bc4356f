package cats

import "strings"

// record is what an inventory knows of one row: of an object that was Put, of an application or cluster with members,
// or of one that others only refer to.
type record struct {
	table *table
	path  string // Key.path; the scope ends at slash
	slash int32
	// Rows that make an application or cluster exist.
	members int32
	hash    uint64 // first 64 bits of the body's SHA-256
	// What this record states, and what others state about it.
	out, in *edge
	more    *more
	gen     uint32 // the table's generation when it was last Put
	present bool   // the object exists, or the application or cluster has members
	live    bool   // its row is written
	odd     bool   // it is among the table family's folded names
	long    bool   // its id does not fit
}

// more holds what few records need.
type more struct {
	// A service's selector or a replica set's labels (hashLabels), while they are indexed.
	selector, labels []uint64
	anchor           uint64 // the selector's entry by which the service is indexed
	// The body of a row that is not written because another of the same folded name is.
	body []byte
}

func (r *record) key() Key {
	return Key{Type: r.table.typ, Scope: unescapeScope(r.path[:r.slash]), Name: r.path[r.slash+1:]}
}

// outPath is Key.Path.
func (r *record) outPath() string { return strings.ReplaceAll(r.path, ";", ":") }

// edge is a relation that the record from states about the record to.
type edge struct {
	from, to         *record
	nextOut          *edge
	previous, nextIn *edge
	kind             edgeKind
}

type edgeKind uint8

const (
	// Inline in from's body; the way back is a link.
	edgeOwner    edgeKind = iota + 1
	edgeInvolved          // an event and its subject
	edgeApp               // counts as a member
	edgeCluster           // counts as a member
	edgeHome              // a cluster and its application
	// Both directions are links.
	edgeService  // an ingress or stateful set and a service
	edgeSelector // a replica set and a service that selects its pods
)

func (k edgeKind) inline() bool  { return k < edgeService }
func (k edgeKind) counted() bool { return k == edgeApp || k == edgeCluster }

// holds tells whether the edge's links may be written: while both rows are, and as in stock Clouddriver only between
// kinds that one caching agent loads. Applications and clusters belong to every agent.
func (e *edge) holds() bool {
	if !e.from.live || !e.to.live {
		return false
	}
	return e.from.table.core == e.to.table.core || e.counted()
}

func (e *edge) counted() bool { return e.kind.counted() }

// linked tells whether the link from x to y is to be written. It looks at what x and y state, which are few edges; a
// popular record has many that come in.
func linked(x, y *record) bool {
	want := false
	for e := x.out; e != nil; e = e.nextOut {
		if e.to == y {
			if e.kind.inline() {
				return false
			}
			want = want || e.holds()
		}
	}
	for e := y.out; e != nil && !want; e = e.nextOut {
		want = e.to == x && e.holds()
	}
	return want && len(y.table.typ) <= MaximumTypeLength
}

func (r *record) addEdge(to *record, kind edgeKind) *edge {
	e := &edge{from: r, to: to, kind: kind, nextOut: r.out, nextIn: to.in}
	if to.in != nil {
		to.in.previous = e
	}
	r.out, to.in = e, e
	return e
}

func (r *record) removeEdge(e *edge) {
	if r.out == e {
		r.out = e.nextOut
	} else {
		for o := r.out; o != nil; o = o.nextOut {
			if o.nextOut == e {
				o.nextOut = e.nextOut
				break
			}
		}
	}
	if e.previous != nil {
		e.previous.nextIn = e.nextIn
	} else {
		e.to.in = e.nextIn
	}
	if e.nextIn != nil {
		e.nextIn.previous = e.previous
	}
	e.nextOut, e.nextIn, e.previous = nil, nil, nil
}

// table holds the records of one type.
type table struct {
	typ     Type
	core    bool // loaded by stock Clouddriver's core agent, other kinds by that for custom resources
	family  *family
	records map[string]*record // by path
	rows    digest
	cursor  *rowCursor
	gen     uint32
	listing bool
	watched bool
}

// digest sums up a group.
type digest struct{ count, xor uint64 }

func (d *digest) add(hash uint64)    { d.count++; d.xor ^= hash }
func (d *digest) remove(hash uint64) { d.count--; d.xor ^= hash }

// pair is a possible link.
type pair struct{ from, to *record }

// linkGroup holds what is known of the links from one type to another.
type linkGroup struct {
	links  digest
	cursor *linkCursor
}
