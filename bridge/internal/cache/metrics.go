package cache

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the writer tells Prometheus.
type metrics struct {
	rows, links, deletes prometheus.Counter
	rejected             prometheus.Counter
	fenced               prometheus.Counter
	failed               prometheus.Counter
	verified             prometheus.Counter
	retries              *prometheus.CounterVec
	seconds              prometheus.Histogram
	writes               prometheus.Histogram
	busy                 prometheus.Gauge

	// The same as rows and links, for the admin API.
	rowsPut, linksPut atomic.Uint64
}

const namespace = "fairlead_bridge"

func newMetrics(r prometheus.Registerer, q *queue, workers int) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: "cache", Name: name, Help: help})
	}
	m := &metrics{
		rows:     counter("rows_put_total", "Rows that were committed to Clouddriver's tables, unchanged ones included."),
		links:    counter("links_put_total", "Links that were committed to Clouddriver's tables, unchanged ones included."),
		deletes:  counter("deletes_total", "Deletions of rows and links that were committed."),
		rejected: counter("rejected_total", "Rows and links that cannot be stored; agents are told."),
		fenced:   counter("fenced_total", "Writes that were refused because a later session had attached the account."),
		failed:   counter("failed_total", "Writes that the database refused for good; their sessions start over."),
		verified: counter("verified_total", "Rows and links that were compared with their hashes, in checks that read more than an index."),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "cache", Name: "retries_total",
			Help: "Transactions that ran again, after a conflict with another one or a failure."}, []string{"cause"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "cache", Name: "transaction_duration_seconds",
			Help: "Time of a committed transaction.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "cache", Name: "transaction_writes",
			Help: "Writes that shared a transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
	}
	m.busy = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "cache", Name: "workers_busy",
		Help: "Transactions that are being written, their repetitions and the pauses between them included."})
	limit := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "cache", Name: "workers", Help: "Transactions that may be written at once (cache.workers)."})
	limit.Set(float64(workers))
	for _, cause := range []string{"conflict", "failure"} {
		m.retries.WithLabelValues(cause)
	}
	if r == nil {
		return m
	}
	gauge := func(name, help string, value func(queueStats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "cache_queue", Name: name, Help: help},
			func() float64 { return value(q.look()) })
	}
	r.MustRegister(m.rows, m.links, m.deletes, m.rejected, m.fenced, m.failed, m.verified, m.retries, m.seconds, m.writes, m.busy, limit,
		gauge("bytes", "Bytes of inventory that wait or are being written.", func(s queueStats) float64 { return float64(s.bytes) }),
		gauge("changes", "Rows and links that wait or are being written.", func(s queueStats) float64 { return float64(s.changes) }),
		gauge("writes", "Writes that wait or are being written.", func(s queueStats) float64 { return float64(s.writes) }),
		gauge("saturation_ratio", "How full the queue is, by its tighter bound; at 1 sessions wait, and agents stop reading their watches.",
			func(s queueStats) float64 { return s.saturation }),
		gauge("oldest_seconds", "Age of the oldest write that has not ended.", func(s queueStats) float64 {
			if s.oldest.IsZero() {
				return 0
			}
			return time.Since(s.oldest).Seconds()
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Subsystem: "cache_queue", Name: "blocked_seconds_total",
			Help: "Time that sessions waited for room in the queue."}, func() float64 { return q.look().blocked.Seconds() }))
	return m
}

func (m *metrics) transaction(took time.Duration, tasks []*task) {
	m.seconds.Observe(took.Seconds())
	m.writes.Observe(float64(len(tasks)))
}

// ended counts a task that is over.
func (m *metrics) ended(t *task, o outcome) {
	m.rejected.Add(float64(len(o.rejected)))
	switch {
	case errors.Is(o.err, ErrFenced):
		m.fenced.Inc()
	case errors.Is(o.err, ErrStopped):
	case o.err != nil:
		m.failed.Inc()
	default:
		rows, links, deletes := t.count()
		m.rows.Add(float64(rows))
		m.links.Add(float64(links))
		m.rowsPut.Add(uint64(rows))
		m.linksPut.Add(uint64(links))
		m.deletes.Add(float64(deletes))
	}
}

func (t *task) count() (rows, links, deletes int) {
	for i := range t.items {
		switch it := &t.items[i]; {
		case !it.put:
			deletes++
		case it.link != nil:
			links++
		default:
			rows++
		}
	}
	return rows, links, deletes
}
