package session

import "github.com/prometheus/client_golang/prometheus"

// What agents are refused.
const (
	refusedSession    = "session"
	refusedEnrolment  = "enrolment"
	refusedStream     = "stream"
	refusedAccount    = "account"
	refusedRemoval    = "removal"
	refusedFacts      = "facts"
	refusedInventory  = "inventory"
	refusedItem       = "item"
	refusedProtocol   = "protocol"
	refusedRevocation = "revoked"
)

// newRefusals counts what agents asked for and did not get.
func newRefusals(r prometheus.Registerer) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "agents_refused_total",
		Help: "What agents asked for and were refused; the log says who, what and why."}, []string{"what"})
	for _, what := range []string{refusedSession, refusedEnrolment, refusedStream, refusedAccount, refusedRemoval, refusedFacts, refusedInventory, refusedItem, refusedProtocol, refusedRevocation} {
		v.WithLabelValues(what)
	}
	if r != nil {
		r.MustRegister(v)
	}
	return v
}
