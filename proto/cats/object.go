package cats

import (
	"errors"
	"fmt"
	"slices"
)

// object is what the format reads of a Kubernetes object. Its strings and maps belong to the caller.
type object struct {
	key         Key
	apiVersion  string
	raw, meta   map[string]any
	annotations map[string]any
	moniker     moniker
	// What the object itself names: these stand inline in its body.
	owners   []Key
	involved Key // an event's subject; zero Key for none
	// Application and cluster, if the object is a member; zero Key otherwise.
	app, cluster Key
	// Services that an ingress or stateful set names, in its namespace.
	services []string
	// A service's selector, or the labels of a replica set's pod template: hashes of namespace, key and value, sorted.
	selector, labels []uint64
}

// KeyOf returns the key of a Kubernetes object's row.
func KeyOf(obj map[string]any) (Key, error) {
	kind, _ := obj["kind"].(string)
	if kind == "" {
		return Key{}, errors.New("object has no kind")
	}
	apiVersion, _ := obj["apiVersion"].(string)
	if apiVersion == "" {
		return Key{}, fmt.Errorf("object of kind %q has no apiVersion", kind)
	}
	meta, _ := obj["metadata"].(map[string]any)
	if meta == nil {
		return Key{}, fmt.Errorf("object of kind %q has no metadata", kind)
	}
	name, _ := meta["name"].(string)
	if name == "" {
		return Key{}, fmt.Errorf("object of kind %q has no metadata.name", kind)
	}
	t := TypeOf(apiVersion, kind)
	if t.logical() {
		return Key{}, fmt.Errorf("kind %q has the name of one of Clouddriver's own tables", kind)
	}
	namespace, _ := meta["namespace"].(string)
	return Key{Type: t, Scope: namespace, Name: name}, nil
}

func (inv *Inventory) parse(obj map[string]any) (*object, error) {
	key, err := KeyOf(obj)
	if err != nil {
		return nil, err
	}
	o := &inv.object
	*o = object{
		key: key, raw: obj, owners: o.owners[:0], services: o.services[:0],
		selector: o.selector[:0], labels: o.labels[:0],
	}
	o.apiVersion, _ = obj["apiVersion"].(string)
	o.meta, _ = obj["metadata"].(map[string]any)
	annotations, ok := o.meta["annotations"].(map[string]any)
	if !ok && o.meta["annotations"] != nil {
		return nil, fmt.Errorf("%s: metadata.annotations is %T, not a map", key, o.meta["annotations"])
	}
	o.annotations = annotations
	o.moniker = monikerOf(key.Type, key.Name, annotations)
	if err := o.readOwners(); err != nil {
		return nil, err
	}
	o.readMembership(inv.options.AllApplicationRelationships)
	o.readReferences()
	return o, nil
}

// readOwners follows KubernetesCacheDataConverter.ownerReferenceRelationships: owners are looked for in the object's
// own namespace, also those that have none.
func (o *object) readOwners() error {
	references, ok := o.meta["ownerReferences"].([]any)
	if !ok && o.meta["ownerReferences"] != nil {
		return fmt.Errorf("%s: metadata.ownerReferences is %T, not a list", o.key, o.meta["ownerReferences"])
	}
	for _, r := range references {
		reference, _ := r.(map[string]any)
		apiVersion, _ := reference["apiVersion"].(string)
		kind, _ := reference["kind"].(string)
		name, _ := reference["name"].(string)
		owner := Key{Type: TypeOf(apiVersion, kind), Scope: o.key.Scope, Name: name}
		if !owner.Type.logical() && !slices.Contains(o.owners, owner) {
			o.owners = append(o.owners, owner)
		}
	}
	return nil
}

// readMembership follows KubernetesCacheDataConverter.addLogicalRelationships.
func (o *object) readMembership(all bool) {
	kind := o.key.Type.SpinnakerKind()
	group := kind == ServerGroups || kind == ServerGroupManagers
	if !all && !group && kind != LoadBalancers && kind != SecurityGroups {
		return
	}
	app, cluster := o.moniker.app.value, o.moniker.cluster.value
	if app == "" {
		return
	}
	o.app = Key{Type: Applications, Name: app}
	if group && cluster != "" {
		o.cluster = Key{Type: Clusters, Scope: app, Name: cluster}
	}
}

// readReferences reads what the handlers of Clouddriver's kinds relate (their addRelationships).
func (o *object) readReferences() {
	spec, _ := o.raw["spec"].(map[string]any)
	switch o.key.Type {
	case service:
		selector, _ := spec["selector"].(map[string]any)
		o.selector = hashLabels(o.selector, o.key.Scope, selector)
	case replicaSet:
		template, _ := spec["template"].(map[string]any)
		meta, _ := template["metadata"].(map[string]any)
		labels, _ := meta["labels"].(map[string]any)
		o.labels = hashLabels(o.labels, o.key.Scope, labels)
	case statefulSet:
		o.addService(spec["serviceName"])
	case ingress:
		o.readIngress(spec)
	case event:
		o.readInvolved()
	}
}

// readIngress reads the shapes of networking.k8s.io/v1 and of the versions before it.
func (o *object) readIngress(spec map[string]any) {
	o.addBackend(spec["defaultBackend"])
	o.addBackend(spec["backend"])
	rules, _ := spec["rules"].([]any)
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		http, _ := rule["http"].(map[string]any)
		paths, _ := http["paths"].([]any)
		for _, p := range paths {
			path, _ := p.(map[string]any)
			o.addBackend(path["backend"])
		}
	}
}

// addBackend adds the service of a backend; one that names another resource has none.
func (o *object) addBackend(v any) {
	backend, _ := v.(map[string]any)
	s, _ := backend["service"].(map[string]any)
	o.addService(s["name"])
	o.addService(backend["serviceName"])
}

func (o *object) addService(v any) {
	if name, _ := v.(string); name != "" && !slices.Contains(o.services, name) {
		o.services = append(o.services, name)
	}
}

// readInvolved follows KubernetesEventHandler: the subject is looked for in the event's namespace.
func (o *object) readInvolved() {
	reference, _ := o.raw["involvedObject"].(map[string]any)
	apiVersion, _ := reference["apiVersion"].(string)
	kind, _ := reference["kind"].(string)
	name, _ := reference["name"].(string)
	if apiVersion == "" || kind == "" || name == "" {
		return
	}
	involved := Key{Type: TypeOf(apiVersion, kind), Scope: o.key.Scope, Name: name}
	if !involved.Type.logical() && !slices.Contains(o.owners, involved) {
		o.involved = involved
	}
}
