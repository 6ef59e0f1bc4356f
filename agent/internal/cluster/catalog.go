package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// catalog is what discovery said: every kind that a server has. It does not change, so that accounts whose servers have the
// same kinds share one.
type catalog struct {
	groups    []*metav1.APIGroup
	resources []*metav1.APIResourceList
	mapper    meta.RESTMapper
	// failed are groups whose own server did not answer: what they have is not known, which is not "nothing".
	failed map[string]bool
}

// Shared is what accounts share. It may be used by any number of clusters.
type Shared struct {
	mu       sync.Mutex
	catalogs map[[sha256.Size]byte]weak.Pointer[catalog]

	// servers by URL.
	servers map[string]weak.Pointer[server]

	metrics *metrics

	// lists bounds how many listings run at once, over all accounts.
	lists chan struct{}
}

// server is what the accounts of one API server share.
type server struct {
	// starts limits how often listings start: a hundred accounts with a namespace each are a thousand listings of one API server.
	starts *rate.Limiter
	// requests bounds how many of operations it is asked at one time.
	requests *gate
}

// startRate is how many listings a second may start at one API server, startBurst how many at once.
const startRate, startBurst = 20, 40

// server returns what the accounts of an API server share, for as long as one of them keeps it.
func (s *Shared) server(url string) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.servers[url].Value(); known != nil {
		return known
	}
	made := &server{starts: rate.NewLimiter(startRate, startBurst), requests: newGate()}
	s.servers[url] = weak.Make(made)
	runtime.AddCleanup(made, func(url string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.servers[url].Value() == nil {
			delete(s.servers, url)
		}
	}, url)
	return made
}

// concurrentLists bounds memory at start: one listing holds some 200 kB, thousands of accounts start at once.
const concurrentLists = 128

// NewShared makes what accounts share.
func NewShared() *Shared {
	return &Shared{metrics: newMetrics(), catalogs: map[[sha256.Size]byte]weak.Pointer[catalog]{}, servers: map[string]weak.Pointer[server]{}, lists: make(chan struct{}, concurrentLists)}
}

// intern returns the catalog with this content that some account has already, or makes it.
func (s *Shared) intern(groups []*metav1.APIGroup, resources []*metav1.APIResourceList, failed map[string]bool) (*catalog, error) {
	content, err := json.Marshal([]any{groups, resources, slices.Sorted(maps.Keys(failed))})
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	digest := sha256.Sum256(content)
	s.mu.Lock()
	known := s.catalogs[digest].Value()
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	made := &catalog{groups: groups, resources: resources, failed: failed}
	groupResources, err := restmapper.GetAPIGroupResources(view{catalog: made})
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	made.mapper = restmapper.NewDiscoveryRESTMapper(groupResources)
	s.mu.Lock()
	s.catalogs[digest] = weak.Make(made)
	s.mu.Unlock()
	runtime.AddCleanup(made, func(digest [sha256.Size]byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.catalogs[digest].Value() == nil {
			delete(s.catalogs, digest)
		}
	}, digest)
	return made, nil
}

// expander resolves short names as kubectl does. warn may be nil.
func (c *catalog) expander(warn func(string)) meta.RESTMapper {
	return restmapper.NewShortcutExpander(c.mapper, view{catalog: c}, warn)
}

// resource returns what discovery says of a mapping's resource.
func (c *catalog) resource(m *meta.RESTMapping) (metav1.APIResource, bool) {
	gv := m.Resource.GroupVersion().String()
	for _, list := range c.resources {
		if list.GroupVersion != gv {
			continue
		}
		for _, r := range list.APIResources {
			if r.Name == m.Resource.Resource {
				return r, true
			}
		}
	}
	return metav1.APIResource{}, false
}

