package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/agent/internal/secrets"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Account is one Kubernetes account.
type Account struct {
	Name string

	// KubeconfigFile, KubeconfigSecret, or ServiceAccount for the pod's own; exactly one.
	KubeconfigFile   string
	KubeconfigSecret *secrets.Reference
	ServiceAccount   bool
	// Kubeconfig is a dynamic account's, with inline data only; Revision is the bridge's of such an account, 0 for others.
	Kubeconfig []byte
	Revision   uint64
	// Context of the kubeconfig; "": its current one.
	Context string
	// Insecure does not check the API server's certificate.
	Insecure bool
	// NoProxy ignores HTTPS_PROXY for this API server.
	NoProxy bool

	// At most one of Namespaces and OmitNamespaces, and of Kinds and OmitKinds.
	Namespaces, OmitNamespaces []string
	Kinds, OmitKinds           []string
	// OnlyNamespaced never asks for anything cluster-scoped: namespaces and CustomKinds stand in for what cannot be read.
	OnlyNamespaced bool
	// OnlySpinnakerManaged shows only objects that Spinnaker deployed.
	OnlySpinnakerManaged bool
	// CustomKinds are custom resources named in the configuration (customResourceDefinitions).
	CustomKinds []CustomKind

	Metrics                          bool
	Debug                            bool
	Environment                      string
	AccountType                      string
	NamingStrategy                   string
	CacheAllApplicationRelationships bool
	RequiredGroupMembership          []string
	// Permissions: READ, WRITE, EXECUTE or CREATE to roles.
	Permissions     map[string][]string
	CustomResources []*linkv1.CustomResource
	CachingPolicies []*linkv1.CachingPolicy
}

// CustomKind is a custom resource that an account may use.
type CustomKind struct {
	// Kind is "CronTab.stable.example.com".
	Kind       string
	Namespaced bool
}

// Link returns the account as it is declared to a bridge.
func (a Account) Link() *linkv1.Account {
	declared := &linkv1.Account{
		Name: a.Name, Environment: a.Environment, AccountType: a.AccountType,
		Namespaces: a.Namespaces, OmitNamespaces: a.OmitNamespaces, Kinds: a.Kinds, OmitKinds: a.OmitKinds,
		CustomResources: slices.Clone(a.CustomResources), OnlySpinnakerManaged: a.OnlySpinnakerManaged,
		Metrics: a.Metrics, Debug: a.Debug, NamingStrategy: a.NamingStrategy,
		RequiredGroupMembership: a.RequiredGroupMembership, CachingPolicies: a.CachingPolicies,
		CacheAllApplicationRelationships: a.CacheAllApplicationRelationships, Dynamic: a.Revision,
	}
	for _, c := range a.CustomKinds {
		if !slices.ContainsFunc(declared.CustomResources, func(r *linkv1.CustomResource) bool { return r.KubernetesKind == c.Kind }) {
			declared.CustomResources = append(declared.CustomResources, &linkv1.CustomResource{KubernetesKind: c.Kind, Namespaced: c.Namespaced})
		}
	}
	if len(a.Permissions) > 0 {
		declared.Permissions = map[string]*linkv1.Roles{}
		for authorization, roles := range a.Permissions {
			declared.Permissions[authorization] = &linkv1.Roles{Roles: roles}
		}
	}
	return declared
}

var (
	// accountName: the name stands in keys and agent names of Clouddriver's tables, which fold case and use : and / themselves.
	accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	dnsLabel    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	kindToken   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9][-A-Za-z0-9.]*)?$`)
)

// longestName is what bridges accept: every name that Clouddriver's tables make of an account's still fits.
const longestName = 63

func (a *Account) validate() error {
	return errors.Join(
		a.validateName(),
		a.validateCredentials(),
		exclusive("namespaces", a.Namespaces, "omitNamespaces", a.OmitNamespaces),
		exclusive("kinds", a.Kinds, "omitKinds", a.OmitKinds),
		matchAll("namespaces", a.Namespaces, dnsLabel, "is not a namespace's name"),
		matchAll("omitNamespaces", a.OmitNamespaces, dnsLabel, "is not a namespace's name"),
		matchAll("kinds", a.Kinds, kindToken, `is not a kind; write "deployment" or "CronTab.stable.example.com"`),
		matchAll("omitKinds", a.OmitKinds, kindToken, `is not a kind; write "deployment" or "CronTab.stable.example.com"`),
		a.validateNamespaced(),
	)
}

func (a *Account) validateName() error {
	switch {
	case a.Name == "":
		return errors.New("name: missing; give the account the name that pipelines use")
	case !accountName.MatchString(a.Name):
		return fmt.Errorf("name: %q: only letters, digits, dot, underscore and dash, and a letter or digit first", a.Name)
	case len(a.Name) > longestName:
		return fmt.Errorf("name: %q has %d characters, at most %d fit into Clouddriver's tables", a.Name, len(a.Name), longestName)
	}
	return nil
}

func (a *Account) validateNamespaced() error {
	if a.OnlyNamespaced && len(a.Namespaces) == 0 {
		return errors.New("onlyNamespacedResources: the namespaces cannot be asked for then; list them in namespaces")
	}
	return nil
}

func exclusive(oneName string, one []string, otherName string, other []string) error {
	if len(one) > 0 && len(other) > 0 {
		return fmt.Errorf("%s [%s] and %s [%s]: give one of them", oneName, strings.Join(one, " "), otherName, strings.Join(other, " "))
	}
	return nil
}

func matchAll(field string, values []string, pattern *regexp.Regexp, why string) error {
	var errs []error
	for i, v := range values {
		switch {
		case !pattern.MatchString(v):
			errs = append(errs, fmt.Errorf("%s: %q %s", field, v, why))
		case slices.Contains(values[:i], v):
			errs = append(errs, fmt.Errorf("%s: %q is given twice; remove one", field, v))
		}
	}
	return errors.Join(errs...)
}
