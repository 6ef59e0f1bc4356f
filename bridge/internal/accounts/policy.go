package accounts

import (
	"slices"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Policy is what a bridge's configuration says about an account.
type Policy struct {
	// Settings are what its agent is told of serving it.
	Settings *linkv1.AccountSettings
	// Cache is what it is told of caching.
	Cache *linkv1.CachePolicy
	// CustomResources are added to those that the agent declares; for a kind that both name the agent's holds.
	CustomResources []*linkv1.CustomResource
}

func (r *Registry) policy(account string) Policy {
	if r.o.Policy == nil {
		return Policy{}
	}
	return r.o.Policy(account)
}

// completes adds to a declaration what the bridge's configuration says of the account, so that Clouddriver and all that reads the
// registry see one account. What the agent says itself holds.
func (p Policy) completes(d *linkv1.Account) *linkv1.Account {
	if len(p.CustomResources) == 0 && !p.Cache.GetOnlySpinnakerManaged() && len(p.Cache.GetCachingPolicies()) == 0 {
		return d
	}
	d = proto.CloneOf(d)
	d.OnlySpinnakerManaged = d.GetOnlySpinnakerManaged() || p.Cache.GetOnlySpinnakerManaged()
	for _, c := range p.CustomResources {
		if !slices.ContainsFunc(d.GetCustomResources(), func(own *linkv1.CustomResource) bool { return own.GetKubernetesKind() == c.GetKubernetesKind() }) {
			d.CustomResources = append(d.CustomResources, c)
		}
	}
	for _, c := range p.Cache.GetCachingPolicies() {
		if !slices.ContainsFunc(d.GetCachingPolicies(), func(own *linkv1.CachingPolicy) bool { return own.GetKubernetesKind() == c.GetKubernetesKind() }) {
			d.CachingPolicies = append(d.CachingPolicies, c)
		}
	}
	return d
}
