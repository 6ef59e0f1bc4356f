package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// facts collects what is known of a cluster apart from its inventory, and tells the sink when it changed.
type facts struct {
	account string
	// dirty has room for one: something changed.
	dirty chan struct{}

	mu sync.Mutex
	// missing are the things that are still being looked for.
	missing    map[string]bool
	version    string
	namespaces []string
	custom     []*linkv1.CustomResource
	// problems by where they come from.
	problems map[string]string
}

func newFacts(account string) *facts {
	return &facts{account: account, dirty: make(chan struct{}, 1), problems: map[string]string{}, missing: map[string]bool{}}
}

// tellable: everything was looked for, or there is a problem to tell. Until then silence is better than a list that is empty
// because nobody has looked.
func (f *facts) tellable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.missing) == 0 || len(f.problems) > 0
}

// set changes something under the lock.
func (f *facts) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

func (f *facts) problem(source, text string) {
	f.set(func() {
		if text == "" {
			delete(f.problems, source)
		} else {
			f.problems[source] = text
		}
	})
}

func (f *facts) get() *linkv1.Facts {
	f.mu.Lock()
	defer f.mu.Unlock()
	problems := make([]string, 0, len(f.problems))
	for _, source := range slices.Sorted(maps.Keys(f.problems)) {
		problems = append(problems, f.problems[source])
	}
	return &linkv1.Facts{
		Account: f.account, Namespaces: f.namespaces, CustomResources: f.custom, ServerVersion: f.version,
		Problem: strings.Join(problems, "; "),
	}
}

// run tells the sink what changed, settle after it did so that swarms become one.
func (f *facts) run(ctx context.Context, sink Sink, settle time.Duration) {
	var told *linkv1.Facts
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.dirty:
		}
		if !pause(ctx, settle) {
			return
		}
		if now := f.get(); f.tellable() && !proto.Equal(now, told) {
			told = now
			sink.Facts(proto.CloneOf(now))
		}
	}
}

// names is a Sink that keeps the names of one kind's objects.
type names struct {
	changed func(all []string)
	refused func(reason string)

	mu      sync.Mutex
	set     map[string]bool
	listing map[string]bool
}

func (n *names) Begin(cats.Type) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listing = map[string]bool{}
}

func (n *names) Put(_ context.Context, object map[string]any) error {
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	n.mu.Lock()
	if n.listing != nil {
		n.listing[name] = true
		n.mu.Unlock()
		return nil
	}
	n.set[name] = true
	n.mu.Unlock()
	n.tell()
	return nil
}

func (n *names) Delete(_ context.Context, key cats.Key) error {
	n.mu.Lock()
	delete(n.set, key.Name)
	delete(n.listing, key.Name)
	n.mu.Unlock()
	n.tell()
	return nil
}

func (n *names) Live(cats.Type) {
	n.mu.Lock()
	if n.listing != nil {
		n.set, n.listing = n.listing, nil
	}
	n.mu.Unlock()
	n.tell()
}

func (n *names) Drop(_ cats.Type, reason string) { n.refused(reason) }

func (n *names) Facts(*linkv1.Facts) {}

func (n *names) Watches([]cats.Type) {}

func (n *names) tell() {
	n.mu.Lock()
	all, listing := slices.Sorted(maps.Keys(n.set)), n.listing != nil
	n.mu.Unlock()
	if !listing {
		n.changed(all)
	}
}

