package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CachePolicy is what to cache of some accounts: what the replaced product's plugin and Clouddriver itself call cacheKinds, cacheOmitKinds, cacheAll,
// customResources and cachingPolicies.
type CachePolicy struct {
	// Accounts are patterns of names, * for any characters.
	Accounts []string
	// Kinds, if there are any, stand for the default ones; All for every kind. OmitKinds are left out of either.
	Kinds, OmitKinds     []string
	All                  bool
	OnlySpinnakerManaged bool
	CustomResources      []CustomResource
	CachingPolicies      []CachingPolicy
}

// CustomResource mirrors KubernetesAccountProperties.ManagedAccount's customResources.
type CustomResource struct {
	KubernetesKind, SpinnakerKind, DeployPriority string
	Versioned, Namespaced                         bool
}

// CachingPolicy bounds how many objects of a kind are cached.
type CachingPolicy struct {
	KubernetesKind     string
	MaxEntriesPerAgent uint32
}

// Policy is the first of the policies that covers an account; nil if none does.
func (c *Cache) Policy(account string, matches func(pattern, name string) bool) *CachePolicy {
	for i := range c.Policies {
		if slices.ContainsFunc(c.Policies[i].Accounts, func(pattern string) bool { return matches(pattern, account) }) {
			return &c.Policies[i]
		}
	}
	return nil
}

var (
	accountPattern = regexp.MustCompile(`^[A-Za-z0-9._*-]+$`)
	kindForm       = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9][-A-Za-z0-9.]*)?$`)
)

// policies reads the value of cache.policies.
func (r *reader) policies(n *yaml.Node) (list []CachePolicy) {
	const path = "cache.policies"
	for i, item := range r.items(n, path) {
		var p CachePolicy
		at := fmt.Sprintf("%s[%d]", path, i)
		r.members(item, at, map[string]func(string, *yaml.Node){
			"accounts":             func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &p.Accounts) },
			"kinds":                func(at string, n *yaml.Node) { r.decode(n, at, "a list of kinds", &p.Kinds) },
			"omitKinds":            func(at string, n *yaml.Node) { r.decode(n, at, "a list of kinds", &p.OmitKinds) },
			"all":                  func(at string, n *yaml.Node) { r.decode(n, at, "true or false", &p.All) },
			"onlySpinnakerManaged": func(at string, n *yaml.Node) { r.decode(n, at, "true or false", &p.OnlySpinnakerManaged) },
			"customResources": func(at string, n *yaml.Node) {
				for i, item := range r.items(n, at) {
					p.CustomResources = append(p.CustomResources, r.customResource(item, fmt.Sprintf("%s[%d]", at, i)))
				}
			},
			"cachingPolicies": func(at string, n *yaml.Node) {
				for i, item := range r.items(n, at) {
					p.CachingPolicies = append(p.CachingPolicies, r.cachingPolicy(item, fmt.Sprintf("%s[%d]", at, i)))
				}
			},
		})
		r.checkPolicy(item, at, &p)
		list = append(list, p)
	}
	return list
}

func (r *reader) customResource(n *yaml.Node, path string) CustomResource {
	c := CustomResource{Namespaced: true} // as Clouddriver's class has it
	r.members(n, path, map[string]func(string, *yaml.Node){
		"kubernetesKind": func(at string, n *yaml.Node) { r.decode(n, at, "a kind", &c.KubernetesKind) },
		"spinnakerKind":  func(at string, n *yaml.Node) { r.decode(n, at, "a kind of Spinnaker's", &c.SpinnakerKind) },
		"deployPriority": func(at string, n *yaml.Node) { r.decode(n, at, "a number", &c.DeployPriority) },
		"versioned":      func(at string, n *yaml.Node) { r.decode(n, at, "true or false", &c.Versioned) },
		"namespaced":     func(at string, n *yaml.Node) { r.decode(n, at, "true or false", &c.Namespaced) },
	})
	if !kindForm.MatchString(c.KubernetesKind) || !strings.Contains(c.KubernetesKind, ".") {
		r.problem(n, `%s.kubernetesKind: %q: want a kind with its group, "CronTab.stable.example.com"`, path, c.KubernetesKind)
	}
	return c
}

func (r *reader) cachingPolicy(n *yaml.Node, path string) (c CachingPolicy) {
	r.members(n, path, map[string]func(string, *yaml.Node){
		"kubernetesKind":     func(at string, n *yaml.Node) { r.decode(n, at, "a kind", &c.KubernetesKind) },
		"maxEntriesPerAgent": func(at string, n *yaml.Node) { r.decode(n, at, "a whole number above zero", &c.MaxEntriesPerAgent) },
	})
	if !kindForm.MatchString(c.KubernetesKind) {
		r.problem(n, `%s.kubernetesKind: %q is not a kind; write "pod" or "CronTab.stable.example.com"`, path, c.KubernetesKind)
	}
	if c.MaxEntriesPerAgent == 0 {
		r.problem(n, "%s.maxEntriesPerAgent: is not set; give the most objects to cache, or leave the kind out by omitKinds", path)
	}
	return c
}

func (r *reader) checkPolicy(n *yaml.Node, path string, p *CachePolicy) {
	r.checkPatterns(n, path, p.Accounts)
	if p.All && len(p.Kinds) > 0 {
		r.problem(n, "%s: all: true and kinds contradict each other; give one of them", path)
	}
	for field, kinds := range map[string][]string{"kinds": p.Kinds, "omitKinds": p.OmitKinds} {
		for _, kind := range kinds {
			if !kindForm.MatchString(kind) {
				r.problem(n, `%s.%s: %q is not a kind; write "deployment" or "CronTab.stable.example.com"`, path, field, kind)
			}
		}
	}
}

// items are the members of a list; none, with a complaint, if it is no list.
func (r *reader) items(n *yaml.Node, path string) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.problem(n, "%s: want a list", path)
		return nil
	}
	return n.Content
}

// members hands each member of a section to who knows it.
func (r *reader) members(n *yaml.Node, path string, known map[string]func(path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.problem(n, "%s: want a section of keys", path)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		read, ok := known[name.Value]
		switch {
		case !ok:
			all := make([]string, 0, len(known))
			for k := range known {
				all = append(all, k)
			}
			slices.Sort(all)
			r.problem(name, "%s.%s: no such key; there are %s%s", path, name.Value, strings.Join(all, ", "), alike(name.Value, all))
		case seen[name.Value]:
			r.problem(name, "%s.%s: given twice; remove one", path, name.Value)
		default:
			read(path+"."+name.Value, value)
		}
		seen[name.Value] = true
	}
}

// alike suggests which of a section's keys was meant.
func alike(name string, all []string) string {
	best, least := "", len(name)/3+2
	for _, known := range all {
		if d := distance(strings.ToLower(name), strings.ToLower(known)); d < least {
			best, least = known, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func (r *reader) decode(n *yaml.Node, path, want string, into any) {
	if isNull(n) {
		return
	}
	if err := n.Decode(into); err != nil {
		r.problem(n, "%s: want %s", path, want)
	}
}

// parsePolicies reads cache.policies from one text, YAML or JSON, as the environment holds it.
func parsePolicies(text string) ([]CachePolicy, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) == 0 {
		return nil, fmt.Errorf("%q is not a list of policies in YAML or JSON", text)
	}
	r := &reader{file: "value"}
	list := r.policies(document.Content[0])
	if len(r.problems) > 0 {
		return nil, r.problems[0]
	}
	return list, nil
}
