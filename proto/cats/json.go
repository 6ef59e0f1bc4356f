package cats

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maximumDepth bounds how deep an object may nest; the API server's own limit is 10,000.
const maximumDepth = 10_000

var errDepth = errors.New("object nests too deep")

// encoder writes canonical JSON: keys in byte order, no white space, members that are null left out (as Clouddriver's
// mapper does; null elements of lists stay), numbers exact.
type encoder struct {
	out  []byte
	keys []string // a stack of the keys of the maps being written
	deep int
}

func (e *encoder) value(v any) error {
	switch v := v.(type) {
	case string:
		e.string(v)
	case map[string]any:
		return e.object(v, anywhere)
	case []any:
		return e.list(v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case nil:
		e.out = append(e.out, "null"...)
	case float64:
		return e.float(v)
	case json.Number:
		if !validNumber(string(v)) {
			return fmt.Errorf("number %q is no JSON", string(v))
		}
		e.out = append(e.out, v...)
	case int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case int32:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case uint64:
		e.out = strconv.AppendUint(e.out, v, 10)
	default:
		return fmt.Errorf("value of type %T is none of JSON", v)
	}
	return nil
}

// place tells which map of a manifest is written: some members of some are left out.
type place uint8

const (
	anywhere place = iota
	inManifest
	inMetadata
	inAnnotations
	// The same of a Secret. The annotation with the last applied configuration repeats the data.
	inSecret
	inSecretMetadata
	inSecretAnnotations
)

// leftOut tells which members are not written.
func (p place) leftOut(name string) bool {
	switch p {
	case inMetadata, inSecretMetadata:
		return name == "managedFields"
	case inSecret:
		return name == "data" || name == "stringData"
	case inSecretAnnotations:
		return name == annotationLastApplied
	}
	return false
}

// of returns the place of a member.
func (p place) of(name string) place {
	switch {
	case p == inManifest && name == "metadata", p == inMetadata && name == "annotations":
		return p + 1
	case p == inSecret && name == "metadata", p == inSecretMetadata && name == "annotations":
		return p + 1
	}
	return anywhere
}

// object writes a map. Annotations always exist, because Clouddriver adds an empty map when it looks for them.
func (e *encoder) object(m map[string]any, p place) error {
	if e.deep++; e.deep > maximumDepth {
		return errDepth
	}
	start := len(e.keys)
	for k, v := range m {
		if v != nil && !p.leftOut(k) {
			e.keys = append(e.keys, k)
		}
	}
	if (p == inMetadata || p == inSecretMetadata) && m["annotations"] == nil {
		e.keys = append(e.keys, "annotations")
	}
	end := len(e.keys)
	slices.Sort(e.keys[start:end])
	e.out = append(e.out, '{')
	for i := start; i < end; i++ {
		if i > start {
			e.out = append(e.out, ',')
		}
		k := e.keys[i]
		e.string(k)
		e.out = append(e.out, ':')
		var err error
		if inner := p.of(k); inner != anywhere {
			member, _ := m[k].(map[string]any)
			err = e.object(member, inner)
		} else {
			err = e.value(m[k])
		}
		if err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	e.keys = e.keys[:start]
	e.deep--
	return nil
}

func (e *encoder) list(l []any) error {
	if e.deep++; e.deep > maximumDepth {
		return errDepth
	}
	e.out = append(e.out, '[')
	for i, v := range l {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if err := e.value(v); err != nil {
			return err
		}
	}
	e.out = append(e.out, ']')
	e.deep--
	return nil
}

// float writes the shortest digits that read back as the same number.
func (e *encoder) float(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("number %v is none of JSON", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	e.out = strconv.AppendFloat(e.out, f, format, -1, 64)
	return nil
}

const hexDigits = "0123456789abcdef"

// string writes a JSON string; only what JSON forbids is escaped, and what is no UTF-8 becomes U+FFFD.
func (e *encoder) string(s string) {
	e.out = append(e.out, '"')
	e.stringRest(s)
}

// stringRest ends a string that has begun.
func (e *encoder) stringRest(s string) {
	out := e.out
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		out = append(out, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			out = append(out, "\uFFFD"...)
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c == '\t':
			out = append(out, '\\', 't')
		case c == '\r':
			out = append(out, '\\', 'r')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	e.out = append(append(out, s[start:]...), '"')
}

func validNumber(s string) bool {
	return s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && json.Valid([]byte(s))
}
