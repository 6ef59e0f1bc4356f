package session

import "github.com/prometheus/client_golang/prometheus"

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
