package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
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
	budget := &budget{reader: body, left: maximumObject}
	decoder := json.NewDecoder(budget)
	if err := expect(decoder, '{'); err != nil {
		return page, err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return page, budget.explain(err)
		}
		switch name {
		case "items":
			if err := readItems(decoder, budget, &page, item); err != nil {
				return page, budget.explain(err)
			}
		case "metadata":
			var m struct{ ResourceVersion, Continue string }
			if err := decoder.Decode(&m); err != nil {
				return page, budget.explain(err)
			}
			page.ResourceVersion, page.Continue = m.ResourceVersion, m.Continue
		default:
			var ignored json.RawMessage
			if err := decoder.Decode(&ignored); err != nil {
				return page, budget.explain(err)
			}
		}
	}
	if err := expect(decoder, '}'); err != nil {
		return page, budget.explain(err)
	}
	return page, nil
}

func readItems(decoder *json.Decoder, budget *budget, page *Page, item func(raw []byte) error) error {
	token, err := decoder.Token()
	switch {
	case err != nil:
		return err
	case token == nil: // "items": null
		return nil
	case token != json.Delim('['):
		return fmt.Errorf("items of a list are %v, not an array", token)
	}
	var raw json.RawMessage
	for decoder.More() {
		budget.left = maximumObject
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		page.Count++
		if err := item(raw); err != nil {
			return err
		}
	}
	budget.left = maximumObject
	return expect(decoder, ']')
}

func expect(decoder *json.Decoder, want json.Delim) error {
	token, err := decoder.Token()
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case token != want:
		return fmt.Errorf("the API server's list has %v where %v belongs", token, want)
	}
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
	var object map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &object); err != nil {
		return nil, fmt.Errorf("decode an object of kind %s: %w", kind.Kind, err)
	}
	if object == nil {
		return nil, fmt.Errorf("decode an object of kind %s: it is null", kind.Kind)
	}
	if v, _ := object["kind"].(string); v == "" {
		object["kind"] = kind.Kind
	}
	if v, _ := object["apiVersion"].(string); v == "" {
		object["apiVersion"] = kind.GroupVersion().String()
	}
	return object, nil
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// decodeForInventory is DecodeItem without what must not or need not leave the agent: managedFields, and a Secret's data,
// which is left out before it is decoded, also from the annotation that kubectl keeps it in.
func decodeForInventory(raw []byte, kind schema.GroupVersionKind) (map[string]any, error) {
	secret := kind.Group == "" && kind.Kind == "Secret"
	if secret {
		var err error
		if raw, err = withoutData(raw); err != nil {
			return nil, err
		}
	}
	object, err := DecodeItem(raw, kind)
	if err != nil {
		return nil, err
	}
	metadata, _ := object["metadata"].(map[string]any)
	delete(metadata, "managedFields")
	if annotations, ok := metadata["annotations"].(map[string]any); ok && secret {
		delete(annotations, lastApplied)
	}
	return object, nil
}

func withoutData(raw []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, errors.New("decode a Secret: not a JSON object")
	}
	delete(fields, "data")
	delete(fields, "stringData")
	return json.Marshal(fields)
}
