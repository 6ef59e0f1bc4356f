package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/agent/internal/secrets"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"go.yaml.in/yaml/v3"
)

// accountDocument mirrors the keys of an account that are used.
type accountDocument struct {
	Name                             string
	KubeconfigFile                   string `yaml:"kubeconfigFile"`
	KubeconfigContents               string `yaml:"kubeconfigContents"`
	ServiceAccount                   bool   `yaml:"serviceAccount"`
	Context                          string
	Insecure                         bool
	NoProxy                          bool `yaml:"noProxy"`
	Namespaces                       []string
	OmitNamespaces                   []string `yaml:"omitNamespaces"`
	Kinds                            []string
	OmitKinds                        []string `yaml:"omitKinds"`
	OnlyNamespacedResources          bool     `yaml:"onlyNamespacedResources"`
	OnlySpinnakerManaged             bool     `yaml:"onlySpinnakerManaged"`
	Metrics                          bool
	Permissions                      yaml.Node
	Environment                      string
	AccountType                      string `yaml:"accountType"`
	Debug                            bool
	NamingStrategy                   string   `yaml:"namingStrategy"`
	RequiredGroupMembership          []string `yaml:"requiredGroupMembership"`
	CacheAllApplicationRelationships bool     `yaml:"cacheAllApplicationRelationships"`
	CustomResourceDefinitions        []struct {
		Kind, Scope string
	} `yaml:"customResourceDefinitions"`
	CustomResources []struct {
		KubernetesKind string `yaml:"kubernetesKind"`
		SpinnakerKind  string `yaml:"spinnakerKind"`
		DeployPriority string `yaml:"deployPriority"`
		Versioned      bool
		Namespaced     *bool
	} `yaml:"customResources"`
	CachingPolicies []struct {
		KubernetesKind     string `yaml:"kubernetesKind"`
		MaxEntriesPerAgent uint32 `yaml:"maxEntriesPerAgent"`
	} `yaml:"cachingPolicies"`
}

// accounts sorts the accounts into those that can be served and those that cannot.
func (b *builder) accounts(nodes []*yaml.Node) {
	type candidate struct {
		account Account
		where   string
		errs    []error
	}
	var all []*candidate
	for _, n := range nodes {
		c := &candidate{where: fmt.Sprintf("%s:%d", b.origin[n], n.Line), errs: b.accountProblems[n]}
		account, err := decodeAccount(n)
		c.account = account
		if err != nil {
			for _, e := range unjoin(err) {
				c.errs = append(c.errs, fmt.Errorf("%s: %w", c.where, e))
			}
		}
		if from := account.KubeconfigSecret; from != nil && from.Engine == secrets.EngineVault && b.config.Secrets.Vault == nil {
			c.errs = append(c.errs, fmt.Errorf("%s: kubeconfigFile: %s is in Vault, and no Vault is configured; set secrets.vault.enabled, url and authMethod", c.where, from))
		}
		all = append(all, c)
	}
	for i, c := range all {
		for j, other := range all {
			if i != j && c.account.Name != "" && strings.EqualFold(c.account.Name, other.account.Name) {
				c.errs = append(c.errs, fmt.Errorf("%s: name: %q is also the account at %s (Clouddriver's tables do not tell upper from lower case); rename or remove one",
					c.where, c.account.Name, other.where))
			}
		}
		if err := c.account.validate(); err != nil {
			for _, e := range unjoin(err) {
				c.errs = append(c.errs, fmt.Errorf("%s: %w", c.where, e))
			}
		}
		if len(c.errs) > 0 {
			b.config.Refused = append(b.config.Refused, Refused{Name: c.account.Name, Err: errors.Join(c.errs...)})
			continue
		}
		if c.account.Insecure {
			b.warn("kubernetes.accounts[].insecure", fmt.Sprintf("true for %s: whoever answers at the API server's address gets the account's credentials", c.account.Name))
		}
		b.config.Accounts = append(b.config.Accounts, c.account)
	}
}

func decodeAccount(n *yaml.Node) (Account, error) {
	var d accountDocument
	if err := n.Decode(&d); err != nil {
		return Account{Name: d.Name}, err
	}
	a := Account{
		Name: strings.TrimSpace(d.Name), ServiceAccount: d.ServiceAccount,
		Context: d.Context, Insecure: d.Insecure, NoProxy: d.NoProxy,
		Namespaces: d.Namespaces, OmitNamespaces: d.OmitNamespaces, Kinds: d.Kinds, OmitKinds: d.OmitKinds,
		OnlyNamespaced: d.OnlyNamespacedResources, OnlySpinnakerManaged: d.OnlySpinnakerManaged,
		Metrics: d.Metrics, Debug: d.Debug, Environment: d.Environment, AccountType: d.AccountType, NamingStrategy: d.NamingStrategy,
		RequiredGroupMembership: d.RequiredGroupMembership, CacheAllApplicationRelationships: d.CacheAllApplicationRelationships,
	}
	errs := []error{a.kubeconfig(d.KubeconfigFile, d.KubeconfigContents)}
	if !d.Permissions.IsZero() {
		permissions, err := parsePermissions(&d.Permissions)
		errs = append(errs, err)
		a.Permissions = permissions
	}
	for i, c := range d.CustomResourceDefinitions {
		kind, err := customKind(c.Kind, c.Scope)
		if err != nil {
			errs = append(errs, fmt.Errorf("customResourceDefinitions[%d].%w", i, err))
		}
		a.CustomKinds = append(a.CustomKinds, kind)
	}
	for i, c := range d.CustomResources {
		if !kindToken.MatchString(c.KubernetesKind) {
			errs = append(errs, fmt.Errorf(`customResources[%d].kubernetesKind: %q: want a kind with its group, "CronTab.stable.example.com"`, i, c.KubernetesKind))
		}
		a.CustomResources = append(a.CustomResources, &linkv1.CustomResource{
			KubernetesKind: c.KubernetesKind, SpinnakerKind: c.SpinnakerKind, DeployPriority: c.DeployPriority,
			Versioned: c.Versioned, Namespaced: c.Namespaced == nil || *c.Namespaced,
		})
	}
	for i, c := range d.CachingPolicies {
		if c.KubernetesKind == "" {
			errs = append(errs, fmt.Errorf("cachingPolicies[%d].kubernetesKind: missing", i))
		}
		a.CachingPolicies = append(a.CachingPolicies, &linkv1.CachingPolicy{KubernetesKind: c.KubernetesKind, MaxEntriesPerAgent: c.MaxEntriesPerAgent})
	}
	return a, errors.Join(errs...)
}

func customKind(kind, scope string) (CustomKind, error) {
	if !kindToken.MatchString(kind) || !strings.Contains(kind, ".") {
		return CustomKind{}, fmt.Errorf(`kind: %q: want a kind with its group, "CronTab.stable.example.com"`, kind)
	}
	scopes := []string{"", "namespaced", "cluster"}
	at := slices.Index(scopes, strings.ToLower(scope))
	if at < 0 {
		return CustomKind{}, fmt.Errorf("scope: %q: want Namespaced or Cluster", scope)
	}
	return CustomKind{Kind: kind, Namespaced: at < 2}, nil
}

func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}
