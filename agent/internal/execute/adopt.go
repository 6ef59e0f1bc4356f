package execute

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
			if err := o.fields.FromJSON(bytes.NewReader(e.FieldsV1.Raw)); err != nil {
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

// hand gives the fields of those that deployed to another manager. alone are the fields that nobody else owns. nil: nobody deployed.
func (h heir) hand(object *unstructured.Unstructured, all []owner) (handed []metav1.ManagedFieldsEntry, alone *fieldpath.Set, err error) {
	taken, others := fieldpath.NewSet(), fieldpath.NewSet()
	to := owner{metav1.ManagedFieldsEntry{Manager: h.manager, Operation: h.operation, APIVersion: object.GetAPIVersion(), FieldsType: "FieldsV1"}, fieldpath.NewSet()}
	except := h.manager
	if h.operation != metav1.ManagedFieldsOperationApply {
		except = "" // server-side by the same name is another owner
	}
	found := false
	for _, o := range all {
		switch {
		case o.deployed(object, except), h.clientSide && o.clientSide():
			found = true
			taken = taken.Union(o.fields)
			to.Time = o.Time
		case o.Manager == h.manager && o.Operation == h.operation && o.APIVersion == to.APIVersion && o.Subresource == "":
			others = others.Union(o.fields)
			to.fields = o.fields
		default:
			others = others.Union(o.fields)
			handed = append(handed, o.ManagedFieldsEntry)
		}
	}
	if !found {
		return nil, nil, nil
	}
	raw, err := to.fields.Union(taken).ToJSON()
	if err != nil {
		return nil, nil, err
	}
	to.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	return append(handed, to.ManagedFieldsEntry), taken.Difference(others), nil
}

// adoptServerSide makes the manager of a server-side apply the owner of what was applied before it under another name.
func (r *run) adoptServerSide(info *resource.Info, to heir) error {
	helper := resource.NewHelper(info.Client, info.Mapping)
	return r.adopt(info.Name, func() error {
		live, err := helper.Get(info.Namespace, info.Name)
		if err != nil {
			return nil //nolint:nilerr // not there, or not to be looked at: the apply itself will tell
		}
		_, err = r.handOver(info, helper, live, to)
		return err
	})
}

// adoptClientSide does the same after a client-side apply, which costs nothing where nothing is to be done. It writes what was
// applied server-side into the annotation from which the next apply knows what to remove, and reports whether there must be one.
func (r *run) adoptClientSide(info *resource.Info) (again bool, err error) {
	helper := resource.NewHelper(info.Client, info.Mapping).WithFieldManager(kubectlapply.FieldManagerClientSideApply)
	to, live := heir{manager: kubectlapply.FieldManagerClientSideApply, operation: metav1.ManagedFieldsOperationUpdate}, info.Object
	err = r.adopt(info.Name, func() error {
		var err error
		if live == nil {
			if live, err = helper.Get(info.Namespace, info.Name); err != nil {
				return err
			}
		}
		again, err = r.handOver(info, helper, live, to)
		live = nil
		return err
	})
	return again, err
}

// adopt tries again when the object changed in between.
func (r *run) adopt(name string, try func() error) error {
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

func (r *run) handOver(info *resource.Info, helper *resource.Helper, live any, to heir) (bool, error) {
	object, ok := live.(*unstructured.Unstructured)
	if !ok {
		return false, fmt.Errorf("the API server answered with %T instead of an object", live)
	}
	all, err := owners(object)
	if err != nil {
		return false, err
	}
	handed, alone, err := to.hand(object, all)
	if err != nil || handed == nil {
		return false, err
	}
	patch := []map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": handed},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()},
	}
	if to.operation == metav1.ManagedFieldsOperationUpdate {
		before, err := configuration(object, alone)
		if err != nil {
			return false, err
		}
		if annotationsSize(object, before) > annotationsLimit {
			r.Warn(fmt.Sprintf("%s was applied server-side before and has too many fields to compare: what the manifest no longer has stays", info.ObjectName()))
			return false, nil
		}
		name := strings.ReplaceAll(corev1.LastAppliedConfigAnnotation, "/", "~1")
		patch = slices.Insert(patch, 0, map[string]any{"op": "add", "path": "/metadata/annotations/" + name, "value": string(before)})
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return false, err
	}
	if _, err := helper.Patch(info.Namespace, info.Name, types.JSONPatchType, body, nil); err != nil {
		return false, err
	}
	if !to.clientSide {
		r.Warn(fmt.Sprintf("%s was applied server-side under another name before; its fields belong to %q now", info.ObjectName(), to.manager))
	}
	return true, nil
}

// configuration is the part of an object that a set of fields makes, as kubectl would have written it down. It says what there was, for
// the next apply to remove: long values are of no use for that and would not fit.
func configuration(object *unstructured.Unstructured, fields *fieldpath.Set) ([]byte, error) {
	part, _ := shortened(owned(object.Object, fields)).(map[string]any)
	u := &unstructured.Unstructured{Object: part}
	u.SetAPIVersion(object.GetAPIVersion())
	u.SetKind(object.GetKind())
	u.SetName(object.GetName())
	if object.GetNamespace() != "" {
		u.SetNamespace(object.GetNamespace())
	}
	return json.Marshal(u.Object)
}
