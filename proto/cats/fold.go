package cats

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// family is the tables whose types differ in nothing but case: MySQL cannot tell their ids apart, so their rows compete.
type family struct {
	tables []*table
	// Records by folded path; only of those paths that some odd record folds to.
	folded map[string][]*record
}

// SameID tells whether MySQL takes two ids for the same (collation utf8mb4_unicode_ci).
func SameID(a, b string) bool { return a == b || Fold(a) == Fold(b) }

// Fold maps a text to one that is equal for all texts which utf8mb4_unicode_ci takes for the same: it knows neither case
// nor accents, nor characters beyond the basic plane, and ignores spaces at the end.
func Fold(s string) string {
	var folded strings.Builder
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
			folded.WriteByte(byte(r))
		case r > 0xffff:
			folded.WriteRune(utf8.RuneError)
		default:
			if i, ok := slices.BinarySearchFunc(folds[:], uint16(r), func(f struct {
				from uint16
				to   string
			}, r uint16,
			) int {
				return int(f.from) - int(r)
			}); ok {
				folded.WriteString(folds[i].to)
			} else {
				folded.WriteRune(r)
			}
		}
	}
	return strings.TrimRight(folded.String(), " ")
}

// plain tells whether a path folds to itself and no other plain path folds to it.
func plain(path string) bool {
	for i := range len(path) {
		c := path[i]
		if c >= 0x80 || c >= 'A' && c <= 'Z' || c == ';' || c < ' ' || c == 0x7f {
			return false
		}
	}
	return path == "" || path[len(path)-1] != ' '
}

// enter adds a record that became present to the competition for its id.
func (f *family) enter(r *record) {
	if !r.odd && len(f.tables) == 1 && plain(r.path) {
		if len(f.folded) == 0 || f.folded[r.path] == nil {
			return
		}
	}
	f.join(r)
}

func (f *family) join(r *record) {
	folded := Fold(r.outPath())
	r.odd = true
	rivals := f.folded[folded]
	if rivals == nil {
		// A plain record of that name has not needed an entry so far.
		for _, t := range f.tables {
			if p := t.records[folded]; p != nil && p != r && p.present {
				p.odd = true
				rivals = append(rivals, p)
			}
		}
	}
	if f.folded == nil {
		f.folded = make(map[string][]*record)
	}
	f.folded[folded] = append(rivals, r)
}

// leave takes out a record that is no longer present, and returns those that competed with it.
func (f *family) leave(r *record) []*record {
	if !r.odd {
		return nil
	}
	r.odd = false
	folded := Fold(r.outPath())
	rivals := slices.DeleteFunc(f.folded[folded], func(o *record) bool { return o == r })
	if len(rivals) == 0 {
		delete(f.folded, folded)
		return nil
	}
	f.folded[folded] = rivals
	return rivals
}

// rivals returns all present records that compete for the id of r, r included.
func (f *family) rivals(r *record) []*record {
	if !r.odd {
		return nil
	}
	return f.folded[Fold(r.outPath())]
}

// wins tells whether r is the first of its rivals in byte order.
func (f *family) wins(r *record) bool {
	for _, o := range f.rivals(r) {
		if o != r && compareIDs(o, r) < 0 {
			return false
		}
	}
	return true
}

// compareIDs orders records by id, and those that differ in what an id cannot tell by name.
func compareIDs(a, b *record) int {
	if c := bytes.Compare(appendID(nil, "", a.key()), appendID(nil, "", b.key())); c != 0 {
		return c
	}
	return strings.Compare(a.path, b.path)
}
