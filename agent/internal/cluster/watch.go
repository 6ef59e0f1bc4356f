package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

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
}

func defaultTiming() timing {
	return timing{
		retry: 500 * time.Millisecond, mostRetry: 30 * time.Second,
		deniedFor: 30 * time.Second, deniedRetry: 2 * time.Minute,
		settle: 300 * time.Millisecond, rediscover: 30 * time.Minute, slotWait: 30 * time.Second,
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

	// denied counts refusals by namespace ("": the whole kind).
	denied  map[string]*denial
	dropped bool
}

// denial is how long something has been forbidden.
type denial struct {
	since time.Time
	times int
	text  string
}

// lasts tells whether it is no passing trouble.
func (d *denial) lasts(limit time.Duration) bool { return d.times >= 3 && time.Since(d.since) >= limit }

// run lists and watches until ctx ends.
func (w *kindWatch) run(ctx context.Context) {
	w.denied = map[string]*denial{}
	retry := backoff{base: w.cluster.timing.retry, most: w.cluster.timing.mostRetry}
	for ctx.Err() == nil {
		live, err := w.generation(ctx)
		if ctx.Err() != nil {
			return
		}
		if live {
			retry.reset()
		}
		wait := retry.next()
		switch {
		case errors.Is(err, errExpired):
			w.state.relist("its history was compacted")
		case errors.Is(err, errPermitted):
			wait = 0
		case apierrors.IsForbidden(err):
			wait = w.refuse("", err, wait)
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

// refuse notes that the kind is forbidden, and drops it when that lasts. It returns the pause before the next try.
func (w *kindWatch) refuse(namespace string, err error, wait time.Duration) time.Duration {
	d := w.denied[namespace]
	if d == nil {
		d = &denial{since: time.Now()}
		w.denied[namespace] = d
	}
	d.times++
	d.text = err.Error()
	w.state.fail("forbidden", err)
	limit := w.deniedFor
	if !d.lasts(limit) {
		return min(wait, max(limit/4, time.Millisecond))
	}
	if !w.dropped {
		w.dropped = true
		w.cluster.log.Warn("kind is forbidden and not shown", "kind", w.kind, "error", err, "retry", w.cluster.timing.deniedRetry)
		w.sink.Drop(w.kind, "forbidden: "+err.Error())
	}
	return w.cluster.timing.deniedRetry
}

// errPermitted: a namespace that was forbidden is not any more.
var errPermitted = errors.New("a namespace is permitted now")

// generation lists the kind and watches it until a watch cannot go on. live: the listing was completed.
func (w *kindWatch) generation(ctx context.Context) (live bool, err error) {
	client, err := requests(ctx, w.cluster.connection)
	if err != nil {
		return false, err
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
	err = g.Wait()
	return alive.Load() == 1, err
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
			w.sink.Begin(w.kind)
		}
	}
	versions := map[string]string{}
	objects := 0
	var refused error
	for _, namespace := range w.namespaces {
		version, count, err := w.source(client, namespace).list(ctx, begin, func(raw []byte) error {
			_, err := w.take(ctx, watched{raw: raw})
			return err
		})
		if apierrors.IsForbidden(err) && len(w.namespaces) > 1 {
			refused = err
			if w.refuseNamespace(namespace, err) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		delete(w.denied, namespace)
		versions[namespace] = version
		objects += count
	}
	if len(versions) == 0 {
		return nil, refused
	}
	delete(w.denied, "")
	w.state.listed(objects, w.deniedNamespaces())
	return versions, nil
}

// refuseNamespace tells whether the listing can do without a namespace: it has been forbidden for a while.
func (w *kindWatch) refuseNamespace(namespace string, err error) bool {
	d := w.denied[namespace]
	if d == nil {
		d = &denial{since: time.Now()}
		w.denied[namespace] = d
	}
	d.times++
	d.text = err.Error()
	return d.lasts(w.deniedFor)
}

func (w *kindWatch) deniedNamespaces() []string {
	names := slices.Sorted(maps.Keys(w.denied))
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// probe asks from time to time whether a namespace that was left out is permitted now.
func (w *kindWatch) probe(ctx context.Context, client *rest.RESTClient, listed map[string]string) error {
	for pause(ctx, w.cluster.timing.deniedRetry) {
		for _, namespace := range w.namespaces {
			if _, ok := listed[namespace]; ok {
				continue
			}
			body, err := w.source(client, namespace).request(metadataList).Param("limit", "1").Stream(ctx)
			if err == nil {
				_ = body.Close()
				return errPermitted
			}
		}
	}
	return nil
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
		version, err = src.watch(ctx, version, started, func(e watched) (string, error) { return w.take(ctx, e) })
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
		case errors.Is(err, errExpired), apierrors.IsForbidden(err), gone(err):
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
	shown := w.metadataOnly || w.cluster.filter.shows(object)
	switch {
	case e.deleted || !shown && w.cluster.filter.onlyManaged:
		err = w.sink.Delete(ctx, key)
	case shown:
		err = w.sink.Put(ctx, object)
	}
	if err != nil {
		return version, &sinkError{err}
	}
	return version, nil
}

func (w *kindWatch) skip(err error) {
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
