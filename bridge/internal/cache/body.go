package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fairlead/fairlead/proto/cats"
)

// Limits of the JSON reader that Clouddriver reads bodies with (Jackson's StreamReadConstraints), with room to spare. A body
// beyond them would break every view that it appears in, other accounts' objects included.
const (
	maximumDepth  = 500
	maximumNumber = 500 // characters
)

// checkBody tells what is wrong with a body that shall be stored as the row of a key under an id. Clouddriver trusts what it reads:
// the body must name exactly that row, refer to rows of that account only, and have the shape of CacheData.
func checkBody(account string, key cats.Key, id string, body []byte) error {
	if !utf8.Valid(body) {
		return errors.New("body is not UTF-8")
	}
	if !json.Valid(body) {
		return errors.New("body is not JSON")
	}
	if err := checkLimits(body); err != nil {
		return err
	}
	if err := checkSurrogates(body); err != nil {
		return err
	}
	seen := 0
	err := eachMember(body, func(name string, value []byte) error {
		switch name {
		case "id":
			seen |= 1
			return wants("id", value, id)
		case "attributes":
			seen |= 2
			return checkAttributes(key, value)
		case "relationships":
			seen |= 4
			return eachMember(value, func(typ string, list []byte) error { return checkRelationship(account, typ, list) })
		case "ttlSeconds":
			return nil
		}
		return fmt.Errorf("body has a field %q that Clouddriver does not know", name)
	})
	if err == nil && seen != 7 {
		err = errors.New("body lacks id, attributes or relationships")
	}
	return err
}

func checkAttributes(key cats.Key, attributes []byte) error {
	logical := key.Type == cats.Applications || key.Type == cats.Clusters
	seen := map[string]bool{}
	err := eachMember(attributes, func(name string, value []byte) error {
		seen[name] = true
		if name == "name" {
			return wants("name", value, key.Name)
		}
		if logical {
			return fmt.Errorf("attribute %q does not belong to %s", name, key.Type)
		}
		switch name {
		case "kind":
			return wants("kind", value, string(key.Type))
		case "namespace":
			return wants("namespace", value, key.Scope)
		case "apiVersion", "fullResourceName":
			_, err := text(name, value)
			return err
		case "manifest":
			return checkManifest(key, value)
		case "moniker":
			return eachMember(value, checkMoniker)
		}
		return fmt.Errorf("attribute %q is not one of Clouddriver's", name)
	})
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	required := []string{"name", "kind", "namespace", "apiVersion", "fullResourceName", "manifest", "moniker"}
	if logical {
		required = required[:1]
	}
	for _, name := range required {
		if !seen[name] {
			return fmt.Errorf("attributes: %q is missing", name)
		}
	}
	return nil
}

// checkMoniker knows the fields of Clouddriver's Moniker, whose reader fails on any other.
func checkMoniker(name string, value []byte) error {
	switch name {
	case "app", "cluster", "detail", "stack":
		_, err := text("moniker "+name, value)
		return err
	case "sequence":
		var n int32
		if json.Unmarshal(value, &n) != nil {
			return errors.New("moniker sequence is not an integer of 32 bits")
		}
		return nil
	}
	return fmt.Errorf("moniker has a field %q that Clouddriver does not know", name)
}

func checkRelationship(account, typ string, list []byte) error {
	var ids []string
	if list[0] != '[' || json.Unmarshal(list, &ids) != nil {
		return fmt.Errorf("relationships: %q is not a list of ids", typ)
	}
	for _, id := range ids {
		owner, _, err := cats.ParseID(id)
		if err != nil {
			return fmt.Errorf("relationships: %w", err)
		}
		if owner != "" && owner != account {
			return fmt.Errorf("relationships: id %q belongs to another account", id)
		}
	}
	return nil
}

func text(name string, value []byte) (string, error) {
	var s string
	if value[0] != '"' || json.Unmarshal(value, &s) != nil {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return s, nil
}

// wants checks a value that the key decides. An id cannot tell a colon from a semicolon, so neither counts here.
func wants(name string, value []byte, want string) error {
	got, err := text(name, value)
	if err != nil {
		return err
	}
	if !alike(got, want) {
		return fmt.Errorf("%s is %q, its key says %q", name, clip(got), clip(want))
	}
	return nil
}

func alike(got, want string) bool {
	return got == want || strings.ReplaceAll(got, ";", ":") == strings.ReplaceAll(want, ";", ":")
}

func clip(s string) string {
	const limit = 100
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// checkLimits walks valid JSON once.
func checkLimits(data []byte) error {
	depth, number := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			end := stringEnd(data, i)
			if err := checkNames(data, i, end); err != nil {
				return err
			}
			i = end - 1
		case c == '{' || c == '[':
			if depth++; depth > maximumDepth {
				return fmt.Errorf("body nests deeper than %d levels", maximumDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E':
			if number++; number > maximumNumber {
				return fmt.Errorf("body holds a number of more than %d characters", maximumNumber)
			}
			continue
		}
		number = 0
	}
	return nil
}

// eachMember calls f for each member of an object in valid JSON, with the bytes of its value. A name that comes twice is an error:
// readers do not agree which one counts.
func eachMember(object []byte, f func(name string, value []byte) error) error {
	i := space(object, 0)
	if i == len(object) || object[i] != '{' {
		return errors.New("an object is expected where something else is")
	}
	seen := make(map[string]struct{}, 8)
	for i = space(object, i+1); object[i] != '}'; i = space(object, i) {
		if object[i] == ',' {
			i = space(object, i+1)
		}
		end := stringEnd(object, i)
		name, err := text("name", object[i:end])
		if err != nil {
			return err
		}
		if _, twice := seen[name]; twice {
			return fmt.Errorf("field %q comes twice", clip(name))
		}
		seen[name] = struct{}{}
		i = space(object, space(object, end)+1) // the colon is between
		end = valueEnd(object, i)
		if err := f(name, object[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// stringEnd is the index after the string that begins at i.
func stringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd is the index after the value that begins at i.
func valueEnd(data []byte, i int) int {
	switch data[i] {
	case '"':
		return stringEnd(data, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch data[i] {
			case '"':
				i = stringEnd(data, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(data) && !strings.ContainsRune(",]} \n\t\r", rune(data[i])) {
		i++
	}
	return i
}
