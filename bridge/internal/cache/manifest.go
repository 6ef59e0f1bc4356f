package cache

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
)

// This file checks what Clouddriver takes for granted of a manifest (class KubernetesManifest): its accessors throw on anything else, and with
// one object fails every view that it appears in, other accounts' objects included.

// checkManifest tells what is wrong with the manifest in the row of a key.
func checkManifest(key cats.Key, manifest []byte) error {
	var apiVersion, kind string
	seen := false
	err := eachMember(manifest, func(name string, value []byte) (err error) {
		switch name {
		case "apiVersion":
			apiVersion, err = text(name, value)
		case "kind":
			kind, err = text(name, value)
		case "metadata":
			seen = true
			err = checkMetadata(key, value)
		case "spec", "status":
			err = wantsObject(name, value)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("manifest: %w", err)
	case !seen:
		return errors.New("manifest: metadata is missing")
	case cats.TypeOf(apiVersion, kind) != key.Type:
		return fmt.Errorf("manifest: is of kind %q of %q, its key says %s", clip(kind), clip(apiVersion), key.Type)
	}
	return nil
}

func checkMetadata(key cats.Key, metadata []byte) error {
	var name, namespace string
	err := eachMember(metadata, func(field string, value []byte) (err error) {
		switch field {
		case "name":
			name, err = text(field, value)
		case "namespace":
			namespace, err = text(field, value)
		case "uid", "resourceVersion", "generateName":
			_, err = text(field, value)
		case "creationTimestamp":
			err = checkTime(field, value)
		case "labels", "annotations":
			err = checkTexts(field, value)
		case "ownerReferences":
			err = checkOwners(value)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("metadata: %w", err)
	case !alike(name, key.Name):
		return fmt.Errorf("metadata: name is %q, its key says %q", clip(name), clip(key.Name))
	case !alike(namespace, key.Scope):
		return fmt.Errorf("metadata: namespace is %q, its key says %q", clip(namespace), clip(key.Scope))
	}
	return nil
}

func isNull(value []byte) bool { return string(value) == "null" }

func wantsObject(name string, value []byte) error {
	if value[0] != '{' && !isNull(value) {
		return fmt.Errorf("%s is not an object", name)
	}
	return nil
}

func checkTime(name string, value []byte) error {
	if isNull(value) {
		return nil
	}
	t, err := text(name, value)
	if err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, t); err != nil {
		return fmt.Errorf("%s %q is no time", name, clip(t))
	}
	return nil
}

// checkTexts is for maps of texts.
func checkTexts(name string, value []byte) error {
	if isNull(value) {
		return nil
	}
	return eachMember(value, func(_ string, v []byte) error {
		if v[0] != '"' {
			return fmt.Errorf("%s holds something that is not a text", name)
		}
		return nil
	})
}

func checkOwners(list []byte) error {
	if isNull(list) {
		return nil
	}
	return eachElement("ownerReferences", list, func(owner []byte) error {
		return eachMember(owner, func(name string, value []byte) (err error) {
			switch name {
			case "apiVersion", "kind", "name", "uid":
				_, err = text("an owner's "+name, value)
			}
			return err
		})
	})
}

// eachElement calls f for each element of a list in valid JSON.
func eachElement(name string, list []byte, f func(element []byte) error) error {
	if list[0] != '[' {
		return fmt.Errorf("%s is not a list", name)
	}
	for i := space(list, 1); list[i] != ']'; i = space(list, i) {
		if list[i] == ',' {
			i = space(list, i+1)
		}
		end := valueEnd(list, i)
		if err := f(list[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// maximumName is the longest field name, in bytes, with room to spare: Jackson reads names of at most 50,000 characters.
const maximumName = 40_000

// checkNames is a part of checkLimits: the string between start and end is a name if a colon follows.
func checkNames(data []byte, start, end int) error {
	if end-start <= maximumName {
		return nil
	}
	if after := space(data, end); after < len(data) && data[after] == ':' {
		return fmt.Errorf("body holds a field name of more than %d bytes", maximumName)
	}
	return nil
}

var errSurrogate = errors.New("body holds half a surrogate pair, which is no character")

// checkSurrogates refuses halves of UTF-16 surrogate pairs, which only an escape can hold: Jackson reads them and fails when it shall write
// them into an answer.
func checkSurrogates(body []byte) error {
	for rest := body; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			return nil
		}
		rest = rest[i:]
		if rest[1] != 'u' {
			rest = rest[2:]
			continue
		}
		switch unit := escape(rest); {
		case unit >= 0xD800 && unit < 0xDC00:
			if len(rest) < 12 || rest[6] != '\\' || rest[7] != 'u' {
				return errSurrogate
			}
			if low := escape(rest[6:]); low < 0xDC00 || low > 0xDFFF {
				return errSurrogate
			}
			rest = rest[12:]
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return errSurrogate
		default:
			rest = rest[6:]
		}
	}
}

// escape is the number of an escape such as \u00e9 at the beginning of valid JSON.
func escape(data []byte) int {
	var raw [2]byte
	if _, err := hex.Decode(raw[:], data[2:6]); err != nil {
		return 0
	}
	return int(raw[0])<<8 | int(raw[1])
}
