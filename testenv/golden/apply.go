package golden

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

//go:embed corpus/*.yaml
var corpus embed.FS

// fillLabel asks for so many characters of data, for objects too big to read in a corpus.
const fillLabel = "golden.example.com/fill"

// Corpus returns the objects to create, in order.
func Corpus() ([]*unstructured.Unstructured, error) {
	return Objects(corpus, "corpus/*.yaml")
}

// Objects reads the objects of the YAML files that match the pattern, in order.
func Objects(files fs.FS, pattern string) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range names {
		file, err := files.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if len(object.Object) > 0 {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}

// Cluster is a client for all kinds of one API server.
type Cluster struct {
	dynamic   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
}

// OpenCluster returns a client with the rights of a kubeconfig.
func OpenCluster(kubeconfig string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 400, 800
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	plain, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(plain)
	return &Cluster{client, cached, restmapper.NewDeferredDiscoveryRESTMapper(cached)}, nil
}

// Client returns a client of one kind, in a namespace where the kind has those.
func (c *Cluster) Client(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	var mapping *meta.RESTMapping
	// A custom resource definition takes a moment until its kind is served.
	err := retry(ctx, func() (err error) {
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if meta.IsNoMatchError(err) {
			c.mapper.Reset()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// Create creates objects; those that exist already stay as they are. An owner's uid is written uid:KIND/NAMESPACE/NAME.
func (c *Cluster) Create(ctx context.Context, objects []*unstructured.Unstructured) error {
	uids := make(map[string]string)
	for pending := objects; len(pending) > 0; {
		var later []*unstructured.Unstructured
		for _, object := range pending {
			object = object.DeepCopy()
			if !resolveOwners(object, uids) {
				later = append(later, object)
				continue
			}
			fill(object)
			created, err := c.create(ctx, object)
			if err != nil {
				return fmt.Errorf("create %s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
			}
			uids[created.GetKind()+"/"+created.GetNamespace()+"/"+created.GetName()] = string(created.GetUID())
		}
		if len(later) == len(pending) {
			return fmt.Errorf("owner of %s %s is not in the corpus", later[0].GetKind(), later[0].GetName())
		}
		pending = later
	}
	return nil
}

func (c *Cluster) create(ctx context.Context, object *unstructured.Unstructured) (created *unstructured.Unstructured, err error) {
	client, err := c.Client(ctx, object.GroupVersionKind(), object.GetNamespace())
	if err != nil {
		return nil, err
	}
	// A new namespace has no service account for the first moment, which pods need.
	err = retry(ctx, func() error {
		created, err = client.Create(ctx, object, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			created, err = client.Get(ctx, object.GetName(), metav1.GetOptions{})
		}
		return err
	})
	return created, err
}

func resolveOwners(object *unstructured.Unstructured, uids map[string]string) bool {
	owners, _, _ := unstructured.NestedSlice(object.Object, "metadata", "ownerReferences")
	for _, o := range owners {
		owner, _ := o.(map[string]any)
		uid, _ := owner["uid"].(string)
		name, ok := strings.CutPrefix(uid, "uid:")
		if !ok {
			continue
		}
		if uids[name] == "" {
			return false
		}
		owner["uid"] = uids[name]
	}
	if len(owners) > 0 {
		_ = unstructured.SetNestedSlice(object.Object, owners, "metadata", "ownerReferences")
	}
	return true
}

// fill adds data that does not compress and is the same in each recording.
func fill(object *unstructured.Unstructured) {
	size, _ := strconv.Atoi(object.GetLabels()[fillLabel])
	if size == 0 {
		return
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	var text strings.Builder
	for text.Len() < size {
		text.WriteRune(rune(' ' + random.IntN(0x17f-' ')))
	}
	_ = unstructured.SetNestedField(object.Object, text.String(), "data", "text")
}

// retry repeats what may fail for a moment, for half a minute.
func retry(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if err == nil || apierrors.IsInvalid(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}
