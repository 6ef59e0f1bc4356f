package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Profile is a file of Clouddriver's configuration, or several of one Clouddriver merged: later ones win.
type Profile struct {
	// Name of the file.
	Name string
	// values by path, folded as Spring does: "sql.cache.enabled".
	values map[string]string
}

const (
	// mostDeep and mostValues bound what aliases that hold themselves can make of a profile.
	mostDeep   = 20
	mostValues = 100_000
)

// ReadProfile reads a profile. Values of lists have their index as a name: "a.b[0]".
func ReadProfile(name string, content []byte) (Profile, error) {
	p := Profile{Name: name, values: map[string]string{}}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return p, fmt.Errorf("%s: not YAML: %w", name, err)
	}
	if len(document.Content) > 0 {
		p.add("", document.Content[0], 0)
	}
	return p, nil
}

func (p *Profile) add(path string, n *yaml.Node, depth int) {
	if depth > mostDeep || len(p.values) > mostValues {
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		p.add(path, n.Alias, depth+1)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.add(strings.TrimPrefix(path+"."+n.Content[i].Value, "."), n.Content[i+1], depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			p.add(fmt.Sprintf("%s[%d]", path, i), item, depth+1)
		}
	default:
		p.values[fold(path)] = n.Value
	}
}

// fold makes spellings equal, as Spring does: table-namespace, tableNamespace.
func fold(path string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(path))
}

// profile is all profiles together.
func (v *visit) profile() Profile {
	merged := Profile{values: map[string]string{}}
	var names []string
	for _, p := range v.Profiles {
		names = append(names, p.Name)
		for path, value := range p.values {
			merged.values[path] = value
		}
	}
	merged.Name = list(names)
	return merged
}

func (p Profile) get(path string) string { return p.values[fold(path)] }

// items are the values of a list.
func (p Profile) items(path string) (all []string) {
	for i := 0; ; i++ {
		value, is := p.values[fmt.Sprintf("%s[%d]", fold(path), i)]
		if !is {
			break
		}
		all = append(all, value)
	}
	if single := p.get(path); single != "" {
		all = append(all, strings.Split(single, ",")...)
	}
	return all
}

func on(value string) bool { return strings.EqualFold(value, "true") }

func spinnakerChecks() []check {
	needs := func(v *visit) string {
		if len(v.Profiles) == 0 {
			return "no profile of Clouddriver was given: --profile clouddriver-local.yml"
		}
		return ""
	}
	return []check{
		{"clouddriver-cache", "Clouddriver caches in SQL", needs, sqlCache},
		{"clouddriver-old-plugin", "the replaced plugin is off", needs, oldPlugin},
		{"clouddriver-plugin", "the plugin is on", needs, ownPlugin},
		{"clouddriver-account-storage", "accounts that are looked for are stored where bridges look", needs, accountStorage},
		{"clouddriver-retries", "Clouddriver repeats nothing that may have had an effect", needs, retries},
		{"clouddriver-table-namespace", "bridge and Clouddriver have the same table namespace", func(v *visit) string {
			if v.Config == nil {
				return "the bridge's configuration is not known"
			}
			return needs(v)
		}, func(_ context.Context, v *visit) []Finding {
			p := v.profile()
			if given := p.get("sql.tableNamespace"); given != v.Config.Cache.TableNamespace {
				return fault(fmt.Sprintf("sql.table-namespace of %s is %q, and cache.tableNamespace of the bridge is %q", p.Name, given, v.Config.Cache.TableNamespace), "make them the same")
			}
			return nil
		}},
	}
}

