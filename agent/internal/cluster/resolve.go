package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// UnknownKindError says that a server has no such kind.
type UnknownKindError struct {
	// Token as it was typed.
	Token string
}

// Error is kubectl's text, without "error: ".
func (e *UnknownKindError) Error() string {
	resource := schema.ParseGroupResource(e.Token)
	if resource.Group != "" {
		return fmt.Sprintf("the server doesn't have a resource type %q in group %q", resource.Resource, resource.Group)
	}
	return fmt.Sprintf("the server doesn't have a resource type %q", resource.Resource)
}

// find resolves a kind as kubectl's command line does: plural, singular or short name or kind, in any case, alone, with
// its group ("deployments.apps") or with version and group ("deployments.v1.apps"). nil: there is none.
func (c *catalog) find(token string, warn func(string)) (*meta.RESTMapping, error) {
	mapper := c.expander(warn)
	versioned, plain := schema.ParseResourceArg(token)
	var kind schema.GroupVersionKind
	if versioned != nil {
		kind, _ = mapper.KindFor(*versioned)
	}
	if kind.Empty() {
		kind, _ = mapper.KindFor(plain.WithVersion(""))
	}
	if !kind.Empty() {
		return mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	versionedKind, plainKind := schema.ParseKindArg(token)
	if versionedKind != nil {
		if m, err := mapper.RESTMapping(versionedKind.GroupKind(), versionedKind.Version); err == nil {
			return m, nil
		}
	}
	m, err := mapper.RESTMapping(plainKind)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	return m, err
}

// resolve finds a kind; when it is not there, discovery is read again once. The error is an *UnknownKindError if the server
// does not have it.
func (h *holder) resolve(ctx context.Context, token string, warn func(string)) (*meta.RESTMapping, error) {
	c, err := h.get(ctx)
	if err != nil {
		return nil, err
	}
	m, err := c.find(token, warn)
	if m != nil || err != nil {
		return m, err
	}
	if fresh, ok := h.afterMiss(ctx, c); ok {
		m, err = fresh.find(token, warn)
	}
	if m == nil && err == nil {
		err = &UnknownKindError{Token: token}
	}
	return m, err
}

// recheck resolves a kind that the server did not serve as was says: its definition may be gone by now, or have another version.
func (h *holder) recheck(ctx context.Context, token string, was *meta.RESTMapping, warn func(string)) (*meta.RESTMapping, error) {
	c, err := h.get(ctx)
	if err != nil {
		return nil, err
	}
	m, err := c.find(token, warn)
	if err == nil && m != nil && m.Resource == was.Resource {
		fresh, ok := h.afterMiss(ctx, c)
		if !ok {
			return was, nil
		}
		m, err = fresh.find(token, warn)
	}
	if m == nil && err == nil {
		err = &UnknownKindError{Token: token}
	}
	return m, err
}

// mapper shows a holder as a RESTMapper that reads discovery again on a miss.
type mapper struct {
	ctx    context.Context
	holder *holder
	warn   func(string)
}

var _ meta.RESTMapper = mapper{}

func again[T any](m mapper, ask func(meta.RESTMapper) (T, error)) (T, error) {
	c, err := m.holder.get(m.ctx)
	if err != nil {
		var none T
		return none, err
	}
	answer, err := ask(c.expander(m.warn))
	if !meta.IsNoMatchError(err) {
		return answer, err
	}
	if fresh, ok := m.holder.afterMiss(m.ctx, c); ok {
		return ask(fresh.expander(m.warn))
	}
	return answer, err
}

func (m mapper) KindFor(r schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	return again(m, func(in meta.RESTMapper) (schema.GroupVersionKind, error) { return in.KindFor(r) })
}

func (m mapper) KindsFor(r schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	return again(m, func(in meta.RESTMapper) ([]schema.GroupVersionKind, error) { return in.KindsFor(r) })
}

func (m mapper) ResourceFor(r schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	return again(m, func(in meta.RESTMapper) (schema.GroupVersionResource, error) { return in.ResourceFor(r) })
}

func (m mapper) ResourcesFor(r schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	return again(m, func(in meta.RESTMapper) ([]schema.GroupVersionResource, error) { return in.ResourcesFor(r) })
}

func (m mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return again(m, func(r meta.RESTMapper) (*meta.RESTMapping, error) { return r.RESTMapping(gk, versions...) })
}

func (m mapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	return again(m, func(r meta.RESTMapper) ([]*meta.RESTMapping, error) { return r.RESTMappings(gk, versions...) })
}

func (m mapper) ResourceSingularizer(resource string) (string, error) {
	return again(m, func(r meta.RESTMapper) (string, error) { return r.ResourceSingularizer(resource) })
}
