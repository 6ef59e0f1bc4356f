package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/proto/cats"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	kjson "sigs.k8s.io/json"
)

// few is up to how many objects are read one by one: a listing of a page costs about as much as that.
const few = 20

// ErrHidden says that an object is there and the account's filters hide it.
var ErrHidden = errors.New("the account does not show this object")

// Fetch reads objects of a kind again and calls each once for every key: with the object, or with why there is none
// (apierrors.IsNotFound, ErrHidden, or what the API server said). A few are read one by one, many by a listing. It ends with
// the first error of each, or when a listing fails.
func (c *Cluster) Fetch(ctx context.Context, t cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error {
	mapping, err := c.kinds.resolve(ctx, string(t), nil)
	if err != nil {
		return err
	}
	client, err := requests(ctx, c.connection)
	if err != nil {
		return err
	}
	f := &fetch{cluster: c, client: client, mapping: mapping, filter: c.filter(), each: each}
	if len(keys) <= few {
		return f.single(ctx, keys)
	}
	return f.many(ctx, keys)
}

// errAllFound ends a listing of which the rest is not wanted.
var errAllFound = errors.New("all objects were found")

type fetch struct {
	cluster *Cluster
	client  *rest.RESTClient
	mapping *meta.RESTMapping
	filter  filter
	each    func(cats.Key, map[string]any, error) error
}

func (f *fetch) single(ctx context.Context, keys []cats.Key) error {
	for _, key := range keys {
		src := source{client: f.client, mapping: f.mapping, namespace: key.Scope}
		raw, err := src.request("").Name(key.Name).Do(ctx).Raw()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f.hand(key, raw, err); err != nil {
			return err
		}
	}
	return nil
}

// hand decodes and filters one answer.
func (f *fetch) hand(key cats.Key, raw []byte, err error) error {
	if err != nil {
		return f.each(key, nil, err)
	}
	object, err := decodeForInventory(raw, f.mapping.GroupVersionKind)
	switch {
	case err != nil:
		return f.each(key, nil, err)
	case !f.filter.shows(object):
		return f.each(key, nil, ErrHidden)
	default:
		return f.each(key, object, nil)
	}
}

func (f *fetch) many(ctx context.Context, keys []cats.Key) error {
	release, err := f.cluster.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	// Per namespace: an account that is bound to some may not list all.
	wanted := map[string]map[string]cats.Key{}
	for _, key := range keys {
		namespace := key.Scope
		if len(f.cluster.account.Namespaces) == 0 {
			namespace = ""
		}
		if wanted[namespace] == nil {
			wanted[namespace] = map[string]cats.Key{}
		}
		wanted[namespace][key.Path()] = key
	}
	for namespace, keys := range wanted {
		src := source{client: f.client, mapping: f.mapping, namespace: namespace}
		_, _, err := src.list(ctx, func() {}, func(raw []byte) error { return f.pick(keys, raw) })
		if errors.Is(err, errAllFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list %s again: %w", f.mapping.Resource.Resource, err)
		}
		for _, key := range keys {
			gone := apierrors.NewNotFound(f.mapping.Resource.GroupResource(), key.Name)
			if err := f.each(key, nil, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick hands one object of a listing on if it is wanted, and takes it from those that are. Most may not be: their names are read, no more.
func (f *fetch) pick(keys map[string]cats.Key, raw []byte) error {
	var named struct {
		Metadata struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &named); err != nil {
		return nil //nolint:nilerr // not one of the keys, or reported as missing afterwards
	}
	path := cats.Key{Scope: named.Metadata.Namespace, Name: named.Metadata.Name}.Path()
	key, ok := keys[path]
	if !ok {
		return nil
	}
	object, err := decodeForInventory(raw, f.mapping.GroupVersionKind)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	delete(keys, path)
	if f.filter.shows(object) {
		err = f.each(key, object, nil)
	} else {
		err = f.each(key, nil, ErrHidden)
	}
	if err == nil && len(keys) == 0 {
		return errAllFound
	}
	return err
}
