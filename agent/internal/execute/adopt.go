package execute

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	kubectlapply "k8s.io/kubectl/pkg/cmd/apply"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Who deployed an object for Spinnaker is known by the annotations that Clouddriver puts into every manifest: whoever applied
// them server-side, under whatever name, applied the whole manifest. What such a manager owned and a manifest no longer has must
// vanish, although it is another manager, or none, that applies the object now. kubectl does this for one direction, from its own
// client-side to its own server-side apply.
var spinnakerAnnotations = []string{"artifact.spinnaker.io/", "moniker.spinnaker.io/"}

// serverSideManager is kubectl's name for what it applies server-side.
const serverSideManager = "kubectl"

// adoptions is how often a change in between is answered by looking again.
const adoptions = 5

// owner is an entry of an object's managedFields with its fields decoded.
type owner struct {
	metav1.ManagedFieldsEntry

	fields *fieldpath.Set
}

func owners(object *unstructured.Unstructured) ([]owner, error) {
	var all []owner
	for _, e := range object.GetManagedFields() {
		o := owner{e, fieldpath.NewSet()}
		if e.FieldsV1 != nil {
			if err := o.fields.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
				return nil, fmt.Errorf("managedFields of %s: %w", object.GetName(), err)
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// deployed tells whether the owner applied, server-side and under another name, what Spinnaker deployed.
func (o owner) deployed(object *unstructured.Unstructured, manager string) bool {
	if o.Operation != metav1.ManagedFieldsOperationApply || o.Subresource != "" || o.Manager == manager || o.APIVersion != object.GetAPIVersion() {
		return false
	}
	found := false
	o.fields.WithPrefix(field("metadata")).WithPrefix(field("annotations")).Members.Iterate(func(e fieldpath.PathElement) {
		for _, prefix := range spinnakerAnnotations {
			found = found || e.FieldName != nil && strings.HasPrefix(*e.FieldName, prefix)
		}
	})
	return found
}

// clientSide tells whether the owner is kubectl's client-side apply, as kubectl's own migration tells: it wrote the annotation.
func (o owner) clientSide() bool {
	return o.Operation == metav1.ManagedFieldsOperationUpdate && o.Subresource == "" &&
		o.fields.Has(fieldpath.MakePathOrDie("metadata", "annotations", corev1.LastAppliedConfigAnnotation))
}

func field(name string) fieldpath.PathElement { return fieldpath.PathElement{FieldName: &name} }

// heir is who gets the fields of those that deployed.
type heir struct {
	manager   string
	operation metav1.ManagedFieldsOperationType
	// clientSide: of kubectl's client-side apply too. kubectl does this itself after a server-side apply, but for objects whose
	// annotation does not fit any more: that is gone then, and with it what it goes by.
	clientSide bool
}

// hand gives the fields of those that deployed to another manager, and names them. None: nobody deployed.
func (h heir) hand(object *unstructured.Unstructured, all []owner) (handed []metav1.ManagedFieldsEntry, from []string, err error) {
	taken := fieldpath.NewSet()
	to := owner{metav1.ManagedFieldsEntry{Manager: h.manager, Operation: h.operation, APIVersion: object.GetAPIVersion(), FieldsType: "FieldsV1"}, fieldpath.NewSet()}
	except := h.manager
	if h.operation != metav1.ManagedFieldsOperationApply {
		except = "" // server-side by the same name is another owner
	}
	for _, o := range all {
		switch {
		case o.deployed(object, except), h.clientSide && o.clientSide():
			from = append(from, o.Manager)
			taken = taken.Union(o.fields)
			to.Time = o.Time
		case o.Manager == h.manager && o.Operation == h.operation && o.APIVersion == to.APIVersion && o.Subresource == "":
			to.fields = o.fields
		default:
			handed = append(handed, o.ManagedFieldsEntry)
		}
	}
	if len(from) == 0 {
		return nil, nil, nil
	}
	raw, err := to.fields.Union(taken).ToJSON()
	if err != nil {
		return nil, nil, err
	}
	to.FieldsV1 = &metav1.FieldsV1{}
	to.FieldsV1.SetRawBytes(raw)
	return append(handed, to.ManagedFieldsEntry), from, nil
}

// adoptServerSide makes the manager of a server-side apply the owner of what was applied before it under another name. The apply then
// removes what the manifest no longer has.
func (r *run) adoptServerSide(info *resource.Info, to heir) error {
	helper := resource.NewHelper(info.Client, info.Mapping)
	return again(info.Name, func() error {
		live, err := helper.Get(info.Namespace, info.Name)
		if err != nil {
			return nil //nolint:nilerr // not there, or not to be looked at: the apply itself will tell
		}
		_, err = r.handOver(info, helper, live, to)
		return err
	})
}

// adoptClientSide does the same after a client-side apply of a manifest, and costs nothing where nothing is to be done. It applies the
// manifest once more, server-side in the name of each that deployed before: the API server removes what only they owned.
func (r *run) adoptClientSide(info *resource.Info, manifest runtime.Object) error {
	to := heir{manager: kubectlapply.FieldManagerClientSideApply, operation: metav1.ManagedFieldsOperationUpdate}
	object, ok := info.Object.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("the API server answered with %T instead of an object", info.Object)
	}
	all, err := owners(object)
	if err != nil {
		return err
	}
	_, from, err := to.hand(object, all)
	if err != nil || len(from) == 0 {
		return err
	}
	body, err := runtime.Encode(unstructured.UnstructuredJSONScheme, manifest)
	if err != nil {
		return err
	}
	force, live := true, runtime.Object(object)
	for _, manager := range from {
		live, err = resource.NewHelper(info.Client, info.Mapping).WithFieldManager(manager).
			Patch(info.Namespace, info.Name, types.ApplyPatchType, body, &metav1.PatchOptions{Force: &force})
		if err != nil {
			return fmt.Errorf("remove from %s what %q applied before: %w", info.Name, manager, err)
		}
	}
	helper := resource.NewHelper(info.Client, info.Mapping).WithFieldManager(to.manager)
	return again(info.Name, func() error {
		if live == nil {
			if live, err = helper.Get(info.Namespace, info.Name); err != nil {
				return err
			}
		}
		now, err := r.handOver(info, helper, live, to)
		live = nil
		if err == nil && now != nil {
			err = info.Refresh(now, true)
		}
		return err
	})
}

// again tries again when the object changed in between.
func again(name string, try func() error) error {
	var err error
	for range adoptions {
		if err = try(); !apierrors.IsConflict(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("take over the fields of %s from who applied them before: %w", name, err)
	}
	return nil
}

// handOver changes who owns the fields of an object, and returns it as it is then. nil: nothing was to be done.
func (r *run) handOver(info *resource.Info, helper *resource.Helper, live runtime.Object, to heir) (runtime.Object, error) {
	object, ok := live.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("the API server answered with %T instead of an object", live)
	}
	all, err := owners(object)
	if err != nil {
		return nil, err
	}
	handed, from, err := to.hand(object, all)
	if err != nil || len(from) == 0 {
		return nil, err
	}
	body, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": handed},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()},
	})
	if err != nil {
		return nil, err
	}
	now, err := helper.Patch(info.Namespace, info.Name, types.JSONPatchType, body, nil)
	if err != nil {
		return nil, err
	}
	if !to.clientSide {
		r.Warn(fmt.Sprintf("%s was applied server-side under another name before; its fields belong to %q now", info.ObjectName(), to.manager))
	}
	return now, nil
}
