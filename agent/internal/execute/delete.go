package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/resource"
)

var propagations = map[string]metav1.DeletionPropagation{
	"": metav1.DeletePropagationBackground, "background": metav1.DeletePropagationBackground,
	"foreground": metav1.DeletePropagationForeground, "orphan": metav1.DeletePropagationOrphan,
}

// doomed is an object whose deletion was accepted.
type doomed struct {
	info *resource.Info
	// uid is "" when the API server did not tell it.
	uid types.UID
}

// delete asks for the deletion of an object, or of all that a selector finds, and waits until they are gone.
func (r *run) delete(op *linkv1.Delete) error {
	policy, known := propagations[strings.ToLower(op.GetCascade())]
	if !known {
		return fmt.Errorf(`invalid cascade value (%s). Must be "background", "foreground", or "orphan"`, op.GetCascade())
	}
	options := metav1.DeleteOptions{PropagationPolicy: &policy}
	if grace := op.GetGracePeriodSeconds(); grace >= 0 {
		options.GracePeriodSeconds = &grace
	}
	infos, err := r.targets(op)
	if err != nil {
		return err
	}
	var all []doomed
	var errs []error
	for _, info := range infos {
		uid, err := r.deleteOne(info, options)
		switch {
		case apierrors.IsNotFound(err) && op.GetIgnoreNotFound():
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, doomed{info, uid})
			r.effects = append(r.effects, effect(info))
		}
	}
	if err := aggregate(errs); err != nil {
		return err // as kubectl: what failed is told at once
	}
	if !op.GetWait() {
		return nil
	}
	for _, d := range all {
		err := r.awaitGone(d)
		if apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
			continue // it may delete but not look: the deletion itself was accepted
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// targets finds what is to be deleted, in the API server's order.
func (r *run) targets(op *linkv1.Delete) ([]*resource.Info, error) {
	mapping, err := r.Mapping(op.GetKind())
	if err != nil {
		return nil, err
	}
	client, err := r.REST(mapping.GroupVersionKind.GroupVersion())
	if err != nil {
		return nil, err
	}
	if op.GetName() == "" && strings.TrimSpace(op.GetLabelSelector()) == "" {
		return nil, errors.New("resource(s) were provided, but no name was specified")
	}
	namespace := r.namespaceFor(mapping, op.GetNamespace())
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace && op.GetNamespace() != "" {
		r.Warn("deleting cluster-scoped resources, not scoped to the provided namespace")
	}
	if op.GetName() != "" {
		return []*resource.Info{{Client: client, Mapping: mapping, Namespace: namespace, Name: op.GetName()}}, nil
	}
	var infos []*resource.Info
	selected := &linkv1.List{Namespace: op.GetNamespace(), LabelSelector: op.GetLabelSelector()}
	err = r.listKind(mapping, selected, func(object map[string]any) error {
		u := &unstructured.Unstructured{Object: object}
		infos = append(infos, &resource.Info{Client: client, Mapping: mapping, Namespace: u.GetNamespace(), Name: u.GetName()})
		return nil
	})
	return infos, err
}

func (r *run) deleteOne(info *resource.Info, options metav1.DeleteOptions) (types.UID, error) {
	answer, err := resource.NewHelper(info.Client, info.Mapping).DeleteWithOptions(info.Namespace, info.Name, &options)
	if err != nil {
		return "", err
	}
	if status, ok := answer.(*metav1.Status); ok {
		if status.Details != nil {
			return status.Details.UID, nil
		}
		return "", nil
	}
	return uidOf(answer), nil
}

func uidOf(object runtime.Object) types.UID {
	if m, err := meta.Accessor(object); err == nil {
		return m.GetUID()
	}
	return ""
}

// effect is what kubectl prints of a deletion.
func effect(info *resource.Info) *linkv1.Effect {
	kind := info.Mapping.GroupVersionKind
	name := strings.ToLower(kind.Kind)
	if kind.Group != "" {
		name += "." + kind.Group
	}
	return &linkv1.Effect{Resource: name, Name: info.Name, Namespace: info.Namespace, Verb: "deleted"}
}

// rewatch is the pause before a watch that broke is tried again.
const rewatch = time.Second

// awaitGone returns when the object is gone, or another one has its name.
func (r *run) awaitGone(d doomed) error {
	helper := resource.NewHelper(d.info.Client, d.info.Mapping)
	for {
		object, err := helper.Get(d.info.Namespace, d.info.Name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case d.uid != "" && uidOf(object) != d.uid:
			return nil
		}
		gone, err := r.watchUntilGone(d, object)
		switch {
		case gone:
			return nil
		case r.ctx.Err() != nil:
			return context.Cause(r.ctx)
		case apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err):
			return err
		}
		if err := pause(r.ctx, rewatch); err != nil {
			return err
		}
	}
}

// watchUntilGone watches from the state that object shows. False without an error: the watch ended, look again.
func (r *run) watchUntilGone(d doomed, object runtime.Object) (bool, error) {
	m, err := meta.Accessor(object)
	if err != nil {
		return false, err
	}
	client, err := r.REST(d.info.Mapping.GroupVersionKind.GroupVersion())
	if err != nil {
		return false, err
	}
	timeout := int64((5 * time.Minute).Seconds())
	w, err := client.Get().
		NamespaceIfScoped(d.info.Namespace, d.info.Mapping.Scope.Name() == meta.RESTScopeNameNamespace).
		Resource(d.info.Mapping.Resource.Resource).
		VersionedParams(&metav1.ListOptions{
			Watch: true, ResourceVersion: m.GetResourceVersion(), TimeoutSeconds: &timeout,
			FieldSelector: fields.OneTermEqualSelector("metadata.name", d.info.Name).String(),
		}, metav1.ParameterCodec).
		Watch(r.ctx)
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return false, context.Cause(r.ctx)
		case e, open := <-w.ResultChan():
			switch {
			case !open || e.Type == watch.Error:
				return false, nil
			case e.Type == watch.Deleted:
				return true, nil
			case d.uid != "" && uidOf(e.Object) != d.uid:
				return true, nil
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
