package execute

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/restmapper"
)

func (r *run) get(op *linkv1.Get) error {
	return r.served(op.GetKind(), func(mapping *meta.RESTMapping) error {
		client, err := r.REST(mapping.GroupVersionKind.GroupVersion())
		if err != nil {
			return err
		}
		info := &resource.Info{Client: client, Mapping: mapping, Namespace: r.namespaceFor(mapping, op.GetNamespace()), Name: op.GetName()}
		if err := info.Get(); err != nil { // tells when it is the namespace that is not there
			return err
		}
		return r.print(info.Object)
	})
}

// served resolves a kind and does something with it. What is known of the kinds may be a moment old: if the API server has no such
// place any more, it is done once more with what the kind is now, or the kind is said to be gone.
func (r *run) served(token string, do func(*meta.RESTMapping) error) error {
	mapping, err := r.Mapping(token)
	if err != nil {
		return err
	}
	return r.stillServed(token, mapping, do)
}

func (r *run) stillServed(token string, mapping *meta.RESTMapping, do func(*meta.RESTMapping) error) error {
	failed := do(mapping)
	if !noSuchPlace(failed) {
		return failed
	}
	now, err := r.Recheck(token, mapping)
	switch {
	case err != nil:
		return err
	case now.Resource == mapping.Resource:
		return failed
	default:
		return do(now)
	}
}

// noSuchPlace tells whether the API server does not know the path, as opposed to the object.
func noSuchPlace(err error) bool {
	if !apierrors.IsNotFound(err) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
}

// namespaceFor is "" for kinds that live in no namespace.
func (r *run) namespaceFor(mapping *meta.RESTMapping, namespace string) string {
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return ""
	}
	return r.namespaceOr(namespace)
}

// chunk is kubectl's --chunk-size.
const chunk = 500

// list streams the objects of all kinds as one v1 List, kind after kind as they were asked for. Like kubectl it goes on after
// a kind that fails, so that what can be read is there beside the error.
func (r *run) list(op *linkv1.List) error {
	mappings, err := r.mappings(op.GetKinds())
	if err != nil {
		return err
	}
	items := &items{output: r.output, metadata: `{"resourceVersion":""}`}
	var errs []error
	for _, m := range mappings {
		err := r.stillServed(m.Resource.GroupResource().String(), m, func(m *meta.RESTMapping) error { return r.listKind(m, op, items.write) })
		var broken *outputError
		if r.ctx.Err() != nil || errors.As(err, &broken) {
			return err
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if err := items.end(); err != nil {
		return err
	}
	return aggregate(errs)
}

func (r *run) listKind(mapping *meta.RESTMapping, op *linkv1.List, item func(map[string]any) error) error {
	options := metav1.ListOptions{LabelSelector: op.GetLabelSelector(), FieldSelector: op.GetFieldSelector(), Limit: chunk}
	client, err := r.REST(mapping.GroupVersionKind.GroupVersion())
	if err != nil {
		return err
	}
	for {
		body, err := client.Get().
			NamespaceIfScoped(r.namespaceFor(mapping, op.GetNamespace()), mapping.Scope.Name() == meta.RESTScopeNameNamespace).
			Resource(mapping.Resource.Resource).
			VersionedParams(&options, metav1.ParameterCodec).
			Stream(r.ctx)
		if err != nil {
			return resource.EnhanceListError(err, options, mapping.Resource.String())
		}
		page, err := readPage(body, mapping.GroupVersionKind, item)
		if err != nil {
			return err
		}
		if page.Continue == "" {
			return nil
		}
		options.Continue = page.Continue
	}
}

func readPage(body io.ReadCloser, kind schema.GroupVersionKind, item func(map[string]any) error) (cluster.Page, error) {
	defer func() { _ = body.Close() }()
	return cluster.ReadList(body, func(raw []byte) error {
		object, err := cluster.DecodeItem(raw, kind)
		if err != nil {
			return err
		}
		return item(object)
	})
}

// mappings resolves the kinds, categories ("all") included, each once and in order.
func (r *run) mappings(tokens []string) ([]*meta.RESTMapping, error) {
	discovery, err := r.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	categories := restmapper.NewDiscoveryCategoryExpander(discovery)
	var mappings []*meta.RESTMapping
	seen := map[schema.GroupVersionKind]bool{}
	for _, token := range tokens {
		expanded := []string{token}
		if resources, ok := categories.Expand(token); ok {
			expanded = expanded[:0]
			for _, resource := range resources {
				expanded = append(expanded, resource.String())
			}
		}
		for _, t := range expanded {
			m, err := r.Mapping(t)
			if err != nil {
				return nil, err
			}
			if !seen[m.GroupVersionKind] {
				seen[m.GroupVersionKind] = true
				mappings = append(mappings, m)
			}
		}
	}
	if len(mappings) == 0 {
		return nil, fmt.Errorf("you must specify the type of resource to get")
	}
	return mappings, nil
}
