package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// Limits of the JSON reader that Clouddriver reads bodies with (Jackson's StreamReadConstraints), with room to spare. A body
// beyond them would break every view that it appears in, other accounts' objects included.
const (
	maximumDepth  = 500
	maximumNumber = 500    // characters
	maximumName   = 40_000 // bytes of a field's name; Jackson reads 50,000 characters
)

var (
	errJSON      = errors.New("body is not JSON")
	errUTF8      = errors.New("body is not UTF-8")
	errSurrogate = errors.New("body holds half a surrogate pair, which is no character")
	errDepth     = fmt.Errorf("body nests deeper than %d levels", maximumDepth)
	errNumber    = fmt.Errorf("body holds a number of more than %d characters", maximumNumber)
	errName      = fmt.Errorf("body holds a field name of more than %d bytes", maximumName)
	errObject    = errors.New("an object is expected where something else is")
)

// reader reads a body once, from its first byte to its last. Each method reads one value, and whatever they read is known afterwards to be
// JSON (RFC 8259) in UTF-8 within the limits above. After an error a reader is of no use.
type reader struct {
	data  []byte
	at    int
	depth int
}

// peek returns the next byte that is not space, without reading it; 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\n', '\t', '\r':
		default:
			return c
		}
	}
	return 0
}

// next reads one byte, which has to be c.
func (r *reader) next(c byte) error {
	if r.peek() != c {
		return errJSON
	}
	r.at++
	return nil
}

// end makes sure that nothing is left.
func (r *reader) end() error {
	if r.peek(); r.at < len(r.data) {
		return errJSON
	}
	return nil
}

// skip reads a value of which nothing else is wanted.
func (r *reader) skip() error {
	switch c := r.peek(); c {
	case '"':
		_, _, err := r.characters()
		return err
	case '{':
		return r.members(nil)
	case '[':
		return r.elements((*reader).skip)
	case 't':
		return r.word("true")
	case 'f':
		return r.word("false")
	case 'n':
		return r.word("null")
	default:
		_, err := r.number()
		return err
	}
}

// word reads a word, which has to be this one.
func (r *reader) word(word string) error {
	if !bytes.HasPrefix(r.data[r.at:], []byte(word)) {
		return errJSON
	}
	r.at += len(word)
	return nil
}

// null reads null, if that comes next.
func (r *reader) null() (bool, error) {
	if r.peek() != 'n' {
		return false, nil
	}
	return true, r.word("null")
}

// text reads a string and returns what it says; name is for the error.
func (r *reader) text(name string) ([]byte, error) {
	if r.peek() != '"' {
		return nil, fmt.Errorf("%s is not a string", name)
	}
	raw, escaped, err := r.characters()
	if err != nil || !escaped {
		return raw, err
	}
	return unescaped(raw)
}

// unescaped is what a string with escapes says.
func unescaped(raw []byte) ([]byte, error) {
	var text string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &text); err != nil {
		return nil, errJSON
	}
	return []byte(text), nil
}

// object reads an object and calls f for each member, to read its value. A name that comes twice is an error: readers do not agree which one
// counts.
func (r *reader) object(f func(name []byte) error) error {
	if r.peek() != '{' {
		return errObject
	}
	var seen names
	return r.members(func(raw []byte, escaped bool) (err error) {
		if escaped {
			if raw, err = unescaped(raw); err != nil {
				return err
			}
		}
		if !seen.add(raw) {
			return fmt.Errorf("field %q comes twice", clip(string(raw)))
		}
		return f(raw)
	})
}

// members reads an object, and the values of its members by f; nil skips them.
func (r *reader) members(f func(name []byte, escaped bool) error) error {
	return r.inside('}', func(r *reader) error {
		if r.peek() != '"' {
			return errJSON
		}
		name, escaped, err := r.characters()
		if err != nil {
			return err
		}
		if len(name) > maximumName {
			return errName
		}
		if err := r.next(':'); err != nil {
			return err
		}
		if f == nil {
			return r.skip()
		}
		return f(name, escaped)
	})
}

// list reads a list, its elements by f; name is for the error.
func (r *reader) list(name string, f func(*reader) error) error {
	if r.peek() != '[' {
		return fmt.Errorf("%s is not a list", name)
	}
	return r.elements(f)
}

func (r *reader) elements(f func(*reader) error) error { return r.inside(']', f) }

