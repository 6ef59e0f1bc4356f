package cluster

import (
	"errors"
	"fmt"
	"io"
)

// An account's objects are many and large, and reading their JSON is most of what an agent does when it lists. So it is read here, in one pass to
// find where an object ends and another to decode it, and not by encoding/json, which needs four.

// maximumNesting is how deep JSON may nest; encoding/json's own limit.
const maximumNesting = 10_000

var (
	// errShort: the JSON goes on where the bytes end.
	errShort  = errors.New("the JSON ends too early")
	errDeep   = fmt.Errorf("the JSON nests deeper than %d", maximumNesting)
	errNumber = errors.New("invalid number in the JSON")
)

// syntaxError is a character that cannot be where it is.
type syntaxError struct{ character byte }

func (e *syntaxError) Error() string {
	return fmt.Sprintf("invalid character %q in the JSON", string(rune(e.character)))
}

// skipValue checks the value that begins at i, and returns where it ends. A number may end with the bytes only if last.
func skipValue(b []byte, i, depth int, last bool) (int, error) {
	i = skipSpace(b, i)
	if i >= len(b) {
		return i, errShort
	}
	if depth > maximumNesting && (b[i] == '{' || b[i] == '[') {
		return i, errDeep
	}
	switch c := b[i]; c {
	case '{':
		return skipObject(b, i+1, depth)
	case '[':
		return skipArray(b, i+1, depth)
	case '"':
		return skipString(b, i+1)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return skipNumber(b, i, last)
		}
		return i, &syntaxError{c}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

func skipObject(b []byte, i, depth int) (int, error) {
	if i = skipSpace(b, i); i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = skipThrough(b, i, '"'); err != nil {
			return i, err
		}
		if i, err = skipString(b, i); err != nil {
			return i, err
		}
		if i, err = skipThrough(b, i, ':'); err != nil {
			return i, err
		}
		if i, err = skipValue(b, i, depth+1, false); err != nil {
			return i, err
		}
		var closed bool
		if i, closed, err = skipComma(b, i, '}'); err != nil || closed {
			return i, err
		}
	}
}

func skipArray(b []byte, i, depth int) (int, error) {
	if i = skipSpace(b, i); i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = skipValue(b, i, depth+1, false); err != nil {
			return i, err
		}
		var closed bool
		if i, closed, err = skipComma(b, i, ']'); err != nil || closed {
			return i, err
		}
	}
}

// skipThrough passes one character and white space before it.
func skipThrough(b []byte, i int, c byte) (int, error) {
	switch i = skipSpace(b, i); {
	case i >= len(b):
		return i, errShort
	case b[i] != c:
		return i, &syntaxError{b[i]}
	}
	return i + 1, nil
}

// skipComma passes what follows an element.
func skipComma(b []byte, i int, end byte) (next int, closed bool, err error) {
	switch i = skipSpace(b, i); {
	case i >= len(b):
		return i, false, errShort
	case b[i] == end:
		return i + 1, true, nil
	case b[i] != ',':
		return i, false, &syntaxError{b[i]}
	}
	return i + 1, false, nil
}

// skipString passes the rest of a string.
func skipString(b []byte, i int) (int, error) {
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return i, &syntaxError{c}
		case c != '\\':
			i++
		default:
			var err error
			if i, err = skipEscape(b, i+1); err != nil {
				return i, err
			}
		}
	}
	return i, errShort
}

func skipEscape(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errShort
	}
	switch c := b[i]; c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, nil
	case 'u':
		for n := i + 1; n <= i+4; n++ {
			if n >= len(b) {
				return n, errShort
			}
			if c := b[n] | 0x20; ('0' > b[n] || b[n] > '9') && ('a' > c || c > 'f') {
				return n, &syntaxError{b[n]}
			}
		}
		return i + 5, nil
	default:
		return i, &syntaxError{c}
	}
}

func skipWord(b []byte, i int, word string) (int, error) {
	for n := range len(word) {
		if i+n >= len(b) {
			return i, errShort
		}
		if b[i+n] != word[n] {
			return i, &syntaxError{b[i+n]}
		}
	}
	return i + len(word), nil
}

func skipNumber(b []byte, i int, last bool) (int, error) {
	begin := i
	for i < len(b) && (b[i] >= '0' && b[i] <= '9' || b[i] == '-' || b[i] == '+' || b[i] == '.' || b[i] == 'e' || b[i] == 'E') {
		i++
	}
	if i == len(b) && !last {
		return i, errShort
	}
	if !validNumber(b[begin:i]) {
		return i, errNumber
	}
	return i, nil
}

// validNumber tells whether text is a number of JSON's grammar.
func validNumber(text []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		text = text[n:]
		return n > 0
	}
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	}
	if len(text) > 0 && text[0] == '0' {
		text = text[1:]
	} else if !digits() {
		return false
	}
	if len(text) > 0 && text[0] == '.' {
		if text = text[1:]; !digits() {
			return false
		}
	}
	if len(text) > 0 && text[0]|0x20 == 'e' {
		if text = text[1:]; len(text) > 0 && (text[0] == '+' || text[0] == '-') {
			text = text[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(text) == 0
}

// firstBuffer is what a reader of JSON begins with; it grows to twice the largest object.
const firstBuffer = 32 << 10

// jsonReader reads the values of a stream one by one, each of which must be whole in memory, and none larger than maximumObject.
type jsonReader struct {
	source io.Reader
	// buffer[at:] was not read yet.
	buffer []byte
	at     int
	ended  bool
}

// more reads on. What was handed out before is gone.
func (r *jsonReader) more() error {
	switch {
	case r.ended:
		return io.ErrUnexpectedEOF
	case len(r.buffer)-r.at > maximumObject:
		return errTooLarge
	}
	left := copy(r.buffer, r.buffer[r.at:])
	r.buffer, r.at = r.buffer[:left], 0
	if left > cap(r.buffer)/2 || cap(r.buffer) == 0 {
		larger := make([]byte, left, max(2*cap(r.buffer), firstBuffer))
		copy(larger, r.buffer)
		r.buffer = larger
	}
	n, err := r.source.Read(r.buffer[left:cap(r.buffer)])
	r.buffer = r.buffer[:left+n]
	if errors.Is(err, io.EOF) {
		r.ended, err = true, nil
	}
	return err
}

// peek returns the next character that is no white space.
func (r *jsonReader) peek() (byte, error) {
	for {
		if r.at = skipSpace(r.buffer, r.at); r.at < len(r.buffer) {
			return r.buffer[r.at], nil
		}
		if err := r.more(); err != nil {
			return 0, err
		}
	}
}

// value returns the next value, which is good until more is read.
func (r *jsonReader) value() ([]byte, error) {
	if _, err := r.peek(); err != nil {
		return nil, err
	}
	for tried := -1; ; {
		// Each try looks at all of it again: so it waits until there is twice as much, or the source has no more now.
		if size := len(r.buffer) - r.at; size >= 2*tried || r.ended {
			end, err := skipValue(r.buffer, r.at, 1, r.ended)
			if err == nil {
				raw := r.buffer[r.at:end]
				r.at = end
				return raw, nil
			}
			if !errors.Is(err, errShort) {
				return nil, err
			}
			tried = size
		}
		if err := r.more(); err != nil {
			return nil, err
		}
	}
}

// separator passes what follows an element; closed: it was the end.
func (r *jsonReader) separator(end byte) (closed bool, err error) {
	c, err := r.peek()
	switch {
	case err != nil:
		return false, err
	case c != end && c != ',':
		return false, &syntaxError{c}
	}
	r.at++
	return c == end, nil
}
