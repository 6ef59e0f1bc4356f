package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// AccountPolicy is how agents serve some accounts, apart from what is cached.
type AccountPolicy struct {
	// Accounts are patterns of names, * for any characters.
	Accounts []string
	// LogLevel of what the agent logs about the account; "": the agent's own.
	LogLevel string
	Limits   AccountLimits
}

// AccountLimits bound what an agent asks of an account's API server; 0: the agent's own.
type AccountLimits struct {
	// Of operations: requests a second, at once after a pause, and waiting for an answer at one time; operations at one time.
	RequestsPerSecond, RequestBurst, RequestsAtOnce, OperationsAtOnce uint32
	// Of what is cached.
	InventoryRequestsPerSecond, InventoryRequestBurst uint32
}

// AccountPolicies are accounts.policies; the first that covers an account holds.
type AccountPolicies []AccountPolicy

// Of is the first of the policies that covers an account; nil if none does.
func (list AccountPolicies) Of(account string, matches func(pattern, name string) bool) *AccountPolicy {
	for i := range list {
		if slices.ContainsFunc(list[i].Accounts, func(pattern string) bool { return matches(pattern, account) }) {
			return &list[i]
		}
	}
	return nil
}

func (*AccountPolicies) kind() string { return "a list of policies" }

func (list *AccountPolicies) read(r *reader, n *yaml.Node, path string) {
	*list = nil
	for i, item := range r.items(n, path) {
		var p AccountPolicy
		at := fmt.Sprintf("%s[%d]", path, i)
		r.members(item, at, map[string]func(string, *yaml.Node){
			"accounts": func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &p.Accounts) },
			"logLevel": func(at string, n *yaml.Node) {
				r.decode(n, at, "a level", &p.LogLevel)
				if !levels[p.LogLevel] {
					r.problem(n, "%s: %q is none of debug, info, warn, error", at, p.LogLevel)
				}
			},
			"limits": func(at string, n *yaml.Node) { r.limits(n, at, &p.Limits) },
		})
		r.checkPatterns(item, at, p.Accounts)
		*list = append(*list, p)
	}
}

func (r *reader) limits(n *yaml.Node, path string, l *AccountLimits) {
	number := func(most uint32, into *uint32) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) {
			r.decode(n, at, "a whole number above zero", into)
			if *into < 1 || *into > most {
				r.problem(n, "%s: %s is not between 1 and %d; leave the key out for the agent's own limit", at, n.Value, most)
			}
		}
	}
	r.members(n, path, map[string]func(string, *yaml.Node){
		"requestsPerSecond":          number(100_000, &l.RequestsPerSecond),
		"requestBurst":               number(100_000, &l.RequestBurst),
		"requestsAtOnce":             number(10_000, &l.RequestsAtOnce),
		"operationsAtOnce":           number(10_000, &l.OperationsAtOnce),
		"inventoryRequestsPerSecond": number(100_000, &l.InventoryRequestsPerSecond),
		"inventoryRequestBurst":      number(100_000, &l.InventoryRequestBurst),
	})
}

var levels = map[string]bool{"debug": true, "info": true, "warn": true, "error": true}

// checkPatterns complains of patterns of names that cannot match.
func (r *reader) checkPatterns(n *yaml.Node, path string, patterns []string) {
	if len(patterns) == 0 {
		r.problem(n, `%s.accounts: at least one pattern is needed; "*" stands for every account`, path)
	}
	for _, pattern := range patterns {
		if !accountPattern.MatchString(pattern) {
			r.problem(n, "%s.accounts: pattern %q may hold letters, digits, '.', '_', '-' and '*' only", path, pattern)
		}
	}
}