var (
	namespaceResource  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// customResources turns the names of definitions ("crontabs.stable.example.com") into kinds. missing: some are not served yet.
func (c *catalog) customResources(definitions []string) (custom []*linkv1.CustomResource, missing bool) {
	for _, name := range definitions {
		plural, group, _ := strings.Cut(name, ".")
		gvr, err := c.mapper.ResourceFor(schema.GroupVersionResource{Group: group, Resource: plural})
		if err != nil {
			missing = true
			continue
		}
		for _, list := range c.resources {
			if list.GroupVersion != gvr.GroupVersion().String() {
				continue
			}
			for _, r := range list.APIResources {
				if r.Name == gvr.Resource {
					custom = append(custom, &linkv1.CustomResource{KubernetesKind: r.Kind + "." + group, Namespaced: r.Namespaced})
				}
			}
		}
	}
	slices.SortFunc(custom, func(a, b *linkv1.CustomResource) int { return strings.Compare(a.KubernetesKind, b.KubernetesKind) })
	return custom, missing
}

func (r *running) readVersion(ctx context.Context) {
	c := r.cluster
	client, err := discovery.NewDiscoveryClientForConfig(c.connection.forInventory(ctx))
	if err != nil {
		return
	}
	version, err := client.ServerVersionWithContext(ctx)
	if err != nil {
		c.log.Debug("version of the API server", "error", err)
		return
	}
	c.facts.set(func() { c.facts.version = version.GitVersion })
}

// readDefinitions tells which custom kinds there are; true: some are defined and not served yet.
func (r *running) readDefinitions(catalog *catalog) bool {
	c := r.cluster
	if c.account.OnlyNamespaced {
		return false
	}
	c.mu.Lock()
	definitions, known := c.definitions, c.definitionsKnown
	c.mu.Unlock()
	if !known {
		return false
	}
	custom, missing := catalog.customResources(definitions)
	c.facts.set(func() {
		c.facts.custom = custom
		delete(c.facts.missing, "definitions")
	})
	return missing
}

// ensureFacts watches namespaces and definitions, as far as the configuration does not say them.
func (r *running) ensureFacts(ctx context.Context, catalog *catalog) {
	c := r.cluster
	if r.namespaces == nil && len(c.account.Namespaces) == 0 {
		r.namespaces = r.watchNames(ctx, catalog, namespaceResource, &names{
			changed: func(all []string) {
				all = slices.DeleteFunc(all, func(n string) bool { return slices.Contains(c.account.OmitNamespaces, n) })
				c.facts.set(func() { c.facts.namespaces = all; delete(c.facts.missing, "namespaces") })
				c.facts.problem("namespaces", "")
			},
			refused: func(reason string) {
				c.facts.problem("namespaces", "namespaces cannot be listed ("+reason+"); permit it, or list them in the account's namespaces")
			},
		})
	}
	if r.definitions == nil && !c.account.OnlyNamespaced {
		r.definitions = r.watchNames(ctx, catalog, definitionResource, &names{
			changed: func(all []string) {
				c.mu.Lock()
				c.definitions, c.definitionsKnown, c.definitionsRefused = all, true, false
				c.mu.Unlock()
				c.kindsChanged()
			},
			refused: func(reason string) {
				c.log.Info("definitions of custom resources cannot be listed; new ones are noticed late", "reason", reason)
				c.facts.set(func() { delete(c.facts.missing, "definitions") })
				c.mu.Lock()
				c.definitionsRefused = !c.definitionsKnown
				c.mu.Unlock()
				c.kindsChanged()
			},
		})
		if r.definitions == nil && !catalog.failed[definitionResource.Group] {
			c.facts.set(func() { delete(c.facts.missing, "definitions") }) // an API server without custom resources
		}
	}
}

func (r *running) watchNames(ctx context.Context, catalog *catalog, resource schema.GroupVersionResource, sink *names) *runningKind {
	kind, err := catalog.mapper.KindFor(resource)
	if err != nil {
		return nil
	}
	mapping, err := catalog.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil
	}
	t := typeOf(mapping)
	return r.start(ctx, &kindWatch{
		cluster: r.cluster, sink: sink, kind: t, mapping: mapping, namespaces: []string{""}, metadataOnly: true,
		state: r.cluster.stateOf(t + " (names)"), deniedFor: r.cluster.timing.deniedFor / 3, // facts wait for it
	})
}

// ownFacts are those that the configuration says.
func (c *Cluster) ownFacts() {
	c.facts.set(func() {
		c.facts.namespaces = slices.Sorted(slices.Values(c.account.Namespaces))
		if len(c.account.Namespaces) == 0 {
			c.facts.missing["namespaces"] = true
		}
		if !c.account.OnlyNamespaced {
			c.facts.missing["definitions"] = true
		} else {
			for _, k := range c.account.CustomKinds {
				c.facts.custom = append(c.facts.custom, &linkv1.CustomResource{KubernetesKind: k.Kind, Namespaced: k.Namespaced})
			}
			slices.SortFunc(c.facts.custom, func(a, b *linkv1.CustomResource) int { return strings.Compare(a.KubernetesKind, b.KubernetesKind) })
		}
	})
}
