// Package agent is one agent process: the accounts of its configuration, each with its cluster, behind one session with a bridge.
package agent

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/agent/internal/cloud"
	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
	"github.com/fairlead/fairlead/agent/internal/execute"
	"github.com/fairlead/fairlead/agent/internal/memory"
	"github.com/fairlead/fairlead/agent/internal/server"
	"github.com/fairlead/fairlead/agent/internal/session"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Agent is an agent that has not started yet.
type Agent struct {
	session *session.Session
	server  *server.Server
	fleet   *fleet
	reload  *reloader
	metrics *prometheus.Registry
	shares  bool
}

// Options of an agent.
type Options struct {
	// Source is where the configuration was read, and is followed.
	Source config.Options
	// Level is that of Log, as far as the configuration may change it; nil: it may not.
	Level *slog.LevelVar
	Log   *slog.Logger
	// SharesProcess: other agents run in the same process, whose memory is nobody's to give back then.
	SharesProcess bool
}

// New prepares an agent: it reads credentials and checks what can be checked without a network. An account whose credentials cannot
// be read is named, and served once they can; the others are served.
func New(cfg *config.Config, o Options) (*Agent, error) {
	identity := describe(cfg)
	f := &fleet{
		log: o.Log, clouds: cloud.New(nil), version: identity.GetVersion(), shared: cluster.NewShared(), reads: credentials.NewReads(), schemas: execute.NewSchemas(),
		changed: make(chan struct{}, 1), settings: settingsOf(cfg), members: map[string]*member{}, probing: make(chan struct{}, probesAtOnce),
	}
	f.apply(context.Background(), cfg)
	served, _ := f.present()
	connects, err := sessionConfig(cfg, identity, o.Log)
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	connects.Metrics = func() ([]byte, error) { return text(metrics) }
	connects.Assignments = f
	s, err := session.New(connects, served)
	if err != nil {
		return nil, err
	}
	f.tell, f.refuseAssigned = s.SetAccounts, s.RefuseAssigned
	if len(cfg.Accounts)+len(cfg.Refused) == 0 {
		o.Log.Warn("no account is configured (kubernetes.accounts); the agent connects and serves none")
	}
	r := newReloader(cfg, f, o)
	return &Agent{session: s, fleet: f, reload: r, metrics: metrics, server: newServer(cfg, s, r, metrics, o.Log), shares: o.SharesProcess}, nil
}

func sessionConfig(cfg *config.Config, identity *linkv1.Agent, log *slog.Logger) (session.Config, error) {
	tls := &cfg.Clouddriver.TLS
	made := session.Config{
		Address:   cfg.Clouddriver.Address,
		Trust:     session.Trust{Pin: tls.Pin, CAFile: tls.CACertFile, ServerName: tls.ServerName, Proxied: tls.Proxied},
		Plaintext: cfg.Clouddriver.Insecure,
		NoProxy:   cfg.Clouddriver.NoProxy,
		Pauses: session.Pauses{Reconnect: cfg.Kubernetes.Reconnect, Base: cfg.Clouddriver.Backoff.Base, Max: cfg.Clouddriver.Backoff.Max,
			Multiplier: cfg.Clouddriver.Backoff.Multiplier, Jitter: cfg.Clouddriver.Backoff.Jitter},
		Agent: identity,
		Log:   log,
	}
	return made, prove(cfg, &made)
}

// Run serves until ctx ends, then takes its leave from the bridge. It owns every goroutine of the agent.
func (a *Agent) Run(ctx context.Context) error {
	memory.Bound()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.session.Run(ctx) })
	g.Go(func() error { return a.server.Run(ctx) })
	g.Go(func() error { return a.fleet.run(ctx) })
	g.Go(func() error { return a.reload.run(ctx) })
	if !a.shares {
		g.Go(func() error { memory.Keep(ctx, slog.Default()); return nil })
		g.Go(func() error { memory.Settle(ctx); return nil })
	}
	return g.Wait()
}

// Leave takes the accounts of a configuration out of Clouddriver, with what is cached of them; nothing in their clusters changes. It returns
// when a bridge has done so.
func Leave(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	names := make([]string, 0, len(cfg.Accounts)+len(cfg.Refused))
	for _, a := range cfg.Accounts {
		names = append(names, a.Name)
	}
	// What makes an account unfit to be served is no reason for it to stay.
	for _, r := range cfg.Refused {
		if r.Name != "" {
			names = append(names, r.Name)
		}
	}
	connects, err := sessionConfig(cfg, describe(cfg), log)
	if err != nil {
		return err
	}
	if err := session.Leave(ctx, connects, names); err != nil {
		return err
	}
	log.Info("accounts have left Clouddriver", "accounts", names)
	return nil
}
