package execute

import (
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/kubectl/pkg/cmd/scale"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// scale runs kubectl's own scale, which needs nothing of a kind but a scale subresource.
func (r *run) scale(op *linkv1.Scale) error {
	c := r.command("scale", op.GetNamespace())
	o := scale.NewScaleOptions(c.streams)
	c.options(o.PrintFlags)
	if err := o.Complete(c.factory, c.cobra, []string{op.GetKind() + "/" + op.GetName()}); err != nil {
		return err
	}
	o.Replicas = int(op.GetReplicas())
	if op.CurrentReplicas != nil {
		o.CurrentReplicas = int(op.GetCurrentReplicas())
	}
	o.Recorder = recorder(op.GetChangeCause())
	if err := o.Validate(); err != nil {
		return err
	}
	return c.end(o.RunScale())
}

var patchTypes = map[string]types.PatchType{
	"": types.StrategicMergePatchType, "strategic": types.StrategicMergePatchType, "merge": types.MergePatchType, "json": types.JSONPatchType,
}

// patch changes an object, and says whether it differs then.
func (r *run) patch(op *linkv1.Patch) error {
	patchType, known := patchTypes[op.GetType()]
	if !known {
		return fmt.Errorf("--type must be one of [json merge strategic], not %q", op.GetType())
	}
	body, err := yaml.ToJSON(op.GetPatch())
	if err != nil {
		return fmt.Errorf("unable to parse %q: %w", op.GetPatch(), err)
	}
	manager := op.GetFieldManager()
	if manager == "" {
		manager = "kubectl-patch"
	}
	c, record := r.command("patch", op.GetNamespace()), recorder(op.GetChangeCause())
	result := c.factory.NewBuilder().
		Unstructured().
		ContinueOnError().
		NamespaceParam(r.namespaceOr(op.GetNamespace())).DefaultNamespace().
		ResourceTypeOrNameArgs(false, op.GetKind()+"/"+op.GetName()).
		Flatten().
		Do()
	if err := result.Err(); err != nil {
		return err
	}
	count := 0
	err = result.Visit(func(info *resource.Info, err error) error {
		if err != nil {
			return err
		}
		count++
		helper := resource.NewHelper(info.Client, info.Mapping).WithFieldManager(manager)
		patched, err := helper.Patch(info.Namespace, info.Name, patchType, body, nil)
		if apierrors.IsUnsupportedMediaType(err) {
			return fmt.Errorf("%s is not supported by %s: %w", patchType, info.Mapping.GroupVersionKind, err)
		}
		if err != nil {
			return err
		}
		done := "patched"
		if reflect.DeepEqual(info.Object, patched) {
			done = "patched (no change)"
		}
		// As kubectl: that the cause cannot be written down does not undo the patch.
		if cause, err := record.MakeRecordMergePatch(patched); err == nil && len(cause) > 0 {
			if recorded, err := helper.Patch(info.Namespace, info.Name, types.MergePatchType, cause, nil); err == nil {
				patched = recorded
			}
		}
		return c.print(patched, done)
	})
	if err == nil && count == 0 {
		err = errors.New("no objects passed to patch")
	}
	return c.end(err)
}
