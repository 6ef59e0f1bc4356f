package fakekube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// State is what a Template makes an object's JSON of.
type State struct {
	Namespace, Name, UID string
	// Version is the resourceVersion.
	Version int64
	// Round counts the changes of the object.
	Round int
}

// Template appends an object's JSON, which has metadata with the state's name, namespace, uid and resourceVersion, and neither
// apiVersion nor kind.
type Template func(to []byte, s State) []byte

// object is one state of an object. It does not change.
type object struct {
	namespace, name, uid string
	version              int64
	round                int
	// json, without apiVersion and kind; nil: template makes it.
	json     []byte
	template Template
}

func keyOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func (o *object) key() string { return keyOf(o.namespace, o.name) }

func (o *object) appendTo(to []byte) []byte {
	if o.template == nil {
		return append(to, o.json...)
	}
	return o.template(to, State{Namespace: o.namespace, Name: o.name, UID: o.uid, Version: o.version, Round: o.round})
}

// at is the same object at another version, changed by a round.
func (o *object) at(version int64, rounds int) *object {
	next := *o
	next.version = version
	next.round += rounds
	if o.template == nil {
		content, err := decode(o.json)
		if err != nil {
			panic(fmt.Sprintf("an object that was stored is no JSON: %v", err))
		}
		metadataOf(content)["resourceVersion"] = strconv.FormatInt(version, 10)
		next.json = encode(content)
	}
	return &next
}

// metadata is the JSON of the object's metadata.
func (o *object) metadata() json.RawMessage {
	var m struct{ Metadata json.RawMessage }
	_ = json.Unmarshal(o.appendTo(nil), &m)
	return m.Metadata
}

// selection is which objects of a kind a request is about.
type selection struct {
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

func (s selection) has(o *object) bool {
	if o == nil || s.namespace != "" && o.namespace != s.namespace {
		return false
	}
	if !s.fields.Empty() && !s.fields.Matches(fields.Set{"metadata.name": o.name, "metadata.namespace": o.namespace}) {
		return false
	}
	if s.labels.Empty() {
		return true
	}
	var m struct{ Labels labels.Set }
	_ = json.Unmarshal(o.metadata(), &m)
	return s.labels.Matches(m.Labels)
}

func (s selection) everything() bool { return s.fields.Empty() && s.labels.Empty() }

func decode(raw []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		return nil, err
	}
	if content == nil {
		return nil, errors.New("it is null")
	}
	return content, nil
}

// encode writes what decode read.
func encode(content map[string]any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(content); err != nil {
		panic(err) // it was JSON
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func metadataOf(content map[string]any) map[string]any {
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		content["metadata"] = metadata
	}
	return metadata
}
