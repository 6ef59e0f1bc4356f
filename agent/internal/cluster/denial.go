package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// denial is how long something has been forbidden.
type denial struct {
	since time.Time
	times int
	err   error
	// watching is forbidden, listing is not.
	watching bool
}

// lasts tells whether it is no passing trouble.
func (d *denial) lasts(limit time.Duration) bool {
	return d != nil && d.times >= 3 && time.Since(d.since) >= limit
}

// unwatched says that a namespace ("": all) may be listed and not watched.
type unwatched struct {
	namespace string
	err       error
}

func (u *unwatched) Error() string { return fmt.Sprintf("it may be listed and not watched: %v", u.err) }
func (u *unwatched) Unwrap() error { return u.err }

// denial returns what is known of a namespace's refusals, counting one more.
func (w *kindWatch) denial(namespace string, err error, watching bool) *denial {
	d := w.denied[namespace]
	if d == nil {
		d = &denial{since: time.Now()}
		w.denied[namespace] = d
	}
	d.times++
	d.err, d.watching = err, watching
	return d
}

// refuse notes that the kind is forbidden, and drops it when that lasts. It returns the pause before the next try.
func (w *kindWatch) refuse(err error, watching bool, wait time.Duration) time.Duration {
	d := w.denial("", err, watching)
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

// barred returns why what may be listed and not watched is still so: listing it whole each time to find out would cost. scope is the
// namespace, or "" where refusals concern the kind.
func (w *kindWatch) barred(ctx context.Context, client *rest.RESTClient, scope, namespace string) error {
	d := w.denied[scope]
	if d == nil || !d.watching || !d.lasts(w.deniedFor) || w.permitted(ctx, client, namespace) {
		return nil
	}
	return d.err
}

// allowed forgets refusals, those to watch only if watching is what is allowed.
func (w *kindWatch) allowed(scope string, watching bool) {
	if d := w.denied[scope]; d != nil && (watching || !d.watching) {
		delete(w.denied, scope)
	}
}

// permitted asks whether a namespace may be listed and watched.
func (w *kindWatch) permitted(ctx context.Context, client *rest.RESTClient, namespace string) bool {
	src := w.source(client, namespace)
	body, err := src.request(metadataList).Param("limit", "1").Stream(ctx)
	if err != nil {
		return false
	}
	page, err := readAndClose(body, func([]byte) error { return nil })
	if err != nil {
		return false
	}
	body, err = src.request(metadataWatch).Param("watch", "true").Param("resourceVersion", page.ResourceVersion).Param("timeoutSeconds", "1").Stream(ctx)
	if err != nil {
		return !apierrors.IsForbidden(err)
	}
	_ = body.Close()
	return true
}

func (w *kindWatch) deniedNamespaces() []string {
	names := slices.Sorted(maps.Keys(w.denied))
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// probe asks from time to time whether a namespace that was left out is permitted now.
func (w *kindWatch) probe(ctx context.Context, client *rest.RESTClient, listed map[string]string) error {
	for pause(ctx, w.cluster.timing.deniedRetry) {
		for _, namespace := range w.namespaces {
			if _, ok := listed[namespace]; !ok && w.permitted(ctx, client, namespace) {
				return errPermitted
			}
		}
	}
	return nil
}
