// Package bridge is the sidecar that connects a Clouddriver to the agents in its clusters.
//
// A Bridge owns everything that runs in the process. Parts and what they depend on, from the bottom:
//
//	store       the database
//	cache       writes Clouddriver's tables              identity   authority and enrolment tokens
//	accounts    the registry of accounts
//	dynamic     accounts that are given to agents at run time
//	operations  gives operations to sessions
//	peer        sessions of other bridges (gRPC, peers.address)
//	session     agents' sessions (gRPC, agents.address)
//	plugin      Clouddriver's calls (plugin.address)     admin      operators' calls and probes (admin.address)
package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/admin"
	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/forwarded"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/peer"
	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/bridge/internal/session"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Bridge is one bridge process.
type Bridge struct {
	cfg     *config.Config
	log     *slog.Logger
	version string
	started time.Time

	key      *identity.Key
	store    *store.Store
	cache    *cache.Writer
	registry *accounts.Registry
	dynamic  *dynamic.Service
	tokens   *identity.Tokens
	trust    trust
	history  *operations.History
	modes    *operations.Modes
	runner   *counted
	peers    *peer.Client
	sessions *session.Service
	plugin   *plugin.Server
	admin    *admin.Server
	metrics  *prometheus.Registry
	// agentMetrics are those that agents have sent.
	agentMetrics *forwarded.Store

	// The authority, once it has been read, and the certificates that it makes for this bridge: for agents, and for a plugin that calls over a network.
	authority         atomic.Pointer[identity.Authority]
	own, ownForPlugin atomic.Pointer[func() (*tls.Certificate, error)]
	// What the configuration says about accounts; it changes with the file.
	policies atomic.Pointer[policies]
	// Set when the first start-up is complete; it stays set.
	ready  atomic.Bool
	health health
}

// New checks everything that can be checked without the database, and reads the key and secret files, which it makes where they may be
// made. It connects to nothing and starts nothing.
func New(cfg *config.Config, version string, log *slog.Logger) (*Bridge, error) {
	b := &Bridge{cfg: cfg, log: log, version: version, started: time.Now(), metrics: prometheus.NewRegistry()}
	b.policies.Store(policiesOf(cfg))
	var err error
	if b.key, err = identity.ReadKey(cfg.KeyFile); err != nil {
		return nil, err
	}
	password, err := cfg.Database.Password()
	if err != nil {
		return nil, err
	}
	b.store, err = store.Open(store.Options{DSN: cfg.Database.DSN, Password: password, MaxConnections: cfg.Database.MaxConnections, Log: log})
	if err != nil {
		return nil, err
	}
	if err := b.build(); err != nil {
		return nil, errors.Join(err, b.store.Close())
	}
	return b, nil
}

// ageOf is the age of sessions as the link takes it: there 0 is its default, and negative means that none is too old.
func ageOf(configured time.Duration) time.Duration {
	if configured == 0 {
		return -1
	}
	return configured
}

