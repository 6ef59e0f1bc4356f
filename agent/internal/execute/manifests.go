package execute

import (
	"bytes"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/scheme"
	"k8s.io/kubectl/pkg/util"
	"k8s.io/kubectl/pkg/validation"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// source is how kubectl calls its standard input.
const source = "STDIN"

// read reads manifests as kubectl reads its standard input. Whether the API server can be reached at all is found out first:
// kubectl's text would be about validation then.
func (r *run) read(manifests []byte, namespace, selector string) (*resource.Result, error) {
	if _, err := r.ToDiscoveryClient(); err != nil {
		return nil, err
	}
	b := resource.NewBuilder(r).
		Unstructured().
		Schema(serverValidates()).
		ContinueOnError().
		NamespaceParam(r.namespaceOr(namespace)).DefaultNamespace().
		Stream(bytes.NewReader(manifests), source).
		LabelSelectorParam(selector).
		Flatten()
	if namespace != "" {
		b = b.RequireNamespace()
	}
	result := b.Do()
	return result, result.Err()
}

// serverValidates checks that a manifest says what it is, and leaves the rest to the API server's field validation, which
// kubectl uses since Kubernetes 1.25 too.
func serverValidates() validation.Schema {
	return validation.NewParamVerifyingSchema(validation.NoDoubleKeySchema{}, supported{}, metav1.FieldValidationStrict)
}

type supported struct{}

func (supported) HasSupport(schema.GroupVersionKind) error { return nil }

// create makes objects anew. Each one's JSON is printed by itself.
func (r *run) create(op *linkv1.Create) error {
	result, err := r.read(op.GetManifests(), op.GetNamespace(), op.GetLabelSelector())
	if err != nil {
		return err
	}
	manager := op.GetFieldManager()
	if manager == "" {
		manager = "kubectl-create"
	}
	count, record := 0, recorder(op.GetChangeCause())
	err = result.Visit(func(info *resource.Info, err error) error {
		if err != nil {
			return err
		}
		if err := util.CreateOrUpdateAnnotation(false, info.Object, scheme.DefaultJSONEncoder()); err != nil {
			return cmdutil.AddSourceToErr("creating", info.Source, err)
		}
		if err := record.Record(info.Object); err != nil {
			return cmdutil.AddSourceToErr("creating", info.Source, err)
		}
		object, err := r.helper(info, manager).Create(info.Namespace, true, info.Object)
		if err != nil {
			return cmdutil.AddSourceToErr("creating", info.Source, err)
		}
		count++
		return r.print(object)
	})
	if err == nil && count == 0 {
		return errors.New("no objects passed to create")
	}
	return err
}

// replace overwrites objects that are there; one that is not stays NotFound.
func (r *run) replace(op *linkv1.Replace) error {
	result, err := r.read(op.GetManifests(), op.GetNamespace(), "")
	if err != nil {
		return err
	}
	manager := op.GetFieldManager()
	if manager == "" {
		manager = "kubectl-replace"
	}
	record := recorder(op.GetChangeCause())
	return result.Visit(func(info *resource.Info, err error) error {
		if err != nil {
			return err
		}
		if err := util.CreateOrUpdateAnnotation(false, info.Object, scheme.DefaultJSONEncoder()); err != nil {
			return cmdutil.AddSourceToErr("replacing", info.Source, err)
		}
		if err := record.Record(info.Object); err != nil {
			return cmdutil.AddSourceToErr("replacing", info.Source, err)
		}
		object, err := r.helper(info, manager).Replace(info.Namespace, info.Name, true, info.Object)
		if err != nil {
			return cmdutil.AddSourceToErr("replacing", info.Source, err)
		}
		return r.print(object)
	})
}

func (r *run) helper(info *resource.Info, manager string) *resource.Helper {
	return resource.NewHelper(info.Client, info.Mapping).
		WithFieldManager(manager).
		WithFieldValidation(metav1.FieldValidationStrict)
}

// objectsOf returns the present objects of infos.
func objectsOf(infos []*resource.Info) []runtime.Object {
	objects := make([]runtime.Object, 0, len(infos))
	for _, info := range infos {
		objects = append(objects, info.Object)
	}
	return objects
}
