package operations

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the router tells Prometheus. Verbs and outcomes are closed sets.
type metrics struct {
	seconds *prometheus.HistogramVec
	hops    *prometheus.HistogramVec
}

var buckets = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 600}

func newMetrics(registry prometheus.Registerer, r *Router) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "operation_duration_seconds", Buckets: buckets,
			Help: "Time of operations as Clouddriver sees it, by verb and outcome."}, []string{"verb", "outcome"}),
		hops: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "operation_hop_seconds", Buckets: buckets,
			Help: "Time of operations by hop: wait (until an agent had it), way (to the agent and back, and in its queue), agent (running there), server (inside the API server, part of agent)."}, []string{"hop"}),
	}
	for _, hop := range []string{"wait", "way", "agent", "server"} {
		m.hops.WithLabelValues(hop)
	}
	// A series that begins at 0 is there before its first event, and its first increase is seen.
	m.seconds.WithLabelValues("apply", "succeeded")
	m.seconds.WithLabelValues("apply", "failed")
	if registry == nil {
		return m
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "fairlead", Subsystem: "bridge", Name: name, Help: help}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return float64(value())
		})
	}
	registry.MustRegister(m.seconds, m.hops,
		gauge("operations_open", "Operations that somebody waits for; at most 4,096.", func() int { return len(r.calls) }),
		gauge("operations_unserved_accounts", "Accounts that have an operation which waits for an agent.", func() int { return len(r.tracker.Unserved()) }))
	return m
}

// observe counts an operation that has ended.
func (m *metrics) observe(e ended) {
	outcome, _ := conclude(e)
	verb, _ := Describe(e.operation)
	m.seconds.WithLabelValues(verb, strings.ReplaceAll(outcome, " ", "_")).Observe(e.answered.Sub(e.began).Seconds())
	if e.sent.IsZero() {
		return
	}
	m.hops.WithLabelValues("wait").Observe(max(e.sent.Sub(e.began), 0).Seconds())
	if e.told.IsZero() {
		return
	}
	ran := time.Duration(e.outcome.GetRanMs()) * time.Millisecond         //nolint:gosec // milliseconds of an operation
	server := time.Duration(e.outcome.GetDurationMs()) * time.Millisecond //nolint:gosec // milliseconds of an operation
	m.hops.WithLabelValues("way").Observe(max(e.told.Sub(e.sent)-ran, 0).Seconds())
	m.hops.WithLabelValues("agent").Observe(ran.Seconds())
	m.hops.WithLabelValues("server").Observe(server.Seconds())
}
