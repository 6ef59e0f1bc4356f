package cluster

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maximumObject bounds one object in a stream. etcd holds at most 1.5 MB, aggregated API servers could send anything.
const maximumObject = 64 << 20

var errTooLarge = fmt.Errorf("an object has more than %d bytes", maximumObject)

// Page is the metadata of a part of a listing.
type Page struct {
	ResourceVersion string
	// Continue asks for the next part; "": this was the last one.
	Continue string
	// Count of items in this part.
	Count int
}

// ReadList reads a listing item by item, so that no more than one is in memory, and hands each one's JSON to item, which
// must not keep it.
func ReadList(body io.Reader, item func(raw []byte) error) (Page, error) {
	var page Page
	r := &jsonReader{source: body}
	if err := expect(r, '{'); err != nil {
		return page, err
	}
	c, err := r.peek()
	if err != nil || c == '}' {
		return page, err
	}
	for closed := false; !closed; {
		if err = readField(r, &page, item); err == nil {
			closed, err = r.separator('}')
		}
		if err != nil {
			return page, err
		}
	}
	return page, nil
}

// readField reads one of a list's fields.
func readField(r *jsonReader, page *Page, item func(raw []byte) error) error {
	raw, err := r.value()
	if err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return err
	}
	if err := expect(r, ':'); err != nil {
		return err
	}
	if name == "items" {
		return readItems(r, page, item)
	}
	if raw, err = r.value(); err != nil || name != "metadata" {
		return err
	}
	var m struct{ ResourceVersion, Continue string }
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	page.ResourceVersion, page.Continue = m.ResourceVersion, m.Continue
	return nil
}

func readItems(r *jsonReader, page *Page, item func(raw []byte) error) error {
	c, err := r.peek()
	switch {
	case err != nil:
		return err
	case c == 'n': // "items": null
		_, err := r.value()
		return err
	case c != '[':
		return fmt.Errorf("items of a list are %c, not an array", c)
	}
	r.at++
	if c, err = r.peek(); err != nil {
		return err
	}
	if c == ']' {
		r.at++
		return nil
	}
	for closed := false; !closed; {
		raw, err := r.value()
		if err != nil {
			return err
		}
		page.Count++
		if err := item(raw); err != nil {
			return err
		}
		if closed, err = r.separator(']'); err != nil {
			return err
		}
	}
	return nil
}

func expect(r *jsonReader, want byte) error {
	c, err := r.peek()
	switch {
	case err != nil:
		return err
	case c != want:
		return fmt.Errorf("the API server's list has %c where %c belongs", c, want)
	}
	r.at++
	return nil
}

// event is one line of a watch.
type event struct {
	Type   string
	Object json.RawMessage
}

// events reads a watch.
type events struct {
	decoder *json.Decoder
	budget  *budget
}

func newEvents(body io.Reader) *events {
	b := &budget{reader: body, left: maximumObject}
	return &events{decoder: json.NewDecoder(b), budget: b}
}

// next reads the next event into e, whose bytes are good until then. io.EOF: the server ended the watch.
func (s *events) next(e *event) error {
	s.budget.left = maximumObject
	e.Type, e.Object = "", e.Object[:0]
	if err := s.decoder.Decode(e); err != nil {
		return s.budget.explain(err)
	}
	return nil
}

// budget stops a reader when too much was read for one object.
type budget struct {
	reader io.Reader
	left   int
	over   bool
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.over = true
		return 0, errTooLarge
	}
	n, err := b.reader.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *budget) explain(err error) error {
	if b.over {
		return errTooLarge
	}
	return err
}

// DecodeItem decodes one object. Items of built-in kinds' lists do not say what they are; kind does then. Whole numbers are
// int64, others float64.
func DecodeItem(raw []byte, kind schema.GroupVersionKind) (map[string]any, error) {
	return named(raw, kind, false, false)
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// decodeForInventory is DecodeItem without what must not or need not leave the agent: managedFields, and a Secret's data,
// which is left out before it is decoded, also from the annotation that kubectl keeps it in.
func decodeForInventory(raw []byte, kind schema.GroupVersionKind) (map[string]any, error) {
	secret := kind.Group == "" && kind.Kind == "Secret"
	object, err := named(raw, kind, secret, true)
	if err != nil || !secret {
		return object, err
	}
	metadata, _ := object["metadata"].(map[string]any)
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, lastApplied)
	}
	return object, nil
}

func named(raw []byte, kind schema.GroupVersionKind, secret, inventory bool) (map[string]any, error) {
	object, err := decodeObject(raw, secret, inventory)
	if err != nil {
		return nil, fmt.Errorf("decode an object of kind %s: %w", kind.Kind, err)
	}
	if v, _ := object["kind"].(string); v == "" {
		object["kind"] = kind.Kind
	}
	if v, _ := object["apiVersion"].(string); v == "" {
		object["apiVersion"] = kind.GroupVersion().String()
	}
	return object, nil
}
