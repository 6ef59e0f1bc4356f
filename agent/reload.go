package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/server"
)

const (
	// lookInterval is between two looks at the configuration's files. A change counts once two looks have seen the same, so that no half of a
	// file that is being written does.
	lookInterval = 500 * time.Millisecond
	// retryRefused is how often a configuration is read again while it is refused in part: what it lacks (a mounted file) may have come.
	retryRefused = 10 * time.Second
)

// reloader keeps the fleet as the configuration says. What cannot be read, or what looks like an accident, leaves in force what was.
type reloader struct {
	source config.Options
	fleet  *fleet
	level  *slog.LevelVar
	log    *slog.Logger
	// started is the configuration that the process began with.
	started *config.Config
	reloads *prometheus.CounterVec

	mu    sync.Mutex
	state server.Config
}

func newReloader(started *config.Config, f *fleet, o Options) *reloader {
	r := &reloader{
		source: o.Source, fleet: f, level: o.Level, log: o.Log, started: started,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_agent_config_reloads_total",
			Help: "Configurations that were read because a file had changed, by what became of them: applied or refused."}, []string{"outcome"}),
		state: server.Config{Files: started.Files, Applied: time.Now()},
	}
	r.reloads.WithLabelValues("applied")
	r.reloads.WithLabelValues("refused")
	return r
}

// run looks at the files until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	inForce, seen := r.started.Fingerprint, ""
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	retry := time.Now().Add(retryRefused)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := r.look()
		settled := now == seen
		seen = now
		again := time.Now().After(retry) && r.fleet.hasRefused()
		if !settled || now == inForce && !again {
			continue
		}
		changed := now != inForce
		inForce, retry = now, time.Now().Add(retryRefused)
		r.reload(ctx, changed)
	}
}

// look tells contents apart; what cannot be read looks like its error.
func (r *reloader) look() string {
	print, err := config.Fingerprint(r.source)
	if err != nil {
		return "error: " + err.Error()
	}
	return print
}

// reload reads the configuration, and puts it in force unless something is wrong with it.
func (r *reloader) reload(ctx context.Context, changed bool) {
	cfg, err := config.Load(r.source)
	if err == nil {
		err = r.accident(cfg)
	}
	if err != nil {
		if changed {
			r.reloads.WithLabelValues("refused").Inc()
			r.log.Error("configuration refused, the one before stays in force", "error", err.Error())
		}
		r.mu.Lock()
		r.state.Problem = err.Error()
		r.mu.Unlock()
		return
	}
	r.fleet.apply(ctx, cfg)
	if r.level != nil {
		r.level.Set(cfg.Logging.Level)
	}
	waiting := untilRestart(r.started, cfg)
	r.mu.Lock()
	r.state = server.Config{Files: cfg.Files, Applied: time.Now(), AfterRestart: waiting}
	r.mu.Unlock()
	if !changed {
		return
	}
	r.reloads.WithLabelValues("applied").Inc()
	r.log.Info("configuration applied", "files", cfg.Files, "accounts", len(cfg.Accounts), "refused", len(cfg.Refused))
	for _, n := range cfg.Notes {
		if n.Warning {
			r.log.Warn("configuration", "key", n.Key, "note", n.Text, "accounts", n.Accounts)
		}
	}
	if len(waiting) > 0 {
		r.log.Warn("configuration has changes that take effect when the agent starts again", "sections", waiting)
	}
}

// accident tells a configuration that would take out every account, though nobody says so.
func (r *reloader) accident(cfg *config.Config) error {
	switch {
	case len(r.started.Files) > 0 && len(cfg.Files) == 0:
		return fmt.Errorf("the configuration has gone (it was %s)", strings.Join(r.started.Files, ", "))
	case !cfg.AccountsGiven && r.fleet.serves():
		return errors.New("kubernetes.accounts is not there any more; write `accounts: []` to take all accounts out of Clouddriver")
	}
	return nil
}

// untilRestart lists sections that differ and that only a start reads.
func untilRestart(started, cfg *config.Config) []string {
	var list []string
	for _, section := range []struct {
		name      string
		was, will any
	}{
		{"clouddriver", started.Clouddriver, cfg.Clouddriver},
		{"kubernetes.reconnectTimeoutMs", started.Kubernetes.Reconnect, cfg.Kubernetes.Reconnect},
		{"server", started.Server, cfg.Server},
		{"prometheus", started.Prometheus, cfg.Prometheus},
		{"pprof", started.Pprof, cfg.Pprof},
		{"logging.format", started.Logging.Format, cfg.Logging.Format},
		{"zoneId", started.Zone, cfg.Zone},
	} {
		if !reflect.DeepEqual(section.was, section.will) {
			list = append(list, section.name)
		}
	}
	return list
}

// shown is the state for people.
func (r *reloader) shown() server.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// metrics are those of configuration and accounts.
func (r *reloader) metrics() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value)
	}
	list := []prometheus.Collector{
		r.reloads,
		gauge("fairlead_agent_config_valid", "1 while the files hold what is in force, 0 while they were refused and an earlier configuration stays.", nil, func() float64 {
			if r.shown().Problem != "" {
				return 0
			}
			return 1
		}),
		gauge("fairlead_agent_config_applied_timestamp_seconds", "When the configuration in force was applied.", nil, func() float64 {
			return float64(r.shown().Applied.UnixMilli()) / 1000
		}),
	}
	for _, state := range []string{"served", "waiting", "troubled", "refused"} {
		list = append(list, gauge("fairlead_agent_accounts", "Accounts of the configuration: served; waiting for credentials; troubled, which are served as before because something new is wrong; refused.",
			prometheus.Labels{"state": state}, func() float64 { return float64(r.fleet.count()[state]) }))
	}
	return list
}
