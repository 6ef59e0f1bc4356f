package cluster

import (
	"slices"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// CacheBy says what the bridge's configuration wants cached. Until it was called no kind is watched: a kind too many would be written, and
// swept a moment later. A policy that differs from the one before has every kind listed anew.
func (c *Cluster) CacheBy(policy *linkv1.CachePolicy) {
	c.mu.Lock()
	same := c.policy != nil && proto.Equal(c.policy, policy)
	if !same {
		c.policy = policy
	}
	c.mu.Unlock()
	if same {
		return
	}
	select {
	case c.decided <- struct{}{}:
	default:
	}
}

func (c *Cluster) cachePolicy() *linkv1.CachePolicy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy
}

// filter decides which objects the account shows, as account and policy are now.
func (c *Cluster) filter() filter {
	return newFilter(c.account, c.cachePolicy().GetOnlySpinnakerManaged())
}

// mostOf is how many objects of a kind are cached; 0: all. The account's own word holds.
func (c *Cluster) mostOf(t cats.Type) int {
	for _, policies := range [][]*linkv1.CachingPolicy{c.account.CachingPolicies, c.cachePolicy().GetCachingPolicies()} {
		for _, p := range policies {
			if cats.ParseType(p.GetKubernetesKind()).Equal(t) {
				return int(p.GetMaxEntriesPerAgent())
			}
		}
	}
	return 0
}

// candidate is a kind that may have to be cached.
type candidate struct {
	token string
	// asked: somebody named it, and is told if the API server does not have it.
	asked bool
}

// candidates are the kinds that the policy wants, before the account narrows them. ok is false while it cannot be said yet.
func (c *Cluster) candidates(catalog *catalog) (all []candidate, ok bool) {
	policy := c.cachePolicy()
	switch {
	case policy == nil:
		return nil, false
	case policy.GetAll():
		return c.everything(catalog)
	case len(policy.GetKinds()) > 0:
		for _, kind := range policy.GetKinds() {
			all = append(all, candidate{kind, true})
		}
	default:
		for _, t := range cats.DefaultTypes() {
			all = append(all, candidate{string(t), true})
		}
	}
	return all, true
}

// everything is what Clouddriver's cacheAll means: the kinds that it has classes for, and custom resources.
func (c *Cluster) everything(catalog *catalog) (all []candidate, ok bool) {
	for _, t := range cats.NativeTypes() {
		all = append(all, candidate{string(t), false})
	}
	if c.account.OnlyNamespaced {
		for _, k := range c.account.CustomKinds {
			all = append(all, candidate{k.Kind, true})
		}
		return all, true
	}
	c.mu.Lock()
	names, known, refused := c.definitions, c.definitionsKnown, c.definitionsRefused
	c.mu.Unlock()
	custom, _ := catalog.customResources(names)
	for _, r := range custom {
		all = append(all, candidate{r.GetKubernetesKind(), false})
	}
	if refused {
		for _, k := range c.account.CustomKinds {
			all = append(all, candidate{k.Kind, true})
		}
	}
	return all, known || refused || catalog.without(definitionResource)
}

// without tells that the API server has no such resource, which is another thing than that its group did not answer.
func (c *catalog) without(resource schema.GroupVersionResource) bool {
	_, err := c.mapper.KindFor(resource)
	return err != nil && !c.failed[resource.Group]
}

// narrowing is what leaves kinds out again: omitKinds of policy and account, and the account's kinds.
type narrowing struct {
	kinds, omitted map[cats.Type]bool
}

func (r *running) narrowing(catalog *catalog) narrowing {
	n := narrowing{kinds: map[cats.Type]bool{}, omitted: map[cats.Type]bool{}}
	for _, token := range slices.Concat(r.cluster.account.OmitKinds, r.cluster.cachePolicy().GetOmitKinds()) {
		n.omitted[r.typeOf(catalog, token)] = true
	}
	for _, token := range r.cluster.account.Kinds {
		n.kinds[r.typeOf(catalog, token)] = true
	}
	return n
}

func (n narrowing) leavesOut(t cats.Type) bool {
	return n.omitted[t] || len(n.kinds) > 0 && !n.kinds[t]
}
