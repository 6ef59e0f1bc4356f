package cluster

import (
	"slices"

	"github.com/fairlead/fairlead/agent/internal/config"
)

// managedBy is the annotation that Spinnaker puts on everything that it deploys; stock's onlySpinnakerManaged looks at it.
const managedBy = "moniker.spinnaker.io/application"

// filter decides which objects an account shows.
type filter struct {
	omitNamespaces []string
	onlyManaged    bool
}

func newFilter(a config.Account, onlyManaged bool) filter {
	return filter{omitNamespaces: a.OmitNamespaces, onlyManaged: a.OnlySpinnakerManaged || onlyManaged}
}

func (f filter) shows(object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	if len(f.omitNamespaces) > 0 {
		namespace, _ := metadata["namespace"].(string)
		if namespace != "" && slices.Contains(f.omitNamespaces, namespace) {
			return false
		}
	}
	if f.onlyManaged {
		annotations, _ := metadata["annotations"].(map[string]any)
		application, _ := annotations[managedBy].(string)
		return application != ""
	}
	return true
}
