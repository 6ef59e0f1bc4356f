// Package agent is one agent process: the accounts of its configuration, each with its cluster, behind one session with a bridge.
package agent

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/server"
	"github.com/fairlead/fairlead/agent/internal/session"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Agent is an agent that has not started yet.
type Agent struct {
	session *session.Session
	server  *server.Server
}

// New prepares an agent: it reads credentials and checks what can be checked without a network. An account whose credentials cannot
// be read is refused and named; the others are served.
func New(cfg *config.Config, log *slog.Logger) (*Agent, error) {
	identity := describe(cfg)
	served, err := accounts(cfg, identity.GetVersion(), log)
	if err != nil {
		return nil, err
	}
	s, err := session.New(sessionConfig(cfg, identity, log), served)
	if err != nil {
		return nil, err
	}
	return &Agent{session: s, server: newServer(cfg, s, served, log)}, nil
}

func sessionConfig(cfg *config.Config, identity *linkv1.Agent, log *slog.Logger) session.Config {
	return session.Config{
		Address:   cfg.Clouddriver.Address,
		Trust:     session.Trust{Pin: cfg.Clouddriver.TLS.Pin, CAFile: cfg.Clouddriver.TLS.CACertFile, ServerName: cfg.Clouddriver.TLS.ServerName},
		Plaintext: cfg.Clouddriver.Insecure,
		NoProxy:   cfg.Clouddriver.NoProxy,
		Token: func() (string, error) {
			token, err := cfg.Clouddriver.Token.Token()
			return string(token), err
		},
		Pauses: session.Pauses{Reconnect: cfg.Kubernetes.Reconnect, Base: cfg.Clouddriver.Backoff.Base, Max: cfg.Clouddriver.Backoff.Max,
			Multiplier: cfg.Clouddriver.Backoff.Multiplier, Jitter: cfg.Clouddriver.Backoff.Jitter},
		Agent: identity,
		Log:   log,
	}
}

// Run serves until ctx ends, then takes its leave from the bridge. It owns every goroutine of the agent.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.session.Run(ctx) })
	g.Go(func() error { return a.server.Run(ctx) })
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
	if err := session.Leave(ctx, sessionConfig(cfg, describe(cfg), log), names); err != nil {
		return err
	}
	log.Info("accounts have left Clouddriver", "accounts", names)
	return nil
}
