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
	// policy that the kinds are watched by.
	policy *linkv1.CachePolicy
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
	case <-c.decided:
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

// reconcile starts what is wanted and there, and stops what is not there any more. The sink is told the kinds before any of
// them begins.
func (r *running) reconcile(ctx context.Context, catalog *catalog) {
	r.ensureFacts(ctx, catalog)
	candidates, ok := r.cluster.candidates(catalog)
	if !ok {
		return
	}
	p := r.plan(catalog, candidates)
	if policy := r.cluster.cachePolicy(); policy != r.policy {
		r.stopKinds() // filters and bounds are others now
		r.policy = policy
		r.reportUncached(catalog, p)
	}
	for t, why := range p.drop {
		r.drop(t, why)
	}
	for t, m := range p.watch {
		if k, ok := r.kinds[t]; ok && k.mapping.Resource != m.Resource {
			k.stop() // another version is preferred now
			delete(r.kinds, t)
		}
	}
	types := slices.AppendSeq([]cats.Type{}, maps.Keys(p.watch))
	slices.Sort(types)
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
			deniedFor: r.cluster.timing.deniedFor, filter: r.cluster.filter(), quota: newQuota(r.cluster.mostOf(t)), ages: newAges(t, r.cluster.timing.eventsFor),
		})
	}
}

// reportUncached says which kinds the account names in vain.
func (r *running) reportUncached(catalog *catalog, p plan) {
	for _, token := range r.cluster.account.Kinds {
		t := r.typeOf(catalog, token)
		if p.watch[t] == nil && p.drop[t] == "" && !slices.Contains(p.unknown, t) {
			r.cluster.log.Info("kind is not cached", "kind", t, "reason", "the account names it, and cache.policies of the bridge does not")
		}
	}
}

// plan is what discovery makes of the kinds that are wanted.
type plan struct {
	watch map[cats.Type]*meta.RESTMapping
	// drop: why a kind cannot be watched.
	drop map[cats.Type]string
	// unknown kinds belong to a group whose server did not answer: they may be there.
	unknown []cats.Type
}

func (r *running) plan(catalog *catalog, candidates []candidate) plan {
	p := plan{watch: map[cats.Type]*meta.RESTMapping{}, drop: map[cats.Type]string{}}
	narrowing := r.narrowing(catalog)
	for _, c := range candidates {
		mapping, err := catalog.find(c.token, nil)
		if err != nil {
			r.cluster.log.Error("kind cannot be resolved", "kind", c.token, "error", err)
			continue
		}
		t := r.typeOf(catalog, c.token)
		switch {
		case narrowing.leavesOut(t):
		case mapping == nil:
			if !c.asked && r.kinds[t] == nil {
				continue
			}
			if catalog.failed[groupOf(t)] {
				if r.kinds[t] == nil {
					p.unknown = append(p.unknown, t)
				}
			} else if r.kinds[t] == nil || !catalog.failed[r.kinds[t].mapping.GroupVersionKind.Group] {
				p.drop[t] = "the API server has no such kind; it is watched when it appears"
			}
		case r.unwatchable(catalog, mapping) != "":
			if c.asked || r.kinds[t] != nil {
				p.drop[t] = r.unwatchable(catalog, mapping)
			}
		default:
			p.watch[t] = mapping
		}
	}
	for t, k := range r.kinds {
		switch {
		case p.watch[t] != nil || p.drop[t] != "":
		case catalog.failed[k.mapping.GroupVersionKind.Group]:
			p.watch[t] = k.mapping
		case r.policy != r.cluster.cachePolicy():
			p.drop[t] = "it is not to be cached any more"
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

// stopKinds ends all watches but those that feed facts.
func (r *running) stopKinds() {
	var all sync.WaitGroup
	for _, k := range r.kinds {
		all.Go(k.stop)
	}
	all.Wait()
	clear(r.kinds)
}

func (r *running) stopAll() {
	r.stopKinds()
	var all sync.WaitGroup
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

// takeTurn waits for a listing's turn: two at a time for one account, so many a second for one API server, however many accounts it has,
// and a bounded number for all. Waiting for the latter ends after a while, because accounts whose servers are slow must not stop the others.
func (c *Cluster) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case c.lists <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	patience := time.NewTimer(c.timing.slotWait)
	defer patience.Stop()
	if err := c.server.starts.Wait(ctx); err != nil {
		<-c.lists
		return nil, context.Cause(ctx)
	}
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
