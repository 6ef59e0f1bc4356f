package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf8"
)

// decoder makes of JSON what client-go's decoder makes of it: maps, slices, strings, bools, int64 for whole numbers that fit, float64 for others.
// It makes each map and slice in the size that it needs, and strings that come again and again once.
type decoder struct {
	text []byte
	at   int
	err  error
	// secret: the object is one, whose data is not to be decoded. inventory: nor managedFields.
	secret, inventory bool

	// keys and values are strings that were met before.
	keys   map[string]string
	values map[string]any
	// members and elements are those of the objects and arrays that are being read, the innermost last.
	members  []member
	elements []any
}

type member struct {
	key   string
	value any
}

const (
	// mostMet bounds each of the maps of strings that were met; then they are forgotten.
	mostMet = 2048
	// longestMet are worth remembering.
	longestMet = 48
)

// decoders are kept, for what they remember.
var decoders = sync.Pool{New: func() any {
	return &decoder{keys: make(map[string]string), values: make(map[string]any)}
}}

// decodeObject decodes one object. inventory leaves out what is not wanted of it there.
func decodeObject(text []byte, secret, inventory bool) (map[string]any, error) {
	d := decoders.Get().(*decoder)
	d.text, d.at, d.err, d.secret, d.inventory = text, 0, nil, secret, inventory
	value := d.value(1, atTop)
	if d.err == nil {
		if d.at = skipSpace(text, d.at); d.at < len(text) {
			d.err = &syntaxError{text[d.at]}
		}
	}
	err := d.err
	d.text, d.err = nil, nil
	d.members, d.elements = clearedStack(d.members), clearedStack(d.elements)
	decoders.Put(d)
	object, ok := value.(map[string]any)
	switch {
	case err != nil:
		return nil, err
	case value == nil:
		return nil, errors.New("it is null")
	case !ok:
		return nil, errors.New("it is no object")
	}
	return object, nil
}

// clearedStack lets go of what an error left, and of a stack that became unusually large.
func clearedStack[T any](stack []T) []T {
	if cap(stack) > mostMet {
		return nil
	}
	clear(stack[:cap(stack)])
	return stack[:0]
}

// part of an object that a value is.
type part uint8

const (
	elsewhere part = iota
	atTop
	inMetadata
)

// value decodes what begins here. After an error it returns nil.
func (d *decoder) value(depth int, where part) any {
	if d.at = skipSpace(d.text, d.at); d.err != nil || d.at >= len(d.text) {
		d.fail(errShort)
		return nil
	}
	switch c := d.text[d.at]; c {
	case '{', '[':
		if depth > maximumNesting {
			d.fail(errDeep)
			return nil
		}
		d.at++
		if c == '{' {
			return d.object(depth, where)
		}
		return d.array(depth)
	case '"':
		return d.string()
	case 't':
		d.word("true")
		return true
	case 'f':
		d.word("false")
		return false
	case 'n':
		d.word("null")
		return nil
	default:
		return d.number()
	}
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) pass(next int, err error) bool {
	d.at = next
	if err != nil {
		d.fail(err)
	}
	return d.err == nil
}

func (d *decoder) word(word string) { d.pass(skipWord(d.text, d.at, word)) }

func (d *decoder) object(depth int, where part) any {
	base := len(d.members)
	if d.at = skipSpace(d.text, d.at); d.at < len(d.text) && d.text[d.at] == '}' {
		d.at++
		return map[string]any{}
	}
	for closed := false; !closed; {
		if !d.pass(skipThrough(d.text, d.at, '"')) {
			return nil
		}
		key := d.key()
		if !d.pass(skipThrough(d.text, d.at, ':')) {
			return nil
		}
		if d.leftOut(where, key) {
			if !d.pass(skipValue(d.text, d.at, depth+1, false)) {
				return nil
			}
		} else {
			within := elsewhere
			if where == atTop && key == "metadata" {
				within = inMetadata
			}
			value := d.value(depth+1, within)
			d.members = append(d.members, member{key, value})
		}
		var next int
		var err error
		if next, closed, err = skipComma(d.text, d.at, '}'); !d.pass(next, err) {
			return nil
		}
	}
	made := make(map[string]any, len(d.members)-base)
	for _, m := range d.members[base:] {
		made[m.key] = m.value
	}
	d.members = d.members[:base]
	return made
}

// leftOut tells of which members not even the values are decoded.
func (d *decoder) leftOut(where part, key string) bool {
	switch where {
	case atTop:
		return d.secret && (key == "data" || key == "stringData")
	case inMetadata:
		return d.inventory && key == "managedFields"
	default:
		return false
	}
}

func (d *decoder) array(depth int) any {
	base := len(d.elements)
	if d.at = skipSpace(d.text, d.at); d.at < len(d.text) && d.text[d.at] == ']' {
		d.at++
		return []any{}
	}
	for closed := false; !closed; {
		value := d.value(depth+1, elsewhere)
		d.elements = append(d.elements, value)
		var next int
		var err error
		if next, closed, err = skipComma(d.text, d.at, ']'); !d.pass(next, err) {
			return nil
		}
	}
	made := make([]any, len(d.elements)-base)
	copy(made, d.elements[base:])
	d.elements = d.elements[:base]
	return made
}

// quoted passes the rest of a string and returns what is between its quotes; plain: it stands for itself.
func (d *decoder) quoted() (inner []byte, plain bool) {
	begin := d.at
	if !d.pass(skipString(d.text, begin)) {
		return nil, true
	}
	inner = d.text[begin : d.at-1]
	ascii := true
	for _, c := range inner {
		if c == '\\' {
			return inner, false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return inner, ascii || utf8.Valid(inner)
}

// unquote is for strings with escapes, or that are not UTF-8.
func (d *decoder) unquote(inner []byte) (text string) {
	if err := json.Unmarshal(d.text[d.at-len(inner)-2:d.at], &text); err != nil {
		d.fail(err)
	}
	return text
}

func (d *decoder) key() string {
	inner, plain := d.quoted()
	if !plain {
		return d.unquote(inner)
	}
	if key, met := d.keys[string(inner)]; met {
		return key
	}
	key := string(inner)
	if len(key) <= longestMet {
		if len(d.keys) >= mostMet {
			clear(d.keys)
		}
		d.keys[key] = key
	}
	return key
}

func (d *decoder) string() any {
	d.at++
	inner, plain := d.quoted()
	switch {
	case d.err != nil:
		return nil
	case !plain:
		return d.unquote(inner)
	case len(inner) > longestMet:
		return string(inner)
	}
	if value, met := d.values[string(inner)]; met {
		return value
	}
	text := string(inner)
	if len(d.values) >= mostMet {
		clear(d.values)
	}
	value := any(text)
	d.values[text] = value
	return value
}

func (d *decoder) number() any {
	begin := d.at
	if c := d.text[begin]; c != '-' && (c < '0' || c > '9') {
		d.fail(&syntaxError{c})
		return nil
	}
	if !d.pass(skipNumber(d.text, begin, true)) {
		return nil
	}
	text := string(d.text[begin:d.at])
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d.fail(fmt.Errorf("the number %s is too large", text))
		return nil
	}
	return number
}