// build makes the parts, each of those that it depends on.
func (b *Bridge) build() error {
	cfg := b.cfg
	b.agentMetrics = forwarded.New(b.metrics)
	b.cache = cache.New(cache.Options{
		Store: b.store, TableNamespace: cfg.Cache.TableNamespace, MaximumBody: cfg.Cache.MaximumBodyBytes,
		QueueBytes: cfg.Cache.QueueBytes, MaximumApplications: cfg.Cache.MaximumApplications, MaximumLinks: cfg.Cache.MaximumLinks, Workers: cfg.Cache.Workers, VerifyRate: cmp.Or(cfg.Cache.VerifyRowsPerSecond, -1), Log: b.log, Metrics: b.metrics,
		Custom: func(account string, t cats.Type) bool { return b.registry.Custom(account, string(t)) },
		Policy: func(account string) *linkv1.CachePolicy { return b.policy(account).Cache },
	})
	b.registry = accounts.New(accounts.Options{
		Store: b.store, Remover: b.cache, Bridge: cfg.Name, Version: b.version, Log: b.log, RemoveAfter: cfg.Accounts.RemoveAfter,
		ApplicationsTable: cats.TableName(cfg.Cache.TableNamespace, cats.Applications, false),
		Policy:            b.policy,
		Metrics:           b.metrics,
		Leaving:           func(account string) { b.sessions.Removed(account) },
		Dynamic:           func(account string) string { return b.dynamic.Forbids(account) },
	})
	b.dynamic = dynamic.New(dynamic.Options{Store: b.store, Registry: b.registry, Key: b.key, Bridge: cfg.Name, Servers: cfg.Accounts.Dynamic.Servers, Log: b.log})
	b.tokens = identity.NewTokens(b.store, b.log)
	if err := b.buildTrust(); err != nil {
		return err
	}
	b.history = operations.NewHistory(b.store, cfg.Name, cfg.Operations.Retention, b.log)
	b.modes = operations.NewModes(b.store, cfg.Operations.Mode, identity.Matches, b.log)
	router, err := operations.New(operations.Config{AbsentWait: cfg.Operations.AbsentWait, Accounts: b.registry, History: b.history, Elsewhere: func() { b.peers.Look() },
		Spread: b.modes.Spread, Metrics: b.metrics, Log: b.log})
	if err != nil {
		return err
	}
	b.runner = &counted{router: router}
	b.peers = peer.NewClient(peer.Options{Self: cfg.Name, Router: router, Directory: b.store, Known: b.registry.Elsewhere, TLS: b.peerTLS, Log: b.log})
	b.sessions = session.New(session.Config{
		Bridge: cfg.Name, Agents: b.trust.agents, Prover: b.prover(), Accounts: b.registry, Fences: b.store, Directory: b.store, Cache: b.cache, Router: router, Dynamic: b.dynamic,
		Heartbeat: cfg.Agents.Heartbeat, Age: ageOf(cfg.Agents.MaximumAge), Forwarded: b.agentMetrics, MetricsInterval: cfg.Metrics.Agents, CheckInterval: cfg.Cache.CheckInterval, Metrics: b.metrics, Log: b.log,
	})
	b.plugin, err = plugin.New(plugin.Options{
		Address: cfg.Plugin.Address, SecretFile: cfg.Plugin.SecretFile, Remote: b.pluginRemote(), Accounts: pluginAccounts{b.registry, b.policy}, Runner: b.runner, Status: b.pluginStatus,
		Metrics: b.metrics, Log: b.log,
	})
	if err != nil {
		return err
	}
	b.admin, err = admin.New(admin.Options{
		Address: cfg.Admin.Address, TokenFile: cfg.Admin.TokenFile, Version: b.version, Bridge: cfg.Name, Started: b.started,
		Pin: b.pin, Accounts: b.registry, Dynamic: b.dynamic, Disabled: cfg.Accounts.Dynamic.Disabled, Servers: cfg.Accounts.Dynamic.Servers, Bridges: b.store.Bridges, Pool: b.store.Pool, Stored: b.store,
		Tokens: b.tokens, People: b.trust.people, Trail: b.store, Record: b.store, Modes: b.modes, Rotate: b.rotate, IssueForPlugin: b.issueForPlugin, Keys: b.key.IDs, AgentsAddress: b.agentsAddress(), Epochs: b.store.Epochs, Sessions: b.listSessions, Kinds: b.sessions.Kinds, Resync: b.resync,
		Agents: b.listAgents, Diagnose: b.diagnose, Support: b.support,
		Runner: b.runner, Problems: b.problems, Totals: b.totals, Ready: b.isReady, Log: b.log,
	})
	if err != nil {
		return err
	}
	b.registerMetrics()
	return nil
}

// Run serves until ctx ends, then drains: operations end, agents go elsewhere. It returns when everything has stopped.
func (b *Bridge) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.store.Close()) }()
	b.log.Info("bridge starts", "bridge", b.cfg.Name, "version", b.version, "database", b.store.Address())
	// What runs outlives ctx: it is needed to drain. A part that fails ends all others.
	group, running := errgroup.WithContext(context.WithoutCancel(ctx))
	running, stop := context.WithCancel(running)
	defer stop()
	front, leave := context.WithCancel(running)
	defer leave()
	// The plugin and probes are answered while the database is still waited for.
	group.Go(func() error { return b.plugin.Run(front) })
	group.Go(func() error { return b.admin.Run(running) })
	group.Go(func() error { return b.serveMetrics(running) })
	group.Go(func() error { return b.watchDatabase(running) })
	group.Go(func() error {
		defer stop()
		defer leave()
		// Until a signal, or until another part has failed.
		asked, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(running, cancel)()
		return b.serve(asked, running, leave)
	})
	err = group.Wait()
	if err == nil {
		b.log.Info("bridge has stopped")
	}
	return err
}

// counted is the router, as the endpoints call it.
type counted struct {
	router *operations.Router
	count  atomic.Uint64
}

// Run counts an operation and runs it.
func (c *counted) Run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error) {
	c.count.Add(1)
	return c.router.Run(ctx, account, op, mutation, output)
}
