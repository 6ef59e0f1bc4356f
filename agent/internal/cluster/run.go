package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Run hands what is in the cluster to the sink until ctx ends. It returns when everything that it started has ended; the
// error is nil then.
func (c *Cluster) Run(ctx context.Context, sink Sink) error {
	defer c.connection.routes.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { c.facts.run(ctx, sink, c.timing.settle); return nil })
	g.Go(func() error {
		r := &running{cluster: c, sink: sink, kinds: map[cats.Type]*runningKind{}, dropped: map[cats.Type]string{}}
		r.loop(ctx)
		return nil
	})
	return g.Wait()
}

// running decides which kinds are watched. It belongs to one goroutine.
type running struct {
	cluster *Cluster
	sink    Sink
	kinds   map[cats.Type]*runningKind
	// dropped: why a kind is not watched, as the sink was told; told: the kinds that it was told are.
	dropped map[cats.Type]string
	told    []cats.Type
	// namespaces and definitions feed facts.
	namespaces, definitions *runningKind
}

type runningKind struct {
	mapping *meta.RESTMapping
	cancel  context.CancelFunc
	ended   chan struct{}
}

func (r *runningKind) stop() {
	r.cancel()
	<-r.ended
}

// loop reads discovery, starts and stops watches accordingly, and waits for a reason to do so again.
func (r *running) loop(ctx context.Context) {
	defer r.stopAll()
	c := r.cluster
	retry := backoff{base: c.timing.retry, most: c.timing.mostRetry}
	unserved := backoff{base: c.timing.retry, most: time.Minute}
	for {
		changed := c.kinds.change()
		catalog, err := c.kinds.get(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.reach.failed(err)
			wait := retry.next()
			c.log.Warn("API server cannot be asked for its kinds", "server", c.connection.server, "error", err, "wait", wait)
			if !pause(ctx, wait) {
				return
			}
			continue
		}
		retry.reset()
		c.reach.succeeded()
		r.readVersion(ctx)
		r.reconcile(ctx, catalog)
		again := c.timing.rediscover
		if r.readDefinitions(catalog) {
			again = unserved.next()
		} else {
			unserved.reset()
		}
		if !r.wait(ctx, changed, again) {
			return
		}
	}
}

// wait returns when there is a reason to look at the kinds again; false: ctx ended.
func (r *running) wait(ctx context.Context, changed <-chan struct{}, again time.Duration) bool {
	c := r.cluster
	timer := time.NewTimer(again)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
		return true
	case <-timer.C:
		c.kinds.invalidate()
		return true
	case <-c.poked:
		// Definitions come in swarms, and are served a moment after they were made.
		if !pause(ctx, c.timing.settle) || c.pokes.Wait(ctx) != nil {
			return false
		}
		c.kinds.invalidate()
		return true
	}
}

