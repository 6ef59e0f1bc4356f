package cache

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/proto/cats"
)

// checkBody tells what is wrong with a body that shall be stored as the row of a key under an id. Clouddriver trusts what it reads:
// the body must name exactly that row, refer to rows of that account only, and have the shape of CacheData.
func checkBody(account string, key cats.Key, id string, body []byte) error {
	r := &reader{data: body}
	seen := 0
	if r.peek() != '{' { // it may be no JSON at all
		if err := r.skip(); err != nil {
			return err
		}
	}
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "id":
			seen |= 1
			return r.wants("id", id)
		case "attributes":
			seen |= 2
			return r.attributes(key)
		case "relationships":
			seen |= 4
			return r.object(func(typ []byte) error { return r.relationship(account, typ) })
		case "ttlSeconds":
			return r.skip()
		}
		return fmt.Errorf("body has a field %q that Clouddriver does not know", clip(string(name)))
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && seen != 7 {
		err = errors.New("body lacks id, attributes or relationships")
	}
	return err
}

// attributeNames are the attributes that every row has; those of applications and clusters have the first only.
var attributeNames = [...]string{"name", "kind", "namespace", "apiVersion", "fullResourceName", "manifest", "moniker"}

func (r *reader) attributes(key cats.Key) error {
	required := attributeNames[:]
	logical := key.Type == cats.Applications || key.Type == cats.Clusters
	if logical {
		required = required[:1]
	}
	var seen [len(attributeNames)]bool
	err := r.object(func(name []byte) error {
		for i, known := range required {
			if string(name) == known {
				seen[i] = true
				return r.attribute(key, known)
			}
		}
		if logical {
			return fmt.Errorf("attribute %q does not belong to %s", clip(string(name)), key.Type)
		}
		return fmt.Errorf("attribute %q is not one of Clouddriver's", clip(string(name)))
	})
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	for i, name := range required {
		if !seen[i] {
			return fmt.Errorf("attributes: %q is missing", name)
		}
	}
	return nil
}

func (r *reader) attribute(key cats.Key, name string) error {
	switch name {
	case "name":
		return r.wants(name, key.Name)
	case "kind":
		return r.wants(name, string(key.Type))
	case "namespace":
		return r.wants(name, key.Scope)
	case "manifest":
		return r.manifest(key)
	case "moniker":
		return r.object(r.moniker)
	}
	_, err := r.text(name)
	return err
}

// moniker knows the fields of Clouddriver's Moniker, whose reader fails on any other.
func (r *reader) moniker(name []byte) error {
	switch string(name) {
	case "app", "cluster", "detail", "stack":
		_, err := r.text("a field of the moniker")
		return err
	case "sequence":
		if null, err := r.null(); null || err != nil {
			return err
		}
		digits, err := r.number()
		if err == nil {
			_, err = strconv.ParseInt(string(digits), 10, 32)
		}
		if err != nil {
			return errors.New("moniker sequence is not an integer of 32 bits")
		}
		return nil
	}
	return fmt.Errorf("moniker has a field %q that Clouddriver does not know", clip(string(name)))
}

func (r *reader) relationship(account string, typ []byte) error {
	err := r.list("its value", func(r *reader) error {
		id, err := r.text("an id")
		if err != nil {
			return err
		}
		owner, _, err := cats.ParseID(string(id))
		if err != nil {
			return err
		}
		if owner != "" && owner != account {
			return fmt.Errorf("id %q belongs to another account", clip(string(id)))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("relationships: %q: %w", clip(string(typ)), err)
	}
	return nil
}

// wants reads a text that the key decides. An id cannot tell a colon from a semicolon, so neither counts here.
func (r *reader) wants(name, want string) error {
	got, err := r.text(name)
	if err != nil {
		return err
	}
	if !alike(got, want) {
		return fmt.Errorf("%s is %q, its key says %q", name, clip(string(got)), clip(want))
	}
	return nil
}

func alike(got []byte, want string) bool {
	return string(got) == want || strings.ReplaceAll(string(got), ";", ":") == strings.ReplaceAll(want, ";", ":")
}

func clip(s string) string {
	const limit = 100
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
