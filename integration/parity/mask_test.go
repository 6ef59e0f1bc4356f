package parity

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// masked stands for the name of the account that a view is of.
const masked = "ACCOUNT"

var words = regexp.MustCompile(`[-\w.]+`)

// maskText puts the mask in the place of an account's name, where that is a word of its own.
func maskText(text, account string) string {
	return words.ReplaceAllStringFunc(text, func(word string) string {
		if word == account {
			return masked
		}
		return word
	})
}

// projection is what a view says of one account.
type projection struct {
	account string
	// others are the accounts whose parts are left out.
	others []string
	// shared tells that the view is of all accounts, so that what it counts is too.
	shared bool
}

// sets are lists whose order means nothing: Clouddriver collects them in hash sets and hash maps, whose order follows from the accounts'
// names. Of a list that is the view itself, or stands below a name that the cluster chose, the same holds. The others, such as the
// images of a server group and the states of an instance, are compared as they are.
var sets = []string{
	"instances", "detachedInstances", "loadBalancers", "serverGroups", "serverGroupManagers", "securityGroups", "results", "clusters", masked,
}

// of returns a view's part; ok is false if it says nothing of the account.
func (p projection) of(view any) (part any, ok bool) { return p.value(view, true) }

func (p projection) value(value any, set bool) (any, bool) {
	switch v := value.(type) {
	case string:
		return maskText(v, p.account), true
	case []any:
		kept := make([]any, 0, len(v))
		for _, item := range v {
			if part, ok := p.value(item, false); ok {
				kept = append(kept, part)
			}
		}
		if set {
			sortByJSON(kept)
		}
		return kept, true
	case map[string]any:
		return p.object(v)
	}
	return value, true
}

func (p projection) object(object map[string]any) (any, bool) {
	for _, name := range []string{"account", "accountName"} {
		if account, _ := object[name].(string); slices.Contains(p.others, account) {
			return nil, false
		}
	}
	kept := make(map[string]any, len(object))
	for name, inner := range object {
		switch {
		case slices.Contains(p.others, name):
			continue
		case p.shared && name == "totalMatches":
			continue
		case p.shared && name == "clusterNames" && !p.names(inner):
			return nil, false // an application that this account does not have
		}
		name = maskText(name, p.account)
		if part, ok := p.value(inner, slices.Contains(sets, name)); ok {
			kept[name] = part
		}
	}
	return kept, true
}

// names tells whether an object by accounts has the account.
func (p projection) names(object any) bool {
	byAccount, _ := object.(map[string]any)
	_, ok := byAccount[p.account]
	return ok
}

func sortByJSON(items []any) {
	texts := make(map[int][]byte, len(items))
	order := make([]int, len(items))
	for i, item := range items {
		texts[i], _ = json.Marshal(item)
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(texts[a], texts[b]) })
	sorted := make([]any, len(items))
	for to, from := range order {
		sorted[to] = items[from]
	}
	copy(items, sorted)
}

// pathFor puts an account's name into a path or a query.
func pathFor(path, account string) string { return strings.ReplaceAll(path, masked, account) }
