package fakekube

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Cluster is one API server of a fleet.
type Cluster struct {
	// Name is the one that Fleet.Add was given.
	Name   string
	fleet  *Fleet
	faults faults

	mu sync.Mutex
	// kinds by group and plural, in the order in which discovery has them.
	kinds []*kind
	// version of the last change, of any kind.
	version int64
	// created counts objects, for their uids.
	created int
	// bookmarks is the pause between a watch's bookmarks.
	bookmarks time.Duration
	// asked counts requests by verb and plural.
	asked map[[2]string]int
}

// firstVersion of a cluster. It differs from cluster to cluster, so that it shows when one is taken for another.
func firstVersion(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	return 1000 + int64(sum[0])<<8 + int64(sum[1])
}

func newCluster(f *Fleet, name string) *Cluster {
	// A real API server sends a bookmark about every minute.
	c := &Cluster{Name: name, fleet: f, version: firstVersion(name), bookmarks: time.Minute, asked: map[[2]string]int{}, faults: newFaults()}
	for _, r := range builtIn() {
		c.kinds = append(c.kinds, newKind(r, c.version))
	}
	for _, namespace := range []string{"default", "kube-system"} {
		c.mustPut("namespaces", "", namespace, []byte(`{"metadata":{"labels":{"kubernetes.io/metadata.name":`+strconv.Quote(namespace)+`}},"status":{"phase":"Active"}}`))
	}
	return c
}

// Define adds a kind. One of the same group and plural is replaced, and loses its objects.
func (c *Cluster) Define(r Resource) {
	c.Undefine(r.Group, r.Plural)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = append(c.kinds, newKind(r, c.version))
}

// Undefine takes a kind and its objects away; its watches end.
func (c *Cluster) Undefine(group, plural string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = slices.DeleteFunc(c.kinds, func(k *kind) bool {
		if k.resource.Group != group || k.resource.Plural != plural {
			return false
		}
		for _, key := range slices.Clone(k.sorted()) {
			c.version++
			k.remove(key, c.version)
		}
		k.served = false
		k.wake()
		return true
	})
}

// Bookmarks sets the pause between the bookmarks of watches that begin from now on.
func (c *Cluster) Bookmarks(every time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bookmarks = every
}

// Compact forgets what happened before now: watches and continued lists from earlier versions are expired.
func (c *Cluster) Compact() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kinds {
		k.forget(c.version)
	}
}

// Asked is how many requests of a verb ("list", "watch", …) there were for a kind, each page of a list counted.
func (c *Cluster) Asked(verb, plural string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[[2]string{verb, plural}]
}

// Version is the resourceVersion of the last change.
func (c *Cluster) Version() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Put creates an object, or replaces what it is. content is JSON; its metadata need not say name and namespace.
func (c *Cluster) Put(plural, namespace, name string, content []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(plural, namespace, name, content)
}

func (c *Cluster) mustPut(plural, namespace, name string, content []byte) {
	if err := c.Put(plural, namespace, name, content); err != nil {
		panic(err)
	}
}

func (c *Cluster) put(plural, namespace, name string, content []byte) error {
	k := c.find("", plural)
	if k == nil {
		return fmt.Errorf("cluster %s has no %s", c.Name, plural)
	}
	decoded, err := decode(content)
	if err != nil {
		return fmt.Errorf("%s %s: %w", plural, keyOf(namespace, name), err)
	}
	c.store(k, namespace, name, decoded)
	return nil
}

// store keeps content as the next state of an object.
func (c *Cluster) store(k *kind, namespace, name string, content map[string]any) *object {
	c.version++
	o := &object{namespace: namespace, name: name, version: c.version}
	metadata := metadataOf(content)
	created := any(time.Now().UTC().Format(time.RFC3339))
	if was := k.objects[o.key()]; was != nil {
		o.uid, o.round = was.uid, was.round+1
		if was.template == nil {
			stored, _ := decode(was.json)
			created = metadataOf(stored)["creationTimestamp"]
		}
	} else {
		o.uid = c.uid()
	}
	delete(content, "apiVersion")
	delete(content, "kind")
	metadata["name"], metadata["uid"] = name, o.uid
	metadata["resourceVersion"], metadata["creationTimestamp"] = strconv.FormatInt(c.version, 10), created
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	o.json = encode(content)
	k.set(o)
	return o
}

