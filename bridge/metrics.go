package bridge

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fairlead/fairlead/bridge/internal/session"
)

// registerMetrics adds what the bridge itself knows; the parts have added theirs.
func (b *Bridge) registerMetrics() {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "fairlead", Subsystem: "bridge", Name: name, Help: help, ConstLabels: labels}, value)
	}
	b.metrics.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("info", "1; the label is the bridge's version.", prometheus.Labels{"version": b.version}, func() float64 { return 1 }),
		gauge("ready", "1 once the bridge has started completely.", nil, func() float64 { return oneIf(b.ready.Load()) }),
		gauge("database_up", "1 while the database answers.", nil, func() float64 { return oneIf(b.health.database.Load() == nil) }),
		gauge("sessions", "Agents that have a session at this bridge.", nil, func() float64 { return float64(len(b.sessions.Sessions())) }),
		gauge("agents_outdated", "Agents that should be upgraded, by whether they are served; those that are not came within the last hour.", prometheus.Labels{"served": "yes"}, func() float64 {
			old := 0
			for _, s := range b.sessions.Sessions() {
				if session.Outdated(s.Agent, b.version) != "" {
					old++
				}
			}
			return float64(old)
		}),
		gauge("agents_outdated", "Agents that should be upgraded, by whether they are served; those that are not came within the last hour.", prometheus.Labels{"served": "no"}, func() float64 {
			return float64(len(b.sessions.TurnedAway()))
		}),
		gauge("forwarded_agents", "Agents whose metrics are at /metrics/agents of this bridge.", nil, func() float64 { return float64(b.agentMetrics.Agents()) }),
		gauge("plugin_calling", "1 while Clouddriver's plugin calls; one that lives always does.", nil, func() float64 { return oneIf(b.plugin.Calling().Now) }),
		gauge("history_waiting", "Rows of the history of operations that wait for the database; at most 4,096.", nil, func() float64 { return float64(b.history.Waiting()) }),
		&accountMetrics{bridge: b},
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "operations_total", Help: "Operations that callers asked for."},
			func() float64 { return float64(b.runner.count.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "history_dropped_total",
			Help: "Operations that found no room in the history while the database was away."}, func() float64 { return float64(b.history.Dropped()) }),
	)
}

// accountMetrics shows accounts by state, and those that are unwell one by one.
type accountMetrics struct{ bridge *Bridge }

// mostUnwell bounds how many accounts are shown one by one: those that have been unwell for longest.
const mostUnwell = 100

var (
	accountsDesc = prometheus.NewDesc("fairlead_bridge_accounts", "Accounts by state: connected (an agent serves it), stale (none does), paused (its cache stands still), released (Clouddriver polls it).", []string{"state"}, nil)
	unwellDesc   = prometheus.NewDesc("fairlead_bridge_account_unwell_seconds",
		"Since when an account is unwell, and why: agent_away, problem (of its cluster or credentials). At most 100 accounts, those that have been so for longest.", []string{"account", "why"}, nil)
	unwellCountDesc = prometheus.NewDesc("fairlead_bridge_accounts_unwell", "Accounts that are unwell, by why.", []string{"why"}, nil)
)

// Describe implements prometheus.Collector.
func (*accountMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- accountsDesc
	out <- unwellDesc
	out <- unwellCountDesc
}

// unwell is an account that is not as it should be.
type unwell struct {
	account, why string
	since        time.Time
}

// Collect implements prometheus.Collector.
func (m *accountMetrics) Collect(out chan<- prometheus.Metric) {
	all, _, _ := m.bridge.registry.List()
	paused, released := m.bridge.registry.Paused(), m.bridge.registry.Released()
	states := map[string]int{"connected": 0, "stale": 0, "paused": 0, "released": len(released)}
	counts := map[string]int{"agent_away": 0, "problem": 0}
	var list []unwell
	for _, a := range all {
		name := a.Declared.GetName()
		_, stands := paused[name]
		switch {
		case !a.Connected():
			states["stale"]++
			counts["agent_away"]++
			list = append(list, unwell{name, "agent_away", a.LastSeen})
			continue
		case stands:
			states["paused"]++
		default:
			states["connected"]++
		}
		if a.Facts.GetProblem() != "" {
			counts["problem"]++
			list = append(list, unwell{name, "problem", a.ProblemSince})
		}
	}
	for state, n := range states {
		out <- prometheus.MustNewConstMetric(accountsDesc, prometheus.GaugeValue, float64(n), state)
	}
	for why, n := range counts {
		out <- prometheus.MustNewConstMetric(unwellCountDesc, prometheus.GaugeValue, float64(n), why)
	}
	slices.SortFunc(list, func(a, b unwell) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.account, b.account)) })
	now := time.Now()
	for _, u := range list[:min(len(list), mostUnwell)] {
		since := 0.0
		if !u.since.IsZero() {
			since = max(now.Sub(u.since), 0).Seconds()
		}
		out <- prometheus.MustNewConstMetric(unwellDesc, prometheus.GaugeValue, since, u.account, u.why)
	}
}
