package secrets

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	valuePrefix = "encrypted:"
	filePrefix  = "encryptedFile:"
)

// The engines, as references name them.
const (
	EngineVault          = "vault"
	EngineKubernetes     = "k8s"
	EngineS3             = "s3"
	EngineGCS            = "gcs"
	EngineSecretsManager = "secrets-manager"
)

// engines lists each engine's parameters: what they mean, and which are needed.
var engines = map[string][]parameter{
	EngineVault:          {{"e", "the secrets engine's mount", true}, {"p", "the secret's path", true}, {"k", "the key in it", true}, {"b", "true if the value is base64", false}},
	EngineKubernetes:     {{"n", "the secret's name", true}, {"k", "the key in it", true}, {"ns", "its namespace, if it is not the agent's", false}},
	EngineS3:             {{"r", "the region", true}, {"b", "the bucket", true}, {"f", "the object", true}, {"k", "the key in its YAML", false}},
	EngineGCS:            {{"b", "the bucket", true}, {"f", "the object", true}, {"k", "the key in its YAML", false}},
	EngineSecretsManager: {{"r", "the region", true}, {"s", "the secret's name", true}, {"k", "the key in its JSON", false}},
}

type parameter struct {
	name, means string
	needed      bool
}

// Reference names a secret. It holds none, and may be shown.
type Reference struct {
	// Engine is one of the Engine constants.
	Engine string
	// File: the configuration asked for a file with the secret in it, not for the value. Both read the same.
	File bool

	parameters map[string]string
}

// IsReference tells whether a value of the configuration is a reference, right or wrong.
func IsReference(value string) bool {
	value = strings.TrimSpace(value)
	return strings.HasPrefix(value, valuePrefix) || strings.HasPrefix(value, filePrefix)
}

// Parse reads a reference. Parameters come in any order.
func Parse(value string) (Reference, error) {
	value = strings.TrimSpace(value)
	text, file := strings.CutPrefix(value, filePrefix)
	if !file {
		var ok bool
		if text, ok = strings.CutPrefix(value, valuePrefix); !ok {
			return Reference{}, fmt.Errorf("%q is no secret reference: it begins with neither %s nor %s", value, valuePrefix, filePrefix)
		}
	}
	parts := strings.Split(text, "!")
	r := Reference{Engine: strings.TrimSpace(parts[0]), File: file, parameters: map[string]string{}}
	known, ok := engines[r.Engine]
	if !ok {
		return Reference{}, fmt.Errorf("secret engine %q is not known; there are %s", r.Engine, strings.Join(slices.Sorted(maps.Keys(engines)), ", "))
	}
	for _, part := range parts[1:] {
		name, content, ok := strings.Cut(part, ":")
		if !ok {
			return Reference{}, fmt.Errorf("secret reference to %s: %q: want NAME:VALUE", r.Engine, part)
		}
		name = strings.TrimSpace(name)
		if r.Engine == EngineVault && name == "n" {
			name = "p" // one of the replaced product's samples writes it so
		}
		if !slices.ContainsFunc(known, func(p parameter) bool { return p.name == name }) {
			return Reference{}, fmt.Errorf("secret reference to %s: parameter %q is not known; there are %s", r.Engine, name, explain(known))
		}
		if _, twice := r.parameters[name]; twice {
			return Reference{}, fmt.Errorf("secret reference to %s: parameter %q is given twice", r.Engine, name)
		}
		r.parameters[name] = strings.TrimSpace(content)
	}
	for _, p := range known {
		if p.needed && r.parameters[p.name] == "" {
			return Reference{}, fmt.Errorf("secret reference to %s: parameter %q (%s) is missing", r.Engine, p.name, p.means)
		}
	}
	if b := r.parameters["b"]; r.Engine == EngineVault && b != "" {
		if _, err := strconv.ParseBool(b); err != nil {
			return Reference{}, fmt.Errorf("secret reference to %s: b: %q: want true or false", r.Engine, b)
		}
	}
	return r, nil
}

func explain(known []parameter) string {
	var list []string
	for _, p := range known {
		list = append(list, p.name+" ("+p.means+")")
	}
	return strings.Join(list, ", ")
}

// get returns a parameter, "" if it is not given.
func (r Reference) get(name string) string { return r.parameters[name] }

// String names the place, in one order whatever order the configuration had.
func (r Reference) String() string {
	var b strings.Builder
	if r.File {
		b.WriteString(filePrefix)
	} else {
		b.WriteString(valuePrefix)
	}
	b.WriteString(r.Engine)
	for _, p := range engines[r.Engine] {
		if v := r.parameters[p.name]; v != "" {
			b.WriteString("!" + p.name + ":" + v)
		}
	}
	return b.String()
}
