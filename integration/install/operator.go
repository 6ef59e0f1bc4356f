package install

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// OperatorDeployment is the Deployment of Clouddriver after the Operator has applied a SpinnakerService's patches to what its Halyard made
// (pkg/deploy/spindeploy/transformer/patches.go of armory/spinnaker-operator: strategic merge patches, in order).
func OperatorDeployment(service *unstructured.Unstructured, made *appsv1.Deployment) (*appsv1.Deployment, error) {
	patches, found, err := unstructured.NestedStringSlice(service.Object, "spec", "kustomize", "clouddriver", "deployment", "patchesStrategicMerge")
	if err != nil || !found {
		return nil, fmt.Errorf("spec.kustomize.clouddriver.deployment.patchesStrategicMerge: found %t, %w", found, err)
	}
	content, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	for i, patch := range patches {
		asJSON, err := yaml.YAMLToJSONStrict([]byte(patch))
		if err != nil {
			return nil, fmt.Errorf("patch %d: %w", i, err)
		}
		if content, err = strategicpatch.StrategicMergePatch(content, asJSON, &appsv1.Deployment{}); err != nil {
			return nil, fmt.Errorf("patch %d: %w", i, err)
		}
	}
	patched := &appsv1.Deployment{}
	return patched, yaml.UnmarshalStrict(content, patched)
}