func sqlCache(_ context.Context, v *visit) (found []Finding) {
	p := v.profile()
	if !on(p.get("sql.enabled")) || !on(p.get("sql.cache.enabled")) {
		found = append(found, fault(fmt.Sprintf("Clouddriver does not cache in SQL (%s: sql.enabled is %q, sql.cache.enabled is %q): it keeps its cache in Redis or in memory, which bridges do not write", p.Name, p.get("sql.enabled"), p.get("sql.cache.enabled")),
			"set sql.enabled and sql.cache.enabled to true, and redis.cache.enabled to false; bridges need SQL")...)
	}
	if on(p.get("sql.cache.enabled")) && on(p.get("redis.enabled")) && p.get("redis.cache.enabled") != "false" {
		found = append(found, fault(fmt.Sprintf("the Redis cache is in use beside SQL (%s: redis.enabled is true and redis.cache.enabled is not false)", p.Name),
			"set redis.cache.enabled: false")...)
	}
	return found
}

func oldPlugin(_ context.Context, v *visit) (found []Finding) {
	p := v.profile()
	for _, path := range []string{"spinnaker.extensibility.plugins.Armory.Kubesvc.enabled", "armory.kubesvc.enabled"} {
		if on(p.get(path)) {
			found = append(found, fault(fmt.Sprintf("the replaced plugin is on beside this one (%s: %s)", p.Name, path),
				"set it to false: both would cache the same accounts (\"fairlead config check\" says what becomes of its settings)")...)
		}
	}
	return found
}

func ownPlugin(_ context.Context, v *visit) []Finding {
	p := v.profile()
	if on(p.get("spinnaker.extensibility.plugins.Fairlead.Bridge.enabled")) {
		return nil
	}
	return fault(fmt.Sprintf("Clouddriver does not load the plugin (%s: spinnaker.extensibility.plugins.Fairlead.Bridge.enabled is not true)", p.Name),
		"add the snippet of halyard/ or operator/, and the jar in plugins-root-path (docs/install.md)")
}

func accountStorage(_ context.Context, v *visit) []Finding {
	p := v.profile()
	asked := ""
	for _, path := range []string{"kubesvc.dynamicAccounts.scan", "armory.kubesvc.dynamicAccounts.scan"} {
		if value := p.get(path); value != "" && value != "false" && value != "NONE" {
			asked = fmt.Sprintf("%s is %s in %s", path, value, p.Name)
		}
	}
	if asked == "" || on(p.get("account.storage.enabled")) && on(p.get("account.storage.kubernetes.enabled")) {
		return nil
	}
	return fault(fmt.Sprintf("%s, and Clouddriver does not store accounts (account.storage.enabled is %q, account.storage.kubernetes.enabled is %q): there is nothing to look through", asked, p.get("account.storage.enabled"), p.get("account.storage.kubernetes.enabled")),
		"set account.storage.enabled and account.storage.kubernetes.enabled to true, or do not look for accounts")
}

// uncertain are pieces of texts that come with a change of which nobody knows whether it had an effect: of bridges, and of networks.
var uncertain = []string{
	"no result from account", "it may have changed the cluster", "what became of the operation is not known", "look at the object before you try again",
	"i/o timeout", "connection reset by peer", "context deadline exceeded", "unexpected EOF", "broken pipe", "connection lost", "etcdserver: request timed out", "the server was unable to return a response in the time allotted",
}

func retries(_ context.Context, v *visit) (found []Finding) {
	p := v.profile()
	if !on(p.get("kubernetes.jobExecutor.retries.enabled")) {
		return nil
	}
	for _, message := range p.items("kubernetes.jobExecutor.retries.retryableErrorMessages") {
		given := strings.TrimSpace(message)
		meant := func(text string) bool {
			return strings.Contains(strings.ToLower(text), strings.ToLower(given)) || strings.Contains(strings.ToLower(given), strings.ToLower(text))
		}
		if given == "" || slices.ContainsFunc(uncertain, meant) {
			found = append(found, fault(fmt.Sprintf("Clouddriver repeats commands whose error holds %q (%s: kubernetes.jobExecutor.retries.retryableErrorMessages): a change that had its effect is made twice", given, p.Name),
				"take it out of the list: what provably did not begin is repeated without it (docs/at-most-once.md)")...)
		}
	}
	return found
}
