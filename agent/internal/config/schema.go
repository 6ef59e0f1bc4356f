package config

import (
	"encoding/json"
	"maps"
	"slices"
)

// Schema is the configuration's JSON Schema (draft 2020-12), for editors and pipelines. It knows keys and shapes; `config check` knows the rest.
// Keys are written there as documented; the agent reads them in any case.
func Schema() ([]byte, error) {
	s := object(keys())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Configuration of fairlead-agent"
	return json.MarshalIndent(s, "", "  ")
}

func object(known map[string]key) map[string]any {
	properties := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		properties[name] = property(known[name])
	}
	return map[string]any{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
}

func property(k key) map[string]any {
	p := map[string]any{}
	switch k.shape {
	case section:
		p = object(k.keys)
	case sections:
		one := object(k.keys)
		one["type"] = "object"
		p["type"], p["items"] = []string{"array", "null"}, one
	case texts:
		p["type"], p["items"] = []string{"array", "null"}, map[string]any{"type": []string{"string", "number", "boolean"}}
	case text:
		p["type"] = []string{"string", "number", "boolean", "null"} // YAML's 8080 and true are texts too
	case boolean:
		p["anyOf"] = []any{map[string]any{"type": []string{"boolean", "null"}}, map[string]any{"type": "string", "pattern": "^(?i:true|false)$"}}
	case whole, number:
		p["type"] = []string{"number", "string", "null"}
	case anything:
	}
	switch {
	case k.refuse != "":
		p["description"] = "Refused: " + k.refuse
	case k.note != "":
		p["description"], p["deprecated"] = k.note, true
	case k.secret:
		p["description"] = "May be a secret reference (encrypted:, encryptedFile:)."
	}
	return p
}
