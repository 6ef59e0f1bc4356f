package execute

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// outputError says that nobody takes the output any more.
type outputError struct{ err error }

func (e *outputError) Error() string { return fmt.Sprintf("write the output: %v", e.err) }
func (e *outputError) Unwrap() error { return e.err }

// print writes an object as JSON, without managedFields, as kubectl does unless it is asked for them.
func (r *run) print(object runtime.Object) error {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("the API server answered with %T instead of an object", object)
	}
	text, err := encode(u.Object)
	if err != nil {
		return err
	}
	if _, err := r.output.Write(append(text, '\n')); err != nil {
		return &outputError{err}
	}
	return nil
}

// printAll writes one object as it is, several as a v1 List.
func (r *run) printAll(objects []runtime.Object) error {
	if len(objects) == 1 {
		return r.print(objects[0])
	}
	list := &items{output: r.output, metadata: "{}"}
	for _, o := range objects {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("the API server answered with %T instead of an object", o)
		}
		if err := list.write(u.Object); err != nil {
			return err
		}
	}
	return list.end()
}

// encode leaves managedFields out. HTML is not escaped, as everywhere in Kubernetes.
func encode(object map[string]any) ([]byte, error) {
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("encode an object: %w", err)
	}
	return bytes.TrimRight(text.Bytes(), "\n"), nil
}

// items streams a v1 List.
type items struct {
	output io.Writer
	// metadata of the list, which kubectl gives a resourceVersion when it read it and none when it made it.
	metadata string
	some     bool
}

func (i *items) write(object map[string]any) error {
	text, err := encode(object)
	if err != nil {
		return err
	}
	lead := []byte(",\n")
	if !i.some {
		i.some = true
		lead = []byte(`{"apiVersion":"v1","items":[` + "\n")
	}
	if _, err := i.output.Write(append(lead, text...)); err != nil {
		return &outputError{err}
	}
	return nil
}

func (i *items) end() error {
	text := "\n],"
	if !i.some {
		text = `{"apiVersion":"v1","items":[],`
	}
	if _, err := io.WriteString(i.output, text+`"kind":"List","metadata":`+i.metadata+"}\n"); err != nil {
		return &outputError{err}
	}
	return nil
}
