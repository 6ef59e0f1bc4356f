package plugin

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairlead/fairlead/proto/cats"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// deployPriority is what Clouddriver's handler of unregistered custom resources has: such kinds are deployed last.
const deployPriority = "1000"

// message is an account as the plugin gets it.
func message(a Account) (*clouddriverv1.Account, error) {
	definition, err := structpb.NewStruct(definition(a))
	if err != nil {
		return nil, fmt.Errorf("account %q: %w", a.Declared.GetName(), err)
	}
	m := &clouddriverv1.Account{Name: a.Declared.GetName(), Definition: definition}
	m.Types, m.CachingAgents = rows(a)
	return m, nil
}

// rows names what keeps Clouddriver's clean-up of unknown agents away from the account's rows. Too much does no harm, too little
// loses rows: a custom kind has both names that its rows may carry.
func rows(a Account) (types, agents []string) {
	all := slices.Concat(cats.DefaultTypes(), []cats.Type{cats.Applications, cats.Clusters}, a.Types)
	for _, kind := range a.Declared.GetKinds() {
		all = append(all, cats.ParseType(kind))
	}
	for _, r := range a.Declared.GetCustomResources() {
		all = append(all, cats.ParseType(r.GetKubernetesKind()))
	}
	// The first kind of the cluster's own that is cached may come at any time.
	agents = append(agents, cats.AgentName(a.Declared.GetName(), "Any.example.com", false))
	for _, t := range all {
		types = append(types, string(t))
		agents = append(agents, cats.AgentName(a.Declared.GetName(), t, false))
		if !t.Native() && t != cats.Applications && t != cats.Clusters {
			agents = append(agents, cats.AgentName(a.Declared.GetName(), t, true))
		}
	}
	return sorted(types), sorted(agents)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// definition mirrors KubernetesAccountProperties.ManagedAccount. What the agent left empty is left out, so that Clouddriver's
// own default applies. The five fixed fields make every command of the account arrive at the plugin's executor
// (kubectlExecutable), without kubeconfig or context (serviceAccount), and keep Clouddriver from polling it (cacheThreads,
// checkPermissionsOnStartup; metrics costs a "top" at the first look).
func definition(a Account) map[string]any {
	d := a.Declared
	m := map[string]any{
		"name":                      d.GetName(),
		"kubectlExecutable":         "agent://" + d.GetName(),
		"serviceAccount":            true,
		"cacheThreads":              0,
		"checkPermissionsOnStartup": false,
		"metrics":                   d.GetMetrics(),
	}
	setString(m, "environment", d.GetEnvironment())
	setString(m, "accountType", d.GetAccountType())
	setString(m, "namingStrategy", d.GetNamingStrategy())
	setStrings(m, "namespaces", d.GetNamespaces())
	setStrings(m, "omitNamespaces", d.GetOmitNamespaces())
	setStrings(m, "kinds", d.GetKinds())
	setStrings(m, "omitKinds", d.GetOmitKinds())
	setStrings(m, "requiredGroupMembership", d.GetRequiredGroupMembership())
	setTrue(m, "onlySpinnakerManaged", d.GetOnlySpinnakerManaged())
	setTrue(m, "debug", d.GetDebug())
	setTrue(m, "cacheAllApplicationRelationships", d.GetCacheAllApplicationRelationships())
	if permissions := d.GetPermissions(); len(permissions) > 0 {
		p := map[string]any{}
		for authorization, roles := range permissions {
			p[authorization] = anys(roles.GetRoles())
		}
		m["permissions"] = p
	}
	if policies := d.GetCachingPolicies(); len(policies) > 0 {
		list := make([]any, 0, len(policies))
		for _, p := range policies {
			list = append(list, map[string]any{"kubernetesKind": p.GetKubernetesKind(), "maxEntriesPerAgent": p.GetMaxEntriesPerAgent()})
		}
		m["cachingPolicies"] = list
	}
	if resources := customResources(d.GetCustomResources(), a.Facts.GetCustomResources()); len(resources) > 0 {
		m["customResources"] = resources
	}
	return m
}

// customResources are the declared ones and those that the cluster has; the declaration of a kind wins. Without the cluster's,
// Clouddriver would not know such a kind on an account that it does not poll, and would delete "none/NAME".
func customResources(declared, found []*linkv1.CustomResource) []any {
	byKind := map[string]map[string]any{}
	for _, r := range found {
		byKind[r.GetKubernetesKind()] = customResource(r, cmp.Or(r.GetDeployPriority(), deployPriority))
	}
	for _, r := range declared {
		byKind[r.GetKubernetesKind()] = customResource(r, r.GetDeployPriority())
	}
	kinds := make([]string, 0, len(byKind))
	for kind := range byKind {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	list := make([]any, 0, len(kinds))
	for _, kind := range kinds {
		list = append(list, byKind[kind])
	}
	return list
}

func customResource(r *linkv1.CustomResource, priority string) map[string]any {
	m := map[string]any{"kubernetesKind": r.GetKubernetesKind(), "versioned": r.GetVersioned(), "namespaced": r.GetNamespaced()}
	setString(m, "spinnakerKind", r.GetSpinnakerKind())
	setString(m, "deployPriority", priority)
	return m
}

func setString(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func setStrings(m map[string]any, key string, values []string) {
	if len(values) > 0 {
		m[key] = anys(values)
	}
}

func setTrue(m map[string]any, key string, value bool) {
	if value {
		m[key] = true
	}
}

func anys(values []string) []any {
	list := make([]any, 0, len(values))
	for _, v := range values {
		list = append(list, v)
	}
	return list
}
