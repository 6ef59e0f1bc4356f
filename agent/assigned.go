package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file is about accounts that bridges give to the agent. They are kept in memory alone.

const (
	// mostAssigned bounds them.
	mostAssigned = 5000
	// probeTime is how long an assigned account's API server may take to answer; the bridge waits a little longer.
	probeTime = 12 * time.Second
	// probesAtOnce bounds how many are asked at a time.
	probesAtOnce = 32
)

// accounts are those of the configuration and those that were assigned; the configuration's come first. The lock is held.
func (f *fleet) accounts(cfg *config.Config) []config.Account {
	all := slices.Clone(cfg.Accounts)
	for _, name := range slices.Sorted(maps.Keys(f.assigned)) {
		if !named(cfg, name) {
			all = append(all, f.assigned[name])
		}
	}
	return all
}

// named tells whether the configuration has an account of that name, however it is spelt.
func named(cfg *config.Config, name string) bool {
	return slices.ContainsFunc(cfg.Accounts, func(a config.Account) bool { return strings.EqualFold(a.Name, name) }) ||
		slices.ContainsFunc(cfg.Refused, func(r config.Refused) bool { return strings.EqualFold(r.Name, name) })
}

// Take implements session.Assignments: the account is served once its API server has answered.
func (f *fleet) Take(a *linkv1.Assign) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.following == nil {
		return // the agent stops, or has not started: the bridge asks again
	}
	if f.wanted == nil {
		f.wanted, f.assigned = map[string]uint64{}, map[string]config.Account{}
	}
	f.wanted[a.GetAccount()] = a.GetRevision()
	ctx := f.following
	f.watchers.Go(func() {
		err := f.take(ctx, a)
		if err == nil || ctx.Err() != nil {
			return
		}
		f.log.Warn("assigned account is not served", "account", a.GetAccount(), "revision", a.GetRevision(), "error", err.Error())
		f.refuseAssigned(&linkv1.Assigned{Account: a.GetAccount(), Revision: a.GetRevision(), Problem: err.Error()})
	})
}

// take serves an assigned account, or says why not.
func (f *fleet) take(ctx context.Context, a *linkv1.Assign) error {
	account, err := config.Assigned(a)
	if err != nil {
		return err
	}
	f.mu.Lock()
	cfg, settings, others := f.configured, f.settings, len(f.assigned)
	f.mu.Unlock()
	switch {
	case named(cfg, account.Name):
		return fmt.Errorf("name: this agent's own configuration has the account %q", account.Name)
	case others >= mostAssigned:
		return fmt.Errorf("this agent serves %d assigned accounts already", others)
	}
	if err := f.probe(ctx, account, settings); err != nil {
		return err
	}
	f.mu.Lock()
	latest := f.wanted[account.Name] == account.Revision
	if latest {
		f.assigned[account.Name] = account
		cfg = f.configured
	}
	f.mu.Unlock()
	if latest {
		f.log.Info("account assigned", "account", account.Name, "revision", account.Revision)
		f.apply(ctx, cfg)
	}
	return nil
}

func (f *fleet) probe(ctx context.Context, account config.Account, s settings) error {
	select {
	case f.probing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-f.probing }()
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	access, err := credentials.Load(ctx, credentials.Spec{Inline: account.Kubeconfig, Context: account.Context}, credentials.Options{Log: f.log})
	if err != nil {
		return err
	}
	err = cluster.Probe(ctx, account, cluster.Options{Log: f.log, Access: access, NoProxy: s.noProxy, RequestTimeout: s.timeout, UserAgent: "fairlead-agent/" + f.version})
	if err != nil {
		return fmt.Errorf("the API server %s: %w", access.Config.Host, err)
	}
	return nil
}

// Drop implements session.Assignments.
func (f *fleet) Drop(account string) {
	f.mu.Lock()
	_, served := f.assigned[account]
	delete(f.assigned, account)
	delete(f.wanted, account)
	ctx, cfg := f.following, f.configured
	f.mu.Unlock()
	if served && ctx != nil {
		f.log.Info("assigned account was taken back", "account", account)
		f.apply(ctx, cfg)
	}
}
