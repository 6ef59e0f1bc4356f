package cats

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Options are settings of an account that decide what its rows look like.
type Options struct {
	// Leave out objects without the annotation moniker.spinnaker.io/application.
	OnlySpinnakerManaged bool
	// The account's cacheAllApplicationRelationships: every kind belongs to its application.
	AllApplicationRelationships bool
}

// Inventory knows what one account's rows and links are, and turns each change of an object into changes of these. It
// belongs to one goroutine at a time.
type Inventory struct {
	account string
	options Options

	tables   map[Type]*table
	families map[string]*family
	links    map[Group]*linkGroup
	selector selectorIndex
	// Rows to be written whose body is not known: see Missing.
	missing map[*record]struct{}

	edit edit

	// Scratch space that one Put uses.
	object  object
	encoder encoder
	related []Key
	desired []statement
	path    []byte
}

// NewInventory returns an empty inventory of an account.
func NewInventory(account string, options Options) *Inventory {
	inv := &Inventory{
		account:  account,
		options:  options,
		tables:   make(map[Type]*table),
		families: make(map[string]*family),
		links:    make(map[Group]*linkGroup),
		missing:  make(map[*record]struct{}),
		selector: newSelectorIndex(),
		edit:     newEdit(account),
	}
	inv.table(Applications).watched = true
	inv.table(Clusters).watched = true
	return inv
}

// Put takes the present state of an object, as the API server's JSON decodes (map[string]any, int64, float64), and
// returns what changes in Clouddriver's tables: nothing if the row is as before. An error concerns this object alone;
// its earlier row, if any, stays. The object is neither changed nor kept.
func (inv *Inventory) Put(obj map[string]any) ([]Change, error) {
	o, err := inv.parse(obj)
	if err != nil {
		return nil, err
	}
	if inv.omits(o) {
		return inv.Delete(o.key), nil
	}
	r := inv.find(o.key)
	if r != nil {
		r.gen = r.table.gen
	}
	body, err := inv.encodeBody(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.key, err)
	}
	hash := hashOf(body)
	if r != nil && r.present && r.hash == hash && len(inv.missing) == 0 {
		return nil, nil
	}
	if r == nil {
		r = inv.lookup(o.key)
		r.gen = r.table.gen
	}
	r.table.watched = true
	inv.state(r, o, hash, body, false)
	return inv.finish(), r.problem()
}

// Render returns the row of an object that was read again because somebody lacks the row. It returns nothing if the records
// know the object differently or not at all: then it was read before or after a change that its watch tells, and the watch is right.
func (inv *Inventory) Render(obj map[string]any) ([]Change, error) {
	o, err := inv.parse(obj)
	if err != nil || inv.omits(o) {
		return nil, err
	}
	r := inv.find(o.key)
	if r == nil || !r.present {
		return nil, nil
	}
	body, err := inv.encodeBody(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.key, err)
	}
	hash := hashOf(body)
	if r.hash != hash {
		return nil, nil
	}
	inv.state(r, o, hash, body, true)
	return inv.finish(), r.problem()
}

// omits tells whether an object is left out of the tables.
func (inv *Inventory) omits(o *object) bool {
	return ignored(o.annotations) || inv.options.OnlySpinnakerManaged && !managed(o.annotations)
}

func hashOf(body []byte) uint64 {
	sum := sha256.Sum256(body)
	return binary.BigEndian.Uint64(sum[:8])
}

func managed(annotations map[string]any) bool {
	return annotatedText(annotations, annotationApplication, text{}).value != ""
}

// problem returns why a present row is not written for a reason of its own.
func (r *record) problem() error {
	if !r.long {
		return nil
	}
	return fmt.Errorf("%w: %s, %d characters are the limit", ErrTooLong, r.key(), MaximumIDLength)
}

// state records that r is present with this body, and what it states.
func (inv *Inventory) state(r *record, o *object, hash uint64, body []byte, always bool) {
	e := &inv.edit
	e.row(r)
	_, wanted := inv.missing[r]
	if r.hash != hash || always || wanted || !r.present {
		e.body[r] = slices.Clone(body)
		delete(inv.missing, r)
	}
	r.hash = hash
	inv.selector.update(inv, r, o)
	inv.restate(r, o)
	inv.setPresent(r, true)
	inv.refreshRivals(r)
	if !r.live && e.body[r] != nil && !r.long {
		r.extra().body = e.body[r]
	}
}

// Delete takes an object out.
func (inv *Inventory) Delete(key Key) []Change {
	r := inv.find(key)
	if r == nil || !r.present || r.table.typ.logical() {
		return nil
	}
	inv.remove(r)
	return inv.finish()
}

