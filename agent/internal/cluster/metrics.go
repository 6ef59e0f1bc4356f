package cluster

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead/fairlead/proto/cats"
)

// mostKinds bounds the values of the label kind: a cluster may have thousands of definitions. Those that come later count as "other".
const mostKinds = 64

// metrics count what all clusters of an agent do. They are never taken back when an account leaves, as counters must not.
type metrics struct {
	requests *prometheus.CounterVec
	events   *prometheus.CounterVec
	ends     *prometheus.CounterVec
	skipped  prometheus.Counter

	mu    sync.Mutex
	kinds map[string]bool
}

// Why a kind has to be listed again.
const (
	endCompacted = "compacted"
	endForbidden = "forbidden"
	endGone      = "gone"
	endChanged   = "changed"
	endUnlisted  = "not_listed"
	endFailed    = "failed"
)

func newMetrics() *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "agent", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		requests: vec("kubernetes_requests_total", "Requests to API servers, by the class of the answer's status; error: there was no answer.", "result"),
		events:   vec("watch_events_total", "Events that were read of watches, by kind; kinds beyond 64 are other.", "kind"),
		ends:     vec("watch_ends_total", "Watches and listings that ended so that their kind is listed again, by reason.", "reason"),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "agent", Name: "objects_unreadable_total",
			Help: "Objects that could not be read and were left out. The log names the kind."}),
		kinds: map[string]bool{},
	}
	for _, result := range []string{"2xx", "3xx", "4xx", "5xx", "error"} {
		m.requests.WithLabelValues(result)
	}
	for _, reason := range []string{endCompacted, endForbidden, endGone, endChanged, endUnlisted, endFailed} {
		m.ends.WithLabelValues(reason)
	}
	m.of("pod")
	return m
}

// Collectors are the metrics of all clusters that share it.
func (s *Shared) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.requests, s.metrics.events, s.metrics.ends, s.metrics.skipped}
}

// of returns the counter of a kind's events.
func (m *metrics) of(t cats.Type) prometheus.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	kind := string(t)
	if !m.kinds[kind] {
		if len(m.kinds) >= mostKinds {
			kind = "other"
		} else {
			m.kinds[kind] = true
		}
	}
	return m.events.WithLabelValues(kind)
}

// ended counts why a kind has to be listed again.
func (m *metrics) ended(live bool, err error) {
	reason := endFailed
	var unwatched *unwatched
	switch {
	case errors.Is(err, errExpired):
		reason = endCompacted
	case errors.Is(err, errPermitted), errors.Is(err, errRefill):
		reason = endChanged
	case apierrors.IsForbidden(err), errors.As(err, &unwatched):
		reason = endForbidden
	case gone(err):
		reason = endGone
	case !live:
		reason = endUnlisted
	}
	m.ends.WithLabelValues(reason).Inc()
}

// answered counts a request.
func (m *metrics) answered(answer *http.Response, err error) {
	result := "error"
	if err == nil {
		result = strconv.Itoa(answer.StatusCode/100) + "xx"
	}
	m.requests.WithLabelValues(result).Inc()
}
