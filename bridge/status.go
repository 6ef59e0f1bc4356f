package bridge

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead/fairlead/bridge/internal/admin"
	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/bridge/internal/session"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// health is what is known of the parts that the bridge depends on.
type health struct {
	// Nil while the database answers.
	database  atomic.Pointer[outage]
	templates atomic.Bool
}

type outage struct {
	since time.Time
	err   error
}

const (
	pingInterval = 5 * time.Second
	pingTimeout  = 3 * time.Second
	// templatesPatience is how long after its start the bridge takes to look for Clouddriver's templates before it calls them missing.
	templatesPatience = 5 * time.Second
)

// watchDatabase keeps the health of the database.
func (b *Bridge) watchDatabase(ctx context.Context) error {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		err := b.store.Ping(ping)
		cancel()
		before := b.health.database.Load()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && before != nil:
			b.health.database.Store(nil)
			b.log.Info("database answers again", "away", time.Since(before.since).Round(time.Second))
		case err != nil && before == nil:
			b.health.database.Store(&outage{since: time.Now(), err: err})
			b.log.Warn("database does not answer", "database", b.store.Address(), "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// isReady is the bridge's readiness: it stays up whatever happens after the first complete start.
func (b *Bridge) isReady() (ready bool, reason string) {
	switch {
	case b.ready.Load():
		return true, ""
	case b.authority.Load() == nil:
		return false, "the bridge waits for its database"
	}
	return false, "the bridge has not read the accounts yet"
}

// problems says what is wrong, in sentences for a person.
func (b *Bridge) problems() (list []string) {
	if o := b.health.database.Load(); o != nil {
		list = append(list, fmt.Sprintf("the database %s has not answered for %s: %v", b.store.Address(), time.Since(o.since).Round(time.Second), o.err))
	} else if b.authority.Load() != nil && !b.health.templates.Load() && time.Since(b.started) > templatesPatience {
		list = append(list, "Clouddriver has not made its cats_v1 template tables yet, so that nothing can be cached: has Clouddriver started, and with sql.cache.enabled?")
	}
	list = append(list, b.trustProblems()...)
	if age := b.cache.Oldest(); age > 30*time.Second {
		list = append(list, fmt.Sprintf("inventory has waited for the database for %s", age.Round(time.Second)))
	}
	broken, example := 0, ""
	all, _, _ := b.registry.List()
	for _, a := range all {
		if problem := a.Facts.GetProblem(); problem != "" && a.Connected() {
			if broken++; example == "" {
				example = fmt.Sprintf("%s: %s", a.Declared.GetName(), problem)
			}
		}
	}
	switch {
	case broken == 1:
		list = append(list, "account "+example)
	case broken > 1:
		list = append(list, fmt.Sprintf("%d accounts do not work, among them %s", broken, example))
	}
	return list
}

func (b *Bridge) totals() admin.Totals {
	rows, links := b.cache.Totals()
	return admin.Totals{Rows: rows, Links: links, Operations: b.runner.count.Load()}
}

func (b *Bridge) listSessions() []*adminv1.Session {
	sessions := b.sessions.Sessions()
	list := make([]*adminv1.Session, 0, len(sessions))
	for _, s := range sessions {
		list = append(list, &adminv1.Session{
			Session: s.Session, Agent: s.Agent.GetName(), Instance: s.Agent.GetInstance(), Version: s.Agent.GetVersion(),
			Capability: s.Agent.GetCapability(), Outdated: session.Outdated(s.Agent, b.version), RemoteAddress: s.Remote, Since: timestamppb.New(s.Since), Accounts: s.Accounts,
		})
	}
	return list
}

// resync compares what is cached of an account, as the admin API asks for it.
func (b *Bridge) resync(ctx context.Context, account, kind string) ([]*adminv1.ResyncedGroup, error) {
	groups, err := b.sessions.Resync(ctx, account, kind)
	list := make([]*adminv1.ResyncedGroup, len(groups))
	for i, g := range groups {
		list[i] = &adminv1.ResyncedGroup{Kind: string(g.Group.Type), LinkedKind: string(g.Group.RelType), Differed: g.Differed, GaveUp: g.GaveUp}
	}
	return list, err
}

func (b *Bridge) pluginStatus() plugin.Status {
	all, connected := b.count()
	return plugin.Status{Version: b.version, Agents: len(b.sessions.Sessions()), Accounts: all, AccountsConnected: connected, Problems: b.problems()}
}

func (b *Bridge) count() (all, connected int) {
	list, _, _ := b.registry.List()
	for _, a := range list {
		if a.Connected() {
			connected++
		}
	}
	return len(list), connected
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// serveMetrics serves /metrics until ctx ends.
func (b *Bridge) serveMetrics(ctx context.Context) error {
	if b.cfg.Metrics.Address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Metrics.Address)
	if err != nil {
		return fmt.Errorf("metrics.address: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics/agents", promhttp.HandlerFor(b.agentMetrics, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	mux.Handle("/metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{Registry: b.metrics}))
	return admin.Serve(ctx, listener, mux, b.log)
}