func (inv *Inventory) remove(r *record) {
	inv.edit.row(r)
	inv.selector.remove(inv, r)
	inv.setPresent(r, false)
	for r.out != nil {
		inv.cut(r.out)
	}
	r.more = nil
	delete(inv.missing, r)
	inv.edit.prune(r)
}

// Begin starts a listing of a kind. What is not Put until End is deleted then.
func (inv *Inventory) Begin(t Type) {
	if t.logical() {
		return
	}
	table := inv.table(t)
	table.gen++
	table.listing, table.watched = true, true
}

// End completes a listing. Without a Begin it does nothing.
func (inv *Inventory) End(t Type) []Change {
	table := inv.tables[t]
	if table == nil || !table.listing {
		return nil
	}
	table.listing = false
	return inv.removeAll(table, func(r *record) bool { return r.gen != table.gen })
}

// Drop takes out a kind that is no longer watched.
func (inv *Inventory) Drop(t Type) []Change {
	table := inv.tables[t]
	if table == nil || t.logical() {
		return nil
	}
	table.listing, table.watched = false, false
	return inv.removeAll(table, func(*record) bool { return true })
}

func (inv *Inventory) removeAll(t *table, gone func(*record) bool) []Change {
	for _, r := range t.records {
		if r.present && gone(r) {
			inv.remove(r)
		}
	}
	return inv.finish()
}

// Missing returns the keys of rows that must be written and whose bodies are not known, because a row of the same
// folded name stood in their place: their objects are to be read and given to Render. Mostly there are none.
func (inv *Inventory) Missing() []Key {
	var keys []Key
	for r := range inv.missing {
		keys = append(keys, r.key())
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// Problems returns what is in the cluster but cannot stand in Clouddriver's tables, sorted by key.
func (inv *Inventory) Problems() []Problem {
	var problems []Problem
	for t, table := range inv.tables {
		if len(t) > MaximumTypeLength && table.rows.count > 0 {
			problems = append(problems, Problem{Key{Type: t}, fmt.Sprintf(
				"links to this kind cannot be written: its name has %d characters, %d are the limit", len(t), MaximumTypeLength)})
		}
	}
	for _, f := range inv.families {
		for _, t := range f.tables {
			for _, r := range t.records {
				if err := r.problem(); err != nil && r.present {
					problems = append(problems, Problem{r.key(), err.Error()})
				}
			}
		}
		for _, rivals := range f.folded {
			for _, r := range rivals {
				if !r.live && !r.long {
					problems = append(problems, Problem{r.key(), "MySQL takes its id for that of " + f.winner(r).key().String()})
				}
			}
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return compareKeys(a.Key, b.Key) })
	return problems
}

func compareKeys(a, b Key) int {
	if c := strings.Compare(string(a.Type), string(b.Type)); c != 0 {
		return c
	}
	if c := strings.Compare(a.Scope, b.Scope); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (inv *Inventory) table(t Type) *table {
	if table := inv.tables[t]; table != nil {
		return table
	}
	table := &table{typ: t, core: t.logical() || t.Native(), records: make(map[string]*record)}
	inv.tables[t] = table
	folded := strings.ToLower(string(t))
	f := inv.families[folded]
	if f == nil {
		f = &family{}
		inv.families[folded] = f
	}
	f.tables = append(f.tables, table)
	table.family = f
	if len(f.tables) == 2 {
		for _, r := range f.tables[0].records {
			if r.present && !r.odd {
				f.join(r)
			}
		}
	}
	return table
}

// find returns the record of a key, or nil.
func (inv *Inventory) find(k Key) *record {
	table := inv.tables[k.Type]
	if table == nil {
		return nil
	}
	if strings.ContainsAny(k.Scope, "/%") {
		return table.records[k.path()]
	}
	inv.path = append(append(append(inv.path[:0], k.Scope...), '/'), k.Name...)
	return table.records[string(inv.path)]
}

// lookup returns the record of a key, a new one if need be.
func (inv *Inventory) lookup(k Key) *record {
	if r := inv.find(k); r != nil {
		return r
	}
	table, path := inv.table(k.Type), k.path()
	r := &record{table: table, path: path, slash: int32(len(path) - len(k.Name) - 1)}
	inv.edit.hasher.buffer = appendID(inv.edit.hasher.buffer[:0], inv.account, k)
	if n := len(inv.edit.hasher.buffer); n > MaximumIDLength {
		r.long = utf16Length(string(inv.edit.hasher.buffer)) > MaximumIDLength
	}
	table.records[path] = r
	switch k.Type {
	case Clusters:
		r.addEdge(inv.lookup(Key{Type: Applications, Name: k.Scope}), edgeHome)
		fallthrough
	case Applications:
		sum := sha256.Sum256(logicalBody(inv.account, k))
		r.hash = binary.BigEndian.Uint64(sum[:8])
	}
	return r
}
