package session

import (
	"crypto/x509"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// metrics are what a session measures.
type metrics struct {
	commit   prometheus.Histogram
	blocked  prometheus.Counter
	rejected prometheus.Counter

	connections, disconnections prometheus.Counter
	batch                       prometheus.Histogram
	changes                     *prometheus.CounterVec
	rows, bytes                 *prometheus.CounterVec
	operations                  *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec
	kinds                       *kindLabels
}

// kindLabels bounds the values of the label kind.
type kindLabels struct {
	mu    sync.Mutex
	known map[string]bool
}

// mostKinds is as in package cluster.
const mostKinds = 64

func (k *kindLabels) of(kind string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known[kind] {
		if len(k.known) >= mostKinds {
			return "other"
		}
		k.known[kind] = true
	}
	return kind
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_agent_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_agent_" + name, Help: help}, labels)
	}
	m := metrics{
		connections:    counter("connections_total", "Sessions that a bridge opened for the agent."),
		disconnections: counter("disconnections_total", "Sessions that ended, whoever ended them."),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairlead_agent_batch_changes", Help: "Changes of rows and links in a batch that was sent.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7)}),
		changes:    vec("changes_sent_total", "Changes that were sent, again included, by what they do.", "change"),
		rows:       vec("rows_sent_total", "Rows that were sent, again included, by kind; kinds beyond 64 are other.", "kind"),
		bytes:      vec("row_bytes_sent_total", "Bytes of the bodies of rows that were sent, before compression, by kind; kinds beyond 64 are other.", "kind"),
		operations: vec("operations_total", "Operations that ended, by verb and outcome.", "verb", "outcome"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_agent_operation_duration_seconds", Help: "Time from the beginning of an operation to its end in the agent, by verb.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 10)}, []string{"verb"}),
		kinds: &kindLabels{known: map[string]bool{}},
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairlead_agent_commit_seconds",
			Help: "Time from reading an event of a watch until the bridge has acknowledged that what it changed is committed, by the agent's clock. " +
				"Events that change nothing are not in it; of several that became one change the first counts.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300},
		}),
		blocked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_agent_outbox_blocked_seconds_total",
			Help: "Time that watches and listings waited for room in an outbox, summed.",
		}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_agent_objects_rejected_total",
			Help: "Objects that were not sent or not stored, because they are too large or the tables do not take them. The log names them.",
		}),
	}
	for _, change := range []string{"put_row", "delete_row", "put_link", "delete_link"} {
		m.changes.WithLabelValues(change)
	}
	// A series that begins at 0 is there before its first event, and its first increase is seen.
	m.rows.WithLabelValues(m.kinds.of("pod"))
	m.bytes.WithLabelValues("pod")
	m.operations.WithLabelValues("apply", "succeeded")
	m.operations.WithLabelValues("apply", "failed")
	m.seconds.WithLabelValues("apply")
	return m
}

// counted counts the batches that are sent.
func (m *metrics) counted(send func(*linkv1.InventoryUp) error) func(*linkv1.InventoryUp) error {
	return func(frame *linkv1.InventoryUp) error {
		if b := frame.GetBatch(); b != nil {
			m.batch.Observe(float64(len(b.GetChanges())))
			for _, change := range b.GetChanges() {
				m.change(change)
			}
		}
		return send(frame)
	}
}

func (m *metrics) change(c *linkv1.Change) {
	switch c := c.GetChange().(type) {
	case *linkv1.Change_PutRow:
		m.changes.WithLabelValues("put_row").Inc()
		kind := m.kinds.of(c.PutRow.GetKey().GetType())
		m.rows.WithLabelValues(kind).Inc()
		m.bytes.WithLabelValues(kind).Add(float64(len(c.PutRow.GetBody())))
	case *linkv1.Change_DeleteRow:
		m.changes.WithLabelValues("delete_row").Inc()
	case *linkv1.Change_PutLink:
		m.changes.WithLabelValues("put_link").Inc()
	case *linkv1.Change_DeleteLink:
		m.changes.WithLabelValues("delete_link").Inc()
	}
}

// ended counts an operation.
func (m *metrics) ended(op *linkv1.Operation, outcome *linkv1.Outcome, took time.Duration) {
	verb := "unknown"
	if r := op.ProtoReflect(); r.IsValid() {
		if f := r.WhichOneof(r.Descriptor().Oneofs().ByName("operation")); f != nil {
			verb = string(f.Name())
		}
	}
	word := strings.ToLower(strings.TrimPrefix(outcome.GetState().String(), "STATE_"))
	switch {
	case outcome.GetState() == linkv1.Outcome_STATE_DONE && len(outcome.GetFailures()) > 0:
		word = "failed"
	case outcome.GetState() == linkv1.Outcome_STATE_DONE:
		word = "succeeded"
	}
	m.operations.WithLabelValues(verb, word).Inc()
	m.seconds.WithLabelValues(verb).Observe(took.Seconds())
}

// Collectors are the session's metrics.
func (s *Session) Collectors() []prometheus.Collector {
	outbox := func(of func(changes, bytes int) int) func() float64 {
		return func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			sum := 0
			for name := range s.accounts {
				sum += of(s.core.Outbox(name))
			}
			return float64(sum)
		}
	}
	ledger := func(name, help string, of func(active, results, bytes int) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairlead_agent_" + name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(of(s.core.Ledger()))
		})
	}
	m := &s.metrics
	return []prometheus.Collector{
		m.commit, m.blocked, m.rejected, m.connections, m.disconnections, m.batch, m.changes, m.rows, m.bytes, m.operations, m.seconds,
		ledger("operations_active", "Operations that wait or run.", func(active, _, _ int) int { return active }),
		ledger("ledger_results", "Results of operations that the bridge has not acknowledged; at most 1,024.", func(_, results, _ int) int { return results }),
		ledger("ledger_bytes", "Output of operations that is kept for the bridge; at most 64 MiB.", func(_, _, bytes int) int { return bytes }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_outbox_bytes", Help: "What is not acknowledged yet, over all accounts.",
		}, outbox(func(_, bytes int) int { return bytes })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_outbox_changes", Help: "Changes that are not acknowledged yet, over all accounts.",
		}, outbox(func(changes, _ int) int { return changes })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_certificate_expiry_timestamp_seconds", Help: "When the certificate expires that the agent shows to bridges; 0: there is none.",
		}, s.certificateExpiry),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_connected", Help: "1 while a bridge serves the agent.",
		}, func() float64 {
			if s.State().Connected {
				return 1
			}
			return 0
		}),
	}
}

// waited counts the time since a watch began to wait for room.
func (m metrics) waited(since time.Time) { m.blocked.Add(time.Since(since).Seconds()) }

func (s *Session) certificateExpiry() float64 {
	certificate, _ := s.cfg.Credential.Certificate(time.Now())
	if s.cfg.Given != nil {
		certificate = s.cfg.Given.Get()
	}
	if certificate == nil || len(certificate.Certificate) == 0 {
		return 0
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return 0
	}
	return float64(leaf.NotAfter.Unix())
}
