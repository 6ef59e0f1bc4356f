package session

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/proto/link"
)

// What agents are refused.
const (
	refusedSession   = "session"
	refusedEnrolment = "enrolment"
	refusedStream    = "stream"
	refusedAccount   = "account"
	refusedRemoval   = "removal"
	refusedFacts     = "facts"
	refusedInventory = "inventory"
	refusedItem      = "item"
	refusedEpoch     = "epoch"
	refusedOperation = "operation"
	refusedProcess   = "process"
	// refusedLate is what came when it was over: ordinary when an account or an operation has moved.
	refusedLate       = "late"
	refusedProtocol   = "protocol"
	refusedRevocation = "revoked"
)

// newRefusals counts what agents asked for and did not get.
func newRefusals(r prometheus.Registerer) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "agents_refused_total",
		Help: "What agents asked for and were refused; the log says who, what and why."}, []string{"what"})
	for _, what := range []string{refusedSession, refusedEnrolment, refusedStream, refusedAccount, refusedRemoval, refusedFacts, refusedInventory, refusedItem, refusedEpoch, refusedOperation, refusedProcess, refusedLate, refusedProtocol, refusedRevocation} {
		v.WithLabelValues(what)
	}
	if r != nil {
		r.MustRegister(v)
	}
	return v
}

// counts are what happens to sessions and to the comparison of what is cached.
type counts struct {
	opened   prometheus.Counter
	ended    *prometheus.CounterVec
	lasted   prometheus.Histogram
	attached *prometheus.CounterVec
	groups   *prometheus.CounterVec
}

// endings are the words of link's codes; a stream that breaks is "lost".
var endings = []string{"lost", "drained", "retry", "refused", "replaced", "protocol", "silence", "other"}

func newCounts(r prometheus.Registerer) *counts {
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	c := &counts{
		opened: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "sessions_opened_total", Help: "Sessions that agents opened at this bridge."}),
		ended:  vec("sessions_ended_total", "Sessions that ended, by why; drained ones were sent elsewhere.", "code", endings...),
		lasted: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "session_age_seconds", Help: "How long sessions lasted that ended.",
			Buckets: []float64{1, 10, 60, 300, 900, 1800, 3600, 86400}}),
		attached: vec("attaches_total", "Accounts whose caching a session took over; continued ones go on where the same agent was, of the others everything is compared.", "how", "continued", "compared"),
		groups:   vec("comparisons_total", "Comparisons of what is cached of a kind with its agent's records, by how they ended; those that gave_up still differ.", "result", "agreed", "differed", "gave_up"),
	}
	if r != nil {
		r.MustRegister(c.opened, c.ended, c.lasted, c.attached, c.groups)
	}
	return c
}

func (c *counts) over(code string, age time.Duration) {
	word := strings.ToLower(strings.TrimPrefix(code, "CODE_"))
	switch {
	case word == "" || word == "unspecified":
		word = "lost"
	case !slices.Contains(endings, word):
		word = "other"
	}
	c.ended.WithLabelValues(word).Inc()
	c.lasted.Observe(age.Seconds())
}

func (c *counts) note(n link.Note) {
	switch n.What {
	case link.NoteAttached:
		c.attached.WithLabelValues("compared").Inc()
	case link.NoteContinued:
		c.attached.WithLabelValues("continued").Inc()
	case link.NoteDiffers:
		c.groups.WithLabelValues("differed").Inc()
	case link.NoteGaveUp:
		c.groups.WithLabelValues("gave_up").Inc()
	case link.NoteChecked:
		if n.Reason == "agreed" {
			c.groups.WithLabelValues("agreed").Inc()
		}
	default: // not counted
	}
}

// leastMeasured is the shortest time between two texts of metrics of one session that are read.
const leastMeasured = 500 * time.Millisecond

// measured takes the agent's metrics. It is called by the session's reader alone.
func (e *session) measured(text []byte) {
	cfg := &e.service.cfg
	now := time.Now()
	if cfg.Forwarded == nil || cfg.MetricsInterval == 0 || now.Sub(e.measuredAt) < leastMeasured || e.name() == "" {
		return
	}
	e.measuredAt = now
	if err := cfg.Forwarded.Put(e.id, e.name(), text); err != nil && !e.unmeasured {
		e.unmeasured = true
		e.log.Warn("metrics of an agent were left out", "agent", e.name(), "reason", err.Error())
	}
}
