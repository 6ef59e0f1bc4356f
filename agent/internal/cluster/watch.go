package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/proto/cats"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
)

// timing holds the waits of watching, which tests shorten.
type timing struct {
	// retry is the first pause after a failure, mostRetry the longest one.
	retry, mostRetry time.Duration
	// deniedFor is how long a kind must stay forbidden before it is dropped: an API server that starts forbids everything for a
	// moment, until it has read its roles.
	deniedFor time.Duration
	// deniedRetry is the pause before a dropped kind is tried again.
	deniedRetry time.Duration
	// settle is how long to wait after an event about definitions, because they come in swarms.
	settle time.Duration
	// rediscover is how often discovery is read again without a reason.
	rediscover time.Duration
	// slotWait is how long a listing waits for its turn among all accounts; slow accounts must not stop others.
	slotWait time.Duration
	// eventsFor is how long Events are cached.
	eventsFor time.Duration
	// refill is the pause before a kind is listed again of which an object left that was cached while others were not (quota).
	refill time.Duration
}

func defaultTiming() timing {
	return timing{
		retry: 500 * time.Millisecond, mostRetry: 30 * time.Second,
		deniedFor: 30 * time.Second, deniedRetry: 2 * time.Minute,
		settle: 300 * time.Millisecond, rediscover: 30 * time.Minute, slotWait: 30 * time.Second,
		eventsFor: 2 * time.Hour, refill: time.Minute,
	}
}

// kindWatch keeps one kind up to date.
type kindWatch struct {
	cluster *Cluster
	sink    Sink
	kind    cats.Type
	mapping *meta.RESTMapping
	// namespaces to watch; one "" for all.
	namespaces   []string
	metadataOnly bool
	state        *kindState
	// deniedFor is timing.deniedFor, or less for what others wait for.
	deniedFor time.Duration
	filter    filter
	quota     *quota
	ages      *ages
	events    prometheus.Counter

	// denied counts refusals by namespace ("": the whole kind).
	denied  map[string]*denial
	dropped bool
}

