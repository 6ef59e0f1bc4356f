package cats

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"
)

// decodeObject reads an object as k8s.io/apimachinery does: integers as int64, other numbers as float64.
func decodeObject(t testing.TB, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("decode object: %v", err)
	}
	converted, _ := convertNumbers(object).(map[string]any)
	return converted
}

func convertNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = convertNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = convertNumbers(e)
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
