package execute

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// getSeveral reads objects by their names. Like kubectl it shows those that it finds beside the errors about others.
func (r *run) getSeveral(op *linkv1.List) error {
	namespace := r.namespaceOr(op.GetNamespace())
	result := r.command("get", namespace).factory.NewBuilder().
		Unstructured().
		NamespaceParam(namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(true, op.GetObjects()...).
		ContinueOnError().
		Latest().
		Flatten().
		Do()
	if err := result.Err(); err != nil {
		return err
	}
	infos, failed := result.Infos()
	items := &items{output: r.output, metadata: `{"resourceVersion":""}`}
	for _, info := range infos {
		u, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("the API server answered with %T instead of an object", info.Object)
		}
		if err := items.write(u.Object); err != nil {
			return err
		}
	}
	if err := items.end(); err != nil {
		return err
	}
	return aggregate([]error{failed})
}