// discover reads discovery once.
func discover(ctx context.Context, c *connection, s *Shared) (*catalog, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.forInventory(ctx))
	if err != nil {
		return nil, err
	}
	groups, resources, err := client.ServerGroupsAndResourcesWithContext(ctx)
	failed := map[string]bool{}
	var partial *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &partial) {
		for gv := range partial.Groups {
			failed[gv.Group] = true
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return s.intern(groups, byPriority(groups, resources), failed)
}

// byPriority orders resources as their groups and versions are, which is the API server's priority and decides what an
// ambiguous short name means. client-go returns them in any order.
func byPriority(groups []*metav1.APIGroup, resources []*metav1.APIResourceList) []*metav1.APIResourceList {
	rank := map[string]int{}
	for _, g := range groups {
		for _, v := range g.Versions {
			rank[v.GroupVersion] = len(rank)
		}
	}
	slices.SortStableFunc(resources, func(a, b *metav1.APIResourceList) int {
		return rank[a.GroupVersion] - rank[b.GroupVersion]
	})
	return resources
}

// holder keeps an account's present catalog. Reading discovery is limited, because operations with misspelt kinds would
// otherwise each cost a download: they wait for one that they share. None is turned away, since its kind may be new.
type holder struct {
	connection *connection
	shared     *Shared
	// reading is held (one token) while discovery is read.
	reading chan struct{}
	// missing is held (one token) by the operation that reads, or waits to read, discovery for all that miss a kind.
	missing chan struct{}
	misses  *rate.Limiter

	mu      sync.Mutex
	current *catalog
	// read is when the current catalog was asked for; stale: an event says that it is out of date.
	read  time.Time
	stale bool
	// changed is closed and replaced when current is.
	changed chan struct{}
}

const (
	// missInterval and missBurst limit how often unknown kinds read discovery again.
	missInterval = time.Second
	missBurst    = 10
)

func newHolder(c *connection, s *Shared) *holder {
	return &holder{
		connection: c, shared: s, reading: make(chan struct{}, 1), missing: make(chan struct{}, 1), changed: make(chan struct{}),
		misses: rate.NewLimiter(rate.Every(missInterval), missBurst),
	}
}

// get returns the present catalog, and reads it the first time.
func (h *holder) get(ctx context.Context) (*catalog, error) {
	h.mu.Lock()
	current, stale := h.current, h.stale
	h.mu.Unlock()
	if current != nil && !stale {
		return current, nil
	}
	return h.refresh(ctx, time.Now())
}

// invalidate makes the next get read discovery again.
func (h *holder) invalidate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stale = true
}

// afterMiss reads discovery again because a kind is not in c, unless somebody else just did.
func (h *holder) afterMiss(ctx context.Context, c *catalog) (*catalog, bool) {
	h.mu.Lock()
	latest, stale := h.current, h.stale
	h.mu.Unlock()
	if latest != c && !stale {
		return latest, true
	}
	missed := time.Now()
	select {
	case h.missing <- struct{}{}:
		defer func() { <-h.missing }()
	case <-ctx.Done():
		return c, false
	}
	h.mu.Lock()
	current, read := h.current, h.read
	h.mu.Unlock()
	if read.After(missed) {
		return current, true
	}
	if err := h.misses.Wait(ctx); err != nil {
		return c, false
	}
	fresh, err := h.refresh(ctx, missed)
	return fresh, err == nil
}

// refresh reads discovery, unless that was done after the given time.
func (h *holder) refresh(ctx context.Context, since time.Time) (*catalog, error) {
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	h.mu.Lock()
	current, read := h.current, h.read
	if current != nil && read.After(since) {
		h.mu.Unlock()
		return current, nil
	}
	h.stale = false
	h.mu.Unlock()
	asked := time.Now()
	fresh, err := discover(ctx, h.connection, h.shared)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.stale = true
		return nil, err
	}
	h.read = asked
	if fresh != h.current {
		h.current = fresh
		close(h.changed)
		h.changed = make(chan struct{})
	}
	return fresh, nil
}

// change returns a channel that is closed when the catalog becomes another one.
func (h *holder) change() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// view shows a catalog as a discovery client, which is how kubectl's library wants it. client, if any, does what a catalog
// cannot.
type view struct {
	catalog *catalog
	client  *discovery.DiscoveryClient
}

var errNoClient = errors.New("this view of the kinds has no client")

var _ discovery.CachedDiscoveryInterface = view{}

func (v view) Fresh() bool { return true }
func (v view) Invalidate() {}

func (v view) ServerGroups() (*metav1.APIGroupList, error) {
	list := &metav1.APIGroupList{}
	for _, g := range v.catalog.groups {
		list.Groups = append(list.Groups, *g)
	}
	return list, nil
}

func (v view) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return v.catalog.groups, v.catalog.resources, nil
}

func (v view) ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error) {
	for _, list := range v.catalog.resources {
		if list.GroupVersion == groupVersion {
			return list, nil
		}
	}
	gv, err := schema.ParseGroupVersion(groupVersion)
	if err != nil {
		return nil, err
	}
	return nil, &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{gv: errors.New("not served")}}
}

func (v view) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return discovery.ServerPreferredResources(v)
}

func (v view) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return discovery.ServerPreferredNamespacedResources(v)
}

func (v view) ServerVersion() (*version.Info, error) {
	if v.client == nil {
		return nil, errNoClient
	}
	return v.client.ServerVersion()
}

func (v view) OpenAPISchema() (*openapiv2.Document, error) {
	return nil, errors.New("the OpenAPI v2 document is not read: it has megabytes, and version 3 says the same")
}

func (v view) OpenAPIV3() openapi.Client {
	if v.client == nil {
		return nil
	}
	return v.client.OpenAPIV3()
}

func (v view) RESTClient() rest.Interface {
	if v.client == nil {
		return nil
	}
	return v.client.RESTClient()
}

func (v view) WithLegacy() discovery.DiscoveryInterface { return v }
