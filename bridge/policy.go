package bridge

import (
	"context"
	"strings"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// policies are the parts of the configuration that are followed while the bridge runs.
type policies struct {
	cache    config.Cache
	accounts config.AccountPolicies
}

func policiesOf(c *config.Config) *policies {
	return &policies{cache: config.Cache{Policies: c.Cache.Policies}, accounts: c.Accounts.Policies}
}

// of is what they say about an account.
func (p *policies) of(account string) accounts.Policy {
	policy := cachePolicyOf(&p.cache, account)
	policy.Settings = &linkv1.AccountSettings{}
	if s := p.accounts.Of(account, identity.Matches); s != nil {
		policy.Settings = &linkv1.AccountSettings{LogLevel: s.LogLevel, RequestRate: s.Limits.RequestsPerSecond, RequestBurst: s.Limits.RequestBurst,
			RequestsAtOnce: s.Limits.RequestsAtOnce, OperationsAtOnce: s.Limits.OperationsAtOnce,
			InventoryRate: s.Limits.InventoryRequestsPerSecond, InventoryBurst: s.Limits.InventoryRequestBurst}
	}
	return policy
}

func cachePolicyOf(c *config.Cache, account string) accounts.Policy {
	policy := accounts.Policy{Cache: &linkv1.CachePolicy{}}
	p := c.Policy(account, identity.Matches)
	if p == nil {
		return policy
	}
	policy.Cache.Kinds, policy.Cache.OmitKinds = p.Kinds, p.OmitKinds
	policy.Cache.All, policy.Cache.OnlySpinnakerManaged = p.All, p.OnlySpinnakerManaged
	for _, l := range p.CachingPolicies {
		policy.Cache.CachingPolicies = append(policy.Cache.CachingPolicies,
			&linkv1.CachingPolicy{KubernetesKind: l.KubernetesKind, MaxEntriesPerAgent: l.MaxEntriesPerAgent})
	}
	for _, r := range p.CustomResources {
		policy.CustomResources = append(policy.CustomResources, &linkv1.CustomResource{
			KubernetesKind: r.KubernetesKind, SpinnakerKind: r.SpinnakerKind, DeployPriority: r.DeployPriority, Versioned: r.Versioned, Namespaced: r.Namespaced})
	}
	return policy
}

// pluginAccounts is the registry as the plugin's endpoint sees it.
type pluginAccounts struct {
	registry *accounts.Registry
	policy   func(account string) accounts.Policy
}

func (p pluginAccounts) List() (all []plugin.Account, complete bool) {
	list, _, complete := p.registry.List()
	all = make([]plugin.Account, len(list))
	for i, a := range list {
		all[i] = p.view(a)
	}
	return all, complete
}

func (p pluginAccounts) Get(name string) (plugin.Account, bool) {
	a, known := p.registry.Get(name)
	if !known {
		return plugin.Account{}, false
	}
	return p.view(a), true
}

func (p pluginAccounts) view(a accounts.Account) plugin.Account {
	view := plugin.Account{Declared: a.Declared, Facts: a.Facts}
	policy := p.policy(a.Declared.GetName()).Cache
	for _, kind := range policy.GetKinds() {
		view.Types = append(view.Types, cats.ParseType(kind))
	}
	if policy.GetAll() {
		view.Types = append(view.Types, cats.NativeTypes()...)
	}
	// A kind of configuration may lack its group; the cluster's own name has it.
	for _, r := range a.Facts.GetCustomResources() {
		if policy.GetAll() || names(policy.GetKinds(), r.GetKubernetesKind()) {
			view.Types = append(view.Types, cats.ParseType(r.GetKubernetesKind()))
		}
	}
	return view
}

// names tells whether one of the kinds may mean a qualified one.
func names(kinds []string, qualified string) bool {
	kind, _, _ := strings.Cut(qualified, ".")
	for _, k := range kinds {
		if strings.EqualFold(k, qualified) || strings.EqualFold(k, kind) {
			return true
		}
	}
	return false
}

func (p pluginAccounts) HoldNew(ctx context.Context, held func() error) error {
	return p.registry.HoldNew(ctx, held)
}

func (p pluginAccounts) Changed() <-chan struct{} { return p.registry.Changed() }
