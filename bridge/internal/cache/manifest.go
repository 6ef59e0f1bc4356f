package cache

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
)

// This file checks what Clouddriver takes for granted of a manifest (class KubernetesManifest): its accessors throw on anything else, and with
// one object fails every view that it appears in, other accounts' objects included.

// manifest reads the manifest in the row of a key.
func (r *reader) manifest(key cats.Key) error {
	var apiVersion, kind []byte
	seen := false
	err := r.object(func(name []byte) (err error) {
		switch string(name) {
		case "apiVersion":
			apiVersion, err = r.text("apiVersion")
		case "kind":
			kind, err = r.text("kind")
		case "metadata":
			seen = true
			err = r.metadata(key)
		case "spec", "status":
			if c := r.peek(); c != '{' && c != 'n' {
				return fmt.Errorf("%s is not an object", name)
			}
			err = r.skip()
		default:
			err = r.skip()
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("manifest: %w", err)
	case !seen:
		return errors.New("manifest: metadata is missing")
	case cats.TypeOf(string(apiVersion), string(kind)) != key.Type:
		return fmt.Errorf("manifest: is of kind %q of %q, its key says %s", clip(string(kind)), clip(string(apiVersion)), key.Type)
	}
	return nil
}

func (r *reader) metadata(key cats.Key) error {
	var name, namespace []byte
	err := r.object(func(field []byte) (err error) {
		switch string(field) {
		case "name":
			name, err = r.text("name")
		case "namespace":
			namespace, err = r.text("namespace")
		case "uid":
			_, err = r.text("uid")
		case "resourceVersion":
			_, err = r.text("resourceVersion")
		case "generateName":
			_, err = r.text("generateName")
		case "creationTimestamp":
			err = r.time("creationTimestamp")
		case "labels":
			err = r.texts("labels")
		case "annotations":
			err = r.texts("annotations")
		case "ownerReferences":
			err = r.owners()
		default:
			err = r.skip()
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("metadata: %w", err)
	case !alike(name, key.Name):
		return fmt.Errorf("metadata: name is %q, its key says %q", clip(string(name)), clip(key.Name))
	case !alike(namespace, key.Scope):
		return fmt.Errorf("metadata: namespace is %q, its key says %q", clip(string(namespace)), clip(key.Scope))
	}
	return nil
}

func (r *reader) time(name string) error {
	if null, err := r.null(); null || err != nil {
		return err
	}
	t, err := r.text(name)
	if err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, string(t)); err != nil {
		return fmt.Errorf("%s %q is no time", name, clip(string(t)))
	}
	return nil
}

// texts reads a map of texts.
func (r *reader) texts(name string) error {
	if null, err := r.null(); null || err != nil {
		return err
	}
	return r.object(func([]byte) error {
		if r.peek() != '"' {
			return fmt.Errorf("%s holds something that is not a text", name)
		}
		return r.skip()
	})
}

func (r *reader) owners() error {
	if null, err := r.null(); null || err != nil {
		return err
	}
	return r.list("ownerReferences", func(r *reader) error {
		return r.object(func(name []byte) (err error) {
			switch string(name) {
			case "apiVersion", "kind", "name", "uid":
				_, err = r.text("a field of an owner")
			default:
				err = r.skip()
			}
			return err
		})
	})
}
