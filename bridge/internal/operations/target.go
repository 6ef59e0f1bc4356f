package operations

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// manifests names the first object of what was given on standard input. Nothing else of it is kept.
func manifests(given []byte) string {
	var first struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name         string `json:"name"`
			GenerateName string `json:"generateName"`
			Namespace    string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(given, &first); err != nil || first.Kind == "" {
		return "manifests"
	}
	name := first.Metadata.Name
	if name == "" {
		name = first.Metadata.GenerateName + "…"
	}
	if first.Metadata.Namespace != "" {
		return fmt.Sprintf("%s/%s %s", first.Metadata.Namespace, first.Kind, name)
	}
	return first.Kind + " " + name
}
