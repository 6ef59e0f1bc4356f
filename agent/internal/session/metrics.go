package session

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a session measures.
type metrics struct {
	commit   prometheus.Histogram
	blocked  prometheus.Counter
	rejected prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
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
	return []prometheus.Collector{
		s.metrics.commit, s.metrics.blocked, s.metrics.rejected,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_outbox_bytes", Help: "What is not acknowledged yet, over all accounts.",
		}, outbox(func(_, bytes int) int { return bytes })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_outbox_changes", Help: "Changes that are not acknowledged yet, over all accounts.",
		}, outbox(func(changes, _ int) int { return changes })),
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