// kindsChanged says that the API server may have other kinds than before.
func (c *Cluster) kindsChanged() {
	select {
	case c.poked <- struct{}{}:
	default:
	}
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

// wanted are the kinds to watch, as tokens.
func (c *Cluster) wanted() []string {
	tokens := c.account.Kinds
	if len(tokens) == 0 {
		for _, t := range cats.DefaultTypes() {
			tokens = append(tokens, string(t))
		}
	}
	return tokens
}

// reconcile starts what is wanted and there, and stops what is not there any more. The sink is told the kinds before any of
// them begins.
func (r *running) reconcile(ctx context.Context, catalog *catalog) {
	p := r.plan(catalog)
	for t, why := range p.drop {
		r.drop(t, why)
	}
	for t, m := range p.watch {
		if k, ok := r.kinds[t]; ok && k.mapping.Resource != m.Resource {
			k.stop() // another version is preferred now
			delete(r.kinds, t)
		}
	}
	types := slices.Sorted(maps.Keys(p.watch))
	types = append(types, p.unknown...)
	if !slices.Equal(types, r.told) || r.told == nil {
		r.told = types
		r.sink.Watches(slices.Clone(types))
	}
	for t, m := range p.watch {
		if r.kinds[t] != nil {
			continue
		}
		delete(r.dropped, t)
		r.kinds[t] = r.start(ctx, &kindWatch{
			cluster: r.cluster, sink: r.sink, kind: t, mapping: m, namespaces: r.namespacesFor(m), state: r.cluster.stateOf(t),
			deniedFor: r.cluster.timing.deniedFor,
		})
	}
	r.ensureFacts(ctx, catalog)
}

// plan is what discovery makes of the kinds that are wanted.
type plan struct {
	watch map[cats.Type]*meta.RESTMapping
	// drop: why a kind cannot be watched.
	drop map[cats.Type]string
	// unknown kinds belong to a group whose server did not answer: they may be there.
	unknown []cats.Type
}

func (r *running) plan(catalog *catalog) plan {
	p := plan{watch: map[cats.Type]*meta.RESTMapping{}, drop: map[cats.Type]string{}}
	omitted := map[cats.Type]bool{}
	for _, token := range r.cluster.account.OmitKinds {
		omitted[r.typeOf(catalog, token)] = true
	}
	for _, token := range r.cluster.wanted() {
		mapping, err := catalog.find(token, nil)
		if err != nil {
			r.cluster.log.Error("kind cannot be resolved", "kind", token, "error", err)
			continue
		}
		t := r.typeOf(catalog, token)
		switch {
		case omitted[t]:
		case mapping == nil:
			if catalog.failed[groupOf(t)] {
				if r.kinds[t] == nil {
					p.unknown = append(p.unknown, t)
				}
			} else if r.kinds[t] == nil || !catalog.failed[r.kinds[t].mapping.GroupVersionKind.Group] {
				p.drop[t] = "the API server has no such kind; it is watched when it appears"
			}
		case r.unwatchable(catalog, mapping) != "":
			p.drop[t] = r.unwatchable(catalog, mapping)
		default:
			p.watch[t] = mapping
		}
	}
	for t, k := range r.kinds {
		switch {
		case p.watch[t] != nil || p.drop[t] != "":
		case catalog.failed[k.mapping.GroupVersionKind.Group]:
			p.watch[t] = k.mapping
		default:
			p.drop[t] = "the API server has no such kind any more"
		}
	}
	return p
}

func groupOf(t cats.Type) string {
	_, group, _ := strings.Cut(string(t), ".")
	return group
}

func (r *running) unwatchable(catalog *catalog, m *meta.RESTMapping) string {
	if r.cluster.account.OnlyNamespaced && m.Scope.Name() != meta.RESTScopeNameNamespace {
		return "cluster-scoped, and the account is bound to namespaces (onlyNamespacedResources)"
	}
	return catalog.watchable(m)
}

// drop ends a kind's watch, if there is one, and says so once.
func (r *running) drop(t cats.Type, why string) {
	if k, ok := r.kinds[t]; ok {
		k.stop()
		delete(r.kinds, t)
	} else if r.dropped[t] == why {
		return
	}
	r.dropped[t] = why
	r.cluster.stateOf(t).fail("unknown", errors.New(why))
	r.cluster.log.Info("kind is not watched", "kind", t, "reason", why)
	r.sink.Drop(t, why)
}

// typeOf is the type of a token, resolved if the API server has it.
func (r *running) typeOf(catalog *catalog, token string) cats.Type {
	if m, err := catalog.find(token, nil); err == nil && m != nil {
		return typeOf(m)
	}
	return cats.ParseType(token)
}

func (r *running) namespacesFor(mapping *meta.RESTMapping) []string {
	if len(r.cluster.account.Namespaces) == 0 || mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return []string{""}
	}
	return slices.Clone(r.cluster.account.Namespaces)
}

func (r *running) start(ctx context.Context, w *kindWatch) *runningKind {
	ctx, cancel := context.WithCancel(ctx)
	k := &runningKind{mapping: w.mapping, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(k.ended)
		w.run(ctx)
	}()
	return k
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
				c.definitions, c.definitionsKnown = all, true
				c.mu.Unlock()
				c.kindsChanged()
			},
			refused: func(reason string) {
				c.log.Info("definitions of custom resources cannot be listed; new ones are noticed late", "reason", reason)
				c.facts.set(func() { delete(c.facts.missing, "definitions") })
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

func (r *running) stopAll() {
	var all sync.WaitGroup
	for _, k := range r.kinds {
		all.Go(k.stop)
	}
	for _, k := range []*runningKind{r.namespaces, r.definitions} {
		if k != nil {
			all.Go(k.stop)
		}
	}
	all.Wait()
}

// stateOf returns the status of a kind, made at first use.
func (c *Cluster) stateOf(t cats.Type) *kindState {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.states[t]
	if !ok {
		s = newKindState(t)
		c.states[t] = s
	}
	return s
}

// takeTurn waits for a listing's turn: two at a time for one account, and a bounded number for all. Waiting for the latter ends
// after a while, because accounts whose servers are slow must not stop the others.
func (c *Cluster) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case c.lists <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	patience := time.NewTimer(c.timing.slotWait)
	defer patience.Stop()
	select {
	case c.shared.lists <- struct{}{}:
		return func() { <-c.shared.lists; <-c.lists }, nil
	case <-patience.C:
		return func() { <-c.lists }, nil
	case <-ctx.Done():
		<-c.lists
		return nil, context.Cause(ctx)
	}
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