// uid makes one that no other object of the fleet has.
func (c *Cluster) uid() string {
	c.created++
	sum := sha256.Sum256(fmt.Append(nil, c.Name, "\x00", c.created))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// Make creates an object whose JSON a template makes each time, and returns its uid.
func (c *Cluster) Make(plural, namespace, name string, template Template) (uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.find("", plural)
	c.version++
	o := &object{namespace: namespace, name: name, uid: c.uid(), version: c.version, template: template}
	k.set(o)
	return o.uid
}

// Touch changes an object that a template makes: its round becomes the next. False: there is none.
func (c *Cluster) Touch(plural, namespace, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.find("", plural)
	o := k.objects[keyOf(namespace, name)]
	if o == nil {
		return false
	}
	c.version++
	k.set(o.at(c.version, 1))
	return true
}

// Delete removes an object at once. False: there is none.
func (c *Cluster) Delete(plural, namespace, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.find("", plural)
	key := keyOf(namespace, name)
	if k == nil || k.objects[key] == nil {
		return false
	}
	c.version++
	k.remove(key, c.version)
	return true
}

// Count is how many objects of a kind there are.
func (c *Cluster) Count(plural string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.find("", plural); k != nil {
		return len(k.objects)
	}
	return 0
}

// find returns the kind of a group and version ("": of any group that has it), or nil.
func (c *Cluster) find(groupVersion, plural string) *kind {
	for _, k := range c.kinds {
		if k.resource.Plural == plural && (groupVersion == "" || k.resource.groupVersion() == groupVersion) {
			return k
		}
	}
	return nil
}

// hasGroup tells whether there is any kind of a group, whatever the version.
func (c *Cluster) hasGroup(groupVersion string) bool {
	group, _, found := strings.Cut(groupVersion, "/")
	return !found || slices.ContainsFunc(c.resources(), func(r Resource) bool { return r.Group == group })
}

// resources are the kinds that the cluster has now.
func (c *Cluster) resources() []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Resource, 0, len(c.kinds))
	for _, k := range c.kinds {
		list = append(list, k.resource)
	}
	return list
}

// write does the write of a request: what is there, and what is to be. It returns what was written.
func (c *Cluster) write(k *kind, r *request, content map[string]any) (*object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := k.objects[keyOf(r.namespace, r.name)]
	switch {
	case r.verb == "create" && was != nil:
		return nil, apierrors.NewAlreadyExists(k.resource.groupResource(), r.name)
	case r.verb == "create" && r.namespace != "" && c.find("v1", "namespaces").objects[r.namespace] == nil:
		return nil, apierrors.NewNotFound(c.find("v1", "namespaces").resource.groupResource(), r.namespace)
	case r.verb != "create" && was == nil:
		return nil, apierrors.NewNotFound(k.resource.groupResource(), r.name)
	case r.verb == "delete":
		c.version++
		return k.remove(was.key(), c.version), nil
	}
	if version, _ := metadataOf(content)["resourceVersion"].(string); was != nil && version != "" && version != strconv.FormatInt(was.version, 10) {
		return nil, apierrors.NewConflict(k.resource.groupResource(), r.name,
			fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if was != nil && same(was, content) {
		return was, nil
	}
	return c.store(k, r.namespace, r.name, maps.Clone(content)), nil
}

// same tells that a write changes nothing: a real API server does not make a version then.
func same(was *object, content map[string]any) bool {
	if was.template != nil {
		return false
	}
	stored, err := decode(was.json)
	if err != nil {
		return false
	}
	strip := func(content map[string]any) string {
		c := maps.Clone(content)
		delete(c, "apiVersion")
		delete(c, "kind")
		m := maps.Clone(metadataOf(c))
		for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "namespace"} {
			delete(m, field)
		}
		c["metadata"] = m
		return string(encode(c))
	}
	return strip(stored) == strip(content)
}
