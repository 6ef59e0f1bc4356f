package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// meddled is a bench with five config maps behind a meddler.
func meddled(t *testing.T) (*bench, *meddler) {
	t.Helper()
	m, through := meddle(t, plane(t))
	b := prepare(t, plane(t), through)
	b.makeNamespace()
	for i := range 5 {
		b.make(b.namespace, configMap(fmt.Sprintf("cm-%d", i)))
	}
	return b, m
}

func (b *bench) begins() (n int) {
	b.sink.get(func() { n = b.sink.begins["configMap"] })
	return n
}

// complete waits until the kind is live and has all its objects, and the account is called well.
func (b *bench) complete() {
	b.t.Helper()
	b.eventually("the kind is live and complete", func() bool {
		return b.sink.isLive("configMap") && len(b.sink.paths("configMap", b.namespace)) >= 5
	})
	b.eventually("no problem is left, and no kind was dropped", func() (well bool) {
		b.sink.get(func() { well = b.sink.facts.GetProblem() == "" && len(b.sink.dropped) == 0 })
		return well
	})
}

const expiredStatus = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"The provided continue parameter is too old","reason":"Expired","code":410}`

func TestAListingWhoseContinuationHasExpiredBeginsAnew(t *testing.T) {
	b, m := meddled(t)
	m.instead(2, isLater, always(http.StatusGone, expiredStatus))
	b.run()
	b.complete()
	if n := b.begins(); n != 3 {
		t.Errorf("listed %d times, want twice in vain and once whole", n)
	}
	if first := m.queries(isFirst); len(first) != 3 {
		t.Errorf("%d first pages: %v", len(first), first)
	}
}

func TestAWatchThatExpiresIsListedAgainWhicheverWayItIsSaid(t *testing.T) {
	for way, answer := range map[string]struct {
		status int
		body   string
	}{
		"as the answer":        {http.StatusGone, expiredStatus},
		"as an event":          {http.StatusOK, `{"type":"ERROR","object":` + expiredStatus + `}`},
		"as an event, by code": {http.StatusOK, `{"type":"ERROR","object":{"kind":"Status","code":410}}`},
	} {
		t.Run(way, func(t *testing.T) {
			b, m := meddled(t)
			m.instead(1, isWatch, always(answer.status, answer.body))
			b.run()
			b.eventually("it is listed twice", func() bool { return b.begins() == 2 })
			b.complete()
			b.make(b.namespace, configMap("later"))
			b.eventually("it is followed", func() bool { return b.sink.object("configMap", b.namespace+"/later") != nil })
		})
	}
}

func TestErrorsOfAWatchAreResumedAFewTimesAndThenTheKindIsListed(t *testing.T) {
	for name, body := range map[string]string{
		"an error event":       `{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError","message":"etcdserver: leader changed"}}`,
		"an error unreadable":  `{"type":"ERROR","object":[]}`,
		"nonsense":             `<html>bad gateway</html>`,
		"half an event":        `{"type":"ADDED","object":{"metadata":`,
		"nothing":              ``,
		"an unknown event":     `{"type":"SOMETHING","object":{"metadata":{"name":"x","namespace":"y"},"kind":"ConfigMap","apiVersion":"v1"}}`,
		"an event of no type":  `{"object":null}`,
		"an object that isn't": `{"type":"ADDED","object":5}{"type":"MODIFIED","object":null}{"type":"DELETED","object":{"metadata":{}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			b, m := meddled(t)
			m.instead(2, isWatch, always(http.StatusOK, body))
			b.run()
			b.eventually("the third watch runs", func() bool { return len(m.queries(isWatch)) >= 3 })
			b.complete()
			b.make(b.namespace, configMap("later"))
			b.eventually("it is followed", func() bool { return b.sink.object("configMap", b.namespace+"/later") != nil })
			watches := m.queries(isWatch)
			if b.begins() != 1 || watches[0].Get("resourceVersion") != watches[2].Get("resourceVersion") {
				t.Errorf("listed %d times, watches %v", b.begins(), watches)
			}
			if strings.HasPrefix(name, "an object") {
				if k := b.cluster.Status().Kinds; k[0].Skipped == 0 {
					t.Errorf("nothing was counted as skipped: %+v", k)
				}
			}
		})
	}
	t.Run("an API server that goes on like that", func(t *testing.T) {
		b, m := meddled(t)
		m.instead(maximumServerErrors, isWatch, always(http.StatusOK, `{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}`))
		b.run()
		b.eventually("it is listed again", func() bool { return b.begins() == 2 })
		b.complete()
	})
}

func TestABookmarkMovesAWatchOnSoThatItSurvivesACompaction(t *testing.T) {
	b, m := meddled(t)
	list, err := b.in(b.namespace, "ConfigMap").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bookmark := list.GetResourceVersion()
	m.instead(1, isWatch, always(http.StatusOK, `{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"`+bookmark+`"}}}`))
	b.run()
	b.eventually("the next watch runs", func() bool { return len(m.queries(isWatch)) == 2 })
	b.complete()
	watches := m.queries(isWatch)
	if watches[0].Get("allowWatchBookmarks") != "true" || watches[1].Get("resourceVersion") != bookmark || b.begins() != 1 {
		t.Errorf("bookmark %s, listed %d times, watches %v", bookmark, b.begins(), watches)
	}
}

func TestAListingThatFailsOnTheWayIsNotTakenForAnEmptyOne(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"a page that ends early":         {http.StatusOK, `{"kind":"ConfigMapList","metadata":{"resourceVersion":"7"},"items":[`},
		"an answer without a state":      {http.StatusOK, `{"kind":"ConfigMapList","items":[]}`},
		"an error":                       {http.StatusInternalServerError, `{"kind":"Status","code":500,"reason":"InternalError"}`},
		"too many requests":              {http.StatusTooManyRequests, `{"kind":"Status","code":429,"reason":"TooManyRequests"}`},
		"something else than Kubernetes": {http.StatusOK, `<html></html>`},
	} {
		t.Run(name, func(t *testing.T) {
			b, m := meddled(t)
			b.run()
			b.complete()
			// From now on lists fail, and a watch that expires asks for one.
			m.instead(-1, func(q url.Values) bool { return isFirst(q) || isWatch(q) }, func(q url.Values) (int, string) {
				if isWatch(q) {
					return http.StatusGone, expiredStatus
				}
				return answer.status, answer.body
			})
			m.cut()
			b.eventually("it was listed in vain", func() bool { return len(m.queries(isFirst)) >= 3 })
			if n := len(b.sink.paths("configMap", b.namespace)); n < 5 {
				t.Errorf("%d objects are left", n)
			}
			b.sink.get(func() {
				if len(b.sink.dropped) > 0 {
					t.Error(b.sink.dropped)
				}
			})
			m.instead(0, isFirst, nil)
			b.complete()
		})
	}
}