// run lists and watches until ctx ends.
func (w *kindWatch) run(ctx context.Context) {
	w.denied, w.events = map[string]*denial{}, w.cluster.shared.metrics.of(w.kind)
	retry := backoff{base: w.cluster.timing.retry, most: w.cluster.timing.mostRetry}
	for ctx.Err() == nil {
		live, err := w.generation(ctx)
		if ctx.Err() != nil {
			return
		}
		w.cluster.shared.metrics.ended(live, err)
		if live {
			retry.reset()
		}
		wait := retry.next()
		var unwatched *unwatched
		switch {
		case errors.Is(err, errExpired):
			w.state.relist("its history was compacted")
		case errors.Is(err, errPermitted), errors.Is(err, errRefill):
			wait = 0
		case errors.As(err, &unwatched) && unwatched.namespace != "" && len(w.namespaces) > 1:
			w.denial(unwatched.namespace, err, true)
		case apierrors.IsForbidden(err):
			wait = w.refuse(err, unwatched != nil, wait)
		case gone(err):
			w.state.fail("gone", err)
			w.cluster.kindsChanged()
		default:
			w.state.fail("waiting", err)
			w.cluster.reach.failed(err)
			w.cluster.log.Warn("kind is listed again", "kind", w.kind, "error", err, "wait", wait)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// gone tells that the API server does not have the kind (any more).
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsNotAcceptable(err)
}

var (
	// errPermitted: a namespace that was forbidden is not any more.
	errPermitted = errors.New("a namespace is permitted now")
	// errRefill: an object left, and another one that was left out takes its place.
	errRefill = errors.New("there is room for objects that were left out")
)

// generation lists the kind and watches it until a watch cannot go on. live: the listing was completed.
func (w *kindWatch) generation(ctx context.Context) (live bool, err error) {
	client, err := requests(ctx, w.cluster.connection)
	if err != nil {
		return false, err
	}
	if len(w.namespaces) == 1 {
		if err := w.barred(ctx, client, "", w.namespaces[0]); err != nil {
			return false, err
		}
	}
	versions, err := w.listAll(ctx, client)
	if err != nil {
		return false, err
	}
	g, ctx := errgroup.WithContext(ctx)
	var missing, alive atomic.Int64
	missing.Store(int64(len(versions)))
	for namespace, version := range versions {
		src := w.source(client, namespace)
		first := true
		started := func() {
			w.cluster.reach.succeeded()
			if first && missing.Add(-1) == 0 {
				alive.Store(1)
				w.state.live()
				w.sink.Live(w.kind)
			}
			first = false
		}
		g.Go(func() error { return w.follow(ctx, src, version, started) })
	}
	if len(versions) < len(w.namespaces) {
		g.Go(func() error { return w.probe(ctx, client, versions) })
	}
	if w.ages != nil {
		g.Go(func() error { return w.ages.expire(ctx, func(path string) error { return w.leaveAt(ctx, path) }) })
	}
	if w.quota != nil {
		g.Go(func() error { return w.refill(ctx) })
	}
	err = g.Wait()
	if alive.Load() == 0 {
		return false, err
	}
	w.allowed("", true)
	for namespace := range versions {
		w.allowed(namespace, true)
	}
	return true, err
}

// refill ends a generation when objects are to be listed that were left out.
func (w *kindWatch) refill(ctx context.Context) error {
	select {
	case <-w.quota.wanting:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !pause(ctx, w.cluster.timing.refill) {
		return context.Cause(ctx)
	}
	return errRefill
}

func (w *kindWatch) source(client *rest.RESTClient, namespace string) *source {
	return &source{client: client, mapping: w.mapping, namespace: namespace, metadataOnly: w.metadataOnly}
}

// listAll lists every namespace and returns the states that watches go on from. A namespace that stays forbidden is left out.
func (w *kindWatch) listAll(ctx context.Context, client *rest.RESTClient) (map[string]string, error) {
	release, err := w.cluster.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	began := false
	begin := func() {
		w.cluster.reach.succeeded()
		if !began {
			began, w.dropped = true, false
			w.state.listing()
			w.quota.begin()
			w.sink.Begin(w.kind)
		}
	}
	versions := map[string]string{}
	objects := 0
	var refused error
	for _, namespace := range w.namespaces {
		if len(w.namespaces) > 1 {
			if refused = w.barred(ctx, client, namespace, namespace); refused != nil {
				continue
			}
		}
		version, count, err := w.source(client, namespace).list(ctx, begin, func(raw []byte) error {
			_, err := w.take(ctx, watched{raw: raw})
			return err
		})
		if apierrors.IsForbidden(err) && len(w.namespaces) > 1 {
			refused = err
			if w.denial(namespace, err, false).lasts(w.deniedFor) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		w.allowed(namespace, false)
		versions[namespace] = version
		objects += count
	}
	if len(versions) == 0 {
		return nil, refused
	}
	w.allowed("", false)
	w.state.listed(objects, w.deniedNamespaces())
	return versions, nil
}

// maximumServerErrors is how often in a row the API server may fail a watch before the kind is listed again.
const maximumServerErrors = 3

// follow keeps a watch running from a state on. It returns when only a new listing helps.
func (w *kindWatch) follow(ctx context.Context, src *source, version string, started func()) error {
	retry := backoff{base: w.cluster.timing.retry, most: w.cluster.timing.mostRetry}
	serverErrors := 0
	for {
		before := version
		var err error
		version, err = src.watch(ctx, version, started, func(e watched) (string, error) {
			w.events.Inc()
			return w.take(ctx, e)
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if version != before {
			retry.reset()
			serverErrors = 0
		}
		var status apierrors.APIStatus
		switch {
		case err == nil:
			w.state.resumed()
		case apierrors.IsForbidden(err):
			return &unwatched{src.namespace, err}
		case errors.Is(err, errExpired), gone(err):
			return err
		case errors.As(err, &status):
			serverErrors++
			if serverErrors >= maximumServerErrors && status.Status().Code != http.StatusTooManyRequests {
				return err
			}
			w.state.fail("waiting", err)
		case errors.As(err, new(*sinkError)):
			return err
		default:
			w.state.fail("waiting", err)
			w.cluster.reach.failed(err)
		}
		if !pause(ctx, retry.next()) {
			return context.Cause(ctx)
		}
	}
}

// sinkError says that the sink did not take something.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return fmt.Sprintf("hand an object on: %v", e.err) }
func (e *sinkError) Unwrap() error { return e.err }

// take hands one object on, and returns its state. An object that cannot be read is left out and counted: it must not stop
// the others.
func (w *kindWatch) take(ctx context.Context, e watched) (string, error) {
	object, err := decodeForInventory(e.raw, w.mapping.GroupVersionKind)
	if err != nil {
		w.skip(err)
		return "", nil
	}
	if w.metadataOnly {
		object["apiVersion"], object["kind"] = w.mapping.GroupVersionKind.ToAPIVersionAndKind()
	}
	metadata, _ := object["metadata"].(map[string]any)
	version, _ := metadata["resourceVersion"].(string)
	key, err := cats.KeyOf(object)
	if err != nil {
		w.skip(err)
		return version, nil
	}
	path := key.Path()
	shown := w.metadataOnly || w.filter.shows(object)
	switch {
	case e.deleted, !shown && w.filter.onlyManaged, shown && !w.ages.note(path, object, time.Now()):
		return version, w.leave(ctx, path, key)
	case shown:
		return version, w.put(ctx, path, object)
	}
	return version, nil
}

// put hands an object on, if there is room for it among those of its kind.
func (w *kindWatch) put(ctx context.Context, path string, object map[string]any) error {
	admitted, evicted := w.quota.admit(path)
	if evicted != "" {
		if err := w.leaveAt(ctx, evicted); err != nil {
			return err
		}
	}
	if !admitted {
		return nil
	}
	if err := w.sink.Put(ctx, object); err != nil {
		return &sinkError{err}
	}
	return nil
}

// leaveAt is leave for what remembers only paths.
func (w *kindWatch) leaveAt(ctx context.Context, path string) error {
	key, err := cats.PathKey(w.kind, path)
	if err != nil {
		return nil //nolint:nilerr // it came from a key
	}
	return w.leave(ctx, path, key)
}

// leave takes an object out, which may not have been there.
func (w *kindWatch) leave(ctx context.Context, path string, key cats.Key) error {
	w.quota.leave(path)
	w.ages.forget(path)
	if err := w.sink.Delete(ctx, key); err != nil {
		return &sinkError{err}
	}
	return nil
}

func (w *kindWatch) skip(err error) {
	w.cluster.shared.metrics.skipped.Inc()
	if w.state.skipped(err) {
		w.cluster.log.Error("an object cannot be read and is left out", "kind", w.kind, "error", err)
	}
}

// typeOf is the table type of a mapping.
func typeOf(m *meta.RESTMapping) cats.Type {
	apiVersion, kind := m.GroupVersionKind.ToAPIVersionAndKind()
	return cats.TypeOf(apiVersion, kind)
}

// watchable says why a kind cannot be watched; "" if it can.
func (c *catalog) watchable(m *meta.RESTMapping) string {
	r, ok := c.resource(m)
	if !ok {
		return "discovery does not describe it"
	}
	for _, verb := range []string{"list", "watch"} {
		if !slices.Contains(r.Verbs, verb) {
			return "the API server does not offer to " + verb + " it; it offers " + strings.Join(r.Verbs, ", ")
		}
	}
	return ""
}
