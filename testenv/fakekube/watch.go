package fakekube

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lastBookmark is how long before its end a watch sends a bookmark, if it sends any.
const lastBookmark = 2 * time.Second

// defaultWatch is how long a watch runs that does not say it; a real API server takes a random time from half an hour on.
const defaultWatch = 30 * time.Minute

// watching is one watch.
type watching struct {
	cluster  *Cluster
	kind     *kind
	resource Resource
	ask      *request
	answer   *answer
	// version up to which everything was looked at, and the one that the client knows: what is not selected tells it nothing.
	version, told int64
	// bookmarks are wanted.
	bookmarks bool
}

func (c *Cluster) watch(a *answer, k *kind, r *http.Request, ask *request) error {
	query := r.URL.Query()
	w := &watching{cluster: c, kind: k, resource: k.resource, ask: ask, answer: a}
	w.bookmarks, _ = strconv.ParseBool(query.Get("allowWatchBookmarks"))
	initial, _ := strconv.ParseBool(query.Get("sendInitialEvents"))
	if initial && query.Get("resourceVersionMatch") != "NotOlderThan" {
		return invalid()
	}
	version, err := strconv.ParseInt("0"+query.Get("resourceVersion"), 10, 64)
	if err != nil {
		return apierrors.NewBadRequest("Invalid value: " + strconv.Quote(query.Get("resourceVersion")) + ": resource version")
	}
	lasts := defaultWatch
	if seconds, err := strconv.Atoi(query.Get("timeoutSeconds")); err == nil && seconds > 0 {
		lasts = time.Duration(seconds) * time.Second
	}
	a.begin()
	a.flush()
	w.version, w.told = version, version
	if version == 0 || initial {
		if !w.initial(initial) {
			return nil
		}
	}
	w.follow(time.Now().Add(lasts))
	return nil
}

// initial shows what is there as if it had just been added.
func (w *watching) initial(marked bool) bool {
	w.cluster.mu.Lock()
	w.version = w.cluster.version
	objects, _ := w.kind.page(w.version, "", w.ask.selection, 0)
	w.cluster.mu.Unlock()
	for _, o := range objects {
		if !w.event("ADDED", whole(&w.resource, o, w.ask.partial)) {
			return false
		}
	}
	return !marked || w.bookmark(`,"annotations":{"k8s.io/initial-events-end":"true"}`)
}

func (w *watching) follow(end time.Time) {
	w.cluster.mu.Lock()
	every := w.cluster.bookmarks
	w.cluster.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	timeout, last := time.NewTimer(time.Until(end)), time.NewTimer(time.Until(end.Add(-lastBookmark)))
	defer timeout.Stop()
	defer last.Stop()
	for {
		w.cluster.mu.Lock()
		changed, served := w.kind.changed, w.kind.served
		changes, known := w.kind.after(w.version)
		oldest := w.kind.compacted
		w.cluster.mu.Unlock()
		if !known {
			w.failed(apierrors.NewResourceExpired("too old resource version: " + strconv.FormatInt(w.version, 10) + " (" + strconv.FormatInt(oldest, 10) + ")"))
			return
		}
		if !w.changes(changes) {
			return
		}
		w.answer.flush()
		if !served {
			return
		}
		marks := false
		select {
		case <-changed:
		case <-tick.C:
			marks = true
		case <-last.C:
			marks = true
		case <-w.answer.woken():
		case <-timeout.C:
			return
		case <-w.answer.context.Done():
			return
		}
		if w.answer.interrupted() || marks && w.bookmarks && !w.present() {
			return
		}
	}
}

// present sends a bookmark with the version of now, unless the client knows it, or there are events to send first.
func (w *watching) present() bool {
	w.cluster.mu.Lock()
	changes, known := w.kind.after(w.version)
	version := w.cluster.version
	w.cluster.mu.Unlock()
	if !known || len(changes) > 0 || version <= w.told {
		return true
	}
	w.version = version
	return w.bookmark("")
}

// changes sends what concerns the selection.
func (w *watching) changes(list []change) bool {
	for _, c := range list {
		before, after := w.ask.selection.has(c.was), w.ask.selection.has(c.now)
		ok := true
		switch {
		case !before && !after:
		case !before:
			ok = w.event("ADDED", whole(&w.resource, c.now, w.ask.partial))
		case after:
			ok = w.event("MODIFIED", whole(&w.resource, c.now, w.ask.partial))
		case c.now == nil:
			ok = w.event("DELETED", whole(&w.resource, c.last, w.ask.partial))
		default: // it is not selected any more: what is shown is what it was, at the version of the change
			ok = w.event("DELETED", whole(&w.resource, c.was.at(c.version, 0), w.ask.partial))
		}
		if !ok {
			return false
		}
		w.version = c.version
		if before || after {
			w.told = c.version
		}
	}
	return true
}

func (w *watching) bookmark(annotations string) bool {
	w.told = w.version
	name, version := w.resource.Kind, w.resource.groupVersion()
	if w.ask.partial {
		name, version = "PartialObjectMetadata", "meta.k8s.io/v1"
	}
	ok := w.event("BOOKMARK", []byte(`{"kind":"`+name+`","apiVersion":"`+version+`","metadata":{"resourceVersion":"`+strconv.FormatInt(w.version, 10)+`"`+annotations+`}}`))
	w.answer.flush()
	return ok
}

func (w *watching) failed(err *apierrors.StatusError) {
	w.answer.raw(errorEvent(err))
	w.answer.flush()
}

func errorEvent(err *apierrors.StatusError) []byte {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	return append(append([]byte(`{"type":"ERROR","object":`), must(json.Marshal(status))...), "}\n"...)
}

func (w *watching) event(what string, raw []byte) bool {
	line := make([]byte, 0, len(raw)+40)
	line = append(append(append(line, `{"type":"`...), what...), `","object":`...)
	line = append(append(line, raw...), "}\n"...)
	return w.answer.piece(line)
}