// inside reads an opening bracket, what f reads between commas, and the closing bracket.
func (r *reader) inside(last byte, f func(*reader) error) error {
	if r.depth++; r.depth > maximumDepth {
		return errDepth
	}
	r.at++
	if r.peek() == last {
		r.at, r.depth = r.at+1, r.depth-1
		return nil
	}
	for {
		if err := f(r); err != nil {
			return err
		}
		switch r.peek() {
		case last:
			r.at, r.depth = r.at+1, r.depth-1
			return nil
		case ',':
			r.at++
		default:
			return errJSON
		}
	}
}

// number reads a number and returns it as it is written.
func (r *reader) number() ([]byte, error) {
	start := r.at
	if r.is('-') {
		r.at++
	}
	if r.is('0') {
		r.at++
	} else if !r.digits() {
		return nil, errJSON
	}
	if r.is('.') {
		if r.at++; !r.digits() {
			return nil, errJSON
		}
	}
	if r.is('e') || r.is('E') {
		if r.at++; r.is('+') || r.is('-') {
			r.at++
		}
		if !r.digits() {
			return nil, errJSON
		}
	}
	if r.at-start > maximumNumber {
		return nil, errNumber
	}
	return r.data[start:r.at], nil
}

func (r *reader) is(c byte) bool { return r.at < len(r.data) && r.data[r.at] == c }

// digits tells whether there was at least one.
func (r *reader) digits() bool {
	start := r.at
	for r.at < len(r.data) && r.data[r.at] >= '0' && r.data[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}

// characters reads a string that begins here and returns what is between its quotes, as it is written.
func (r *reader) characters() (raw []byte, escaped bool, err error) {
	data, i := r.data, r.at+1
	start := i
	for i < len(data) {
		// Eight bytes at once: most of a body is long strings.
		if i+8 <= len(data) {
			marks := special(binary.LittleEndian.Uint64(data[i:]))
			if i += bits.TrailingZeros64(marks) / 8; marks == 0 {
				continue
			}
		}
		switch c := data[i]; {
		case c == '"':
			r.at = i + 1
			return data[start:i], escaped, nil
		case c == '\\':
			n, err := escape(data[i:])
			if err != nil {
				return nil, false, err
			}
			i, escaped = i+n, true
		case c < 0x20:
			return nil, false, errJSON
		case c < utf8.RuneSelf:
			i++
		default:
			char, n := utf8.DecodeRune(data[i:])
			if char == utf8.RuneError && n == 1 {
				return nil, false, errUTF8
			}
			i += n
		}
	}
	return nil, false, errJSON
}

// special marks, by their highest bit, bytes of a word that are a quote, a backslash, a control character or no ASCII. The lowest mark is
// right; those above it may be of bytes that are nothing special.
func special(word uint64) uint64 {
	const (
		each  = 0x0101010101010101
		high  = each << 7
		quote = each * '"'
		slash = each * '\\'
	)
	return (word | (word - each*0x20) | ((word ^ quote) - each) | ((word ^ slash) - each)) & high
}

// escape is the length of the escape that begins data. Halves of UTF-16 surrogate pairs, which only an escape can hold, are refused: Jackson
// reads them and fails when it shall write them into an answer.
func escape(data []byte) (int, error) {
	if len(data) < 2 {
		return 0, errJSON
	}
	if data[1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), data[1]) < 0 {
			return 0, errJSON
		}
		return 2, nil
	}
	unit, err := hex4(data[2:])
	switch {
	case err != nil || unit < 0xD800 || unit > 0xDFFF:
		return 6, err
	case unit >= 0xDC00 || len(data) < 8 || data[6] != '\\' || data[7] != 'u':
		return 0, errSurrogate
	}
	switch low, err := hex4(data[8:]); {
	case err != nil:
		return 0, err
	case low < 0xDC00 || low > 0xDFFF:
		return 0, errSurrogate
	}
	return 12, nil
}

// hex4 is the number that four hexadecimal digits are.
func hex4(data []byte) (n int, err error) {
	if len(data) < 4 {
		return 0, errJSON
	}
	for _, c := range data[:4] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | int(c|0x20-'a'+10)
		default:
			return 0, errJSON
		}
	}
	return n, nil
}

// names is a set of names: a list while they are few.
type names struct {
	few  [12][]byte
	n    int
	more map[string]struct{}
}

// add tells whether the name is new.
func (s *names) add(name []byte) bool {
	for _, known := range s.few[:s.n] {
		if bytes.Equal(known, name) {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if _, known := s.more[string(name)]; known {
		return false
	}
	if s.more == nil {
		s.more = map[string]struct{}{}
	}
	s.more[string(name)] = struct{}{}
	return true
}
