package agent

import (
	"cmp"
	"log/slog"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/server"
	"github.com/fairlead/fairlead/agent/internal/session"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// newServer shows session and accounts to probes and people.
func newServer(cfg *config.Config, s *session.Session, r *reloader, metrics *prometheus.Registry, log *slog.Logger) *server.Server {
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics.MustRegister(r.metrics()...)
	metrics.MustRegister(s.Collectors()...)
	metrics.MustRegister(r.fleet.shared.Collectors()...)
	metrics.MustRegister(newWatches(r.fleet), r.fleet.reads)
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairlead_agent_info", Help: "1; the label is the agent's version.",
		ConstLabels: prometheus.Labels{"version": Version()}}, func() float64 { return 1 }))
	var shownMetrics prometheus.Gatherer = metrics
	if cfg.Prometheus.ReplacedNames {
		shownMetrics = replaced{metrics}
	}
	o := server.Options{Host: cfg.Server.Host, Port: cfg.Server.Port, Log: log}
	if cfg.Prometheus.Enabled {
		o.MetricsPort = cfg.Prometheus.Port
	}
	if cfg.Pprof.Enabled {
		o.PprofPort = cfg.Pprof.Port
	}
	return server.New(o, server.Sources{
		Ready:      func() []server.Check { return ready(s) },
		Accounts:   func() []server.Account { return shown(r.fleet.all(), s.State().Refused) },
		Operations: func() []server.Operation { return operations(s) },
		Config:     r.shown,
		Metrics:    shownMetrics,
		Version:    server.Version{Version: Version(), GoVersion: runtime.Version()},
	})
}

// ready is whether the agent can do its work: it has a session. An account that fares badly is shown, and takes nobody else down.
func ready(s *session.Session) []server.Check {
	state := s.State()
	checks := []server.Check{{Name: "session", Problem: state.Problem}}
	if !state.Connected && state.Problem == "" {
		checks[0].Problem = "not connected to a bridge"
	}
	return checks
}

func shown(all []standing, refused map[string]string) []server.Account {
	list := make([]server.Account, 0, len(all))
	for _, a := range all {
		if reason := refused[a.name]; reason != "" {
			a.problem = strings.TrimPrefix(a.problem+"; the bridge refuses the account: "+reason, "; ")
		}
		shown := server.Account{Config: server.AccountConfig{Name: a.name}, State: server.AccountState{Name: server.StateConfigLoaded, Error: a.problem}}
		if a.served != nil {
			shownCluster(&shown, a)
		}
		list = append(list, shown)
	}
	return list
}

func shownCluster(shown *server.Account, a standing) {
	st := a.served.Cluster.Status()
	shown.Config.Namespaces, shown.Server, shown.Version = a.served.Declared.GetNamespaces(), st.Server, st.Version
	switch {
	case st.Problem != "" || a.problem != "":
		shown.State = server.AccountState{Name: server.StateDiscoveryError, Error: cmp.Or(st.Problem, a.problem)}
		if st.Problem != "" && a.problem != "" {
			shown.State.Error += "; " + a.problem
		}
	case st.Version != "":
		shown.State.Name = server.StateHealthy
	}
	for _, k := range st.Kinds {
		shown.Kinds = append(shown.Kinds, string(k.Kind))
		shown.Watches = append(shown.Watches, server.Watch{Kind: string(k.Kind), State: k.State, Since: k.Since, Objects: k.Listed, Relists: k.Relists,
			Resumes: k.Resumes, Skipped: k.Skipped, Error: k.Error, DeniedNamespaces: k.DeniedNamespaces})
	}
}

func operations(s *session.Session) []server.Operation {
	running := s.Operations()
	list := make([]server.Operation, 0, len(running))
	for _, r := range running {
		list = append(list, server.Operation{ID: r.ID, Account: r.Account, Verb: verb(r.Operation), Started: r.Since, Deadline: r.Since.Add(r.Timeout), Cancelled: r.Cancelled})
	}
	return list
}

func verb(op *linkv1.Operation) string {
	if m := op.ProtoReflect(); m.IsValid() {
		if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("operation")); f != nil {
			return string(f.Name())
		}
	}
	return "unknown"
}
