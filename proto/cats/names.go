package cats

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MaximumTableNamespace is the longest sql.table-namespace that Clouddriver starts with.
const MaximumTableNamespace = 38

// Limits of Clouddriver's SqlConstraints for MySQL.
const (
	maximumTableName = 64
	maximumAgentName = 127
)

// AgentName returns the value of the agent column for rows of a type: the agent that stock Clouddriver's polling would
// use with one cache thread, so that changing between the two finds the same rows. custom says that the account's
// customResources list the kind.
func AgentName(account string, t Type, custom bool) string {
	switch {
	case custom:
		return shortenAgent(fmt.Sprintf("%s/CustomKubernetes(%s)[1/1]", account, t))
	case t.logical() || t.Native():
		return shortenAgent(account + "/KubernetesCoreCachingAgent[1/1]")
	default:
		return shortenAgent(account + "/KubernetesUnregisteredCustomResourceCachingAgent[1/1]")
	}
}

// RelAgentName returns the value of the rel_agent column for links to a type, "pod:account/KubernetesCore…".
func RelAgentName(account string, to Type, custom bool) string {
	return shortenAgent(string(to) + ":" + AgentName(account, to, custom))
}

// TableName returns the table of a type's rows, or of the links from it (SqlNames.checkTableName). namespace is
// Clouddriver's sql.table-namespace, mostly "", at most MaximumTableNamespace long.
func TableName(namespace string, t Type, rel bool) string {
	base, suffix := "cats_v1_", ""
	if namespace != "" {
		base += namespace + "_"
	}
	if rel {
		suffix = "_rel"
	}
	return shortenTable(base, sanitize(string(t)), suffix)
}

func shortenTable(base, name, suffix string) string {
	if len(base)+len(name)+len(suffix) < maximumTableName {
		return base + name + suffix
	}
	hash := murmurHex(name + suffix)[:16]
	// Clouddriver keeps one character more than it counts, so that a shortened name is as long as the limit.
	available := maximumTableName - len(base) - len(suffix) - len(hash) - 1
	if available >= 0 {
		return base + prefix(name, available+1) + hash + suffix
	}
	if available += len(suffix); available >= 0 {
		return base + prefix(name, available+1) + hash
	}
	// Clouddriver does not start with such a namespace; the name stays unique and MySQL refuses it.
	return base + hash + suffix
}

// sanitize replaces what is not [A-Za-z0-9_]; Clouddriver replaces each UTF-16 unit.
func sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, s)
}

// shortenAgent is SqlNames.checkAgentName: a long name keeps its beginning, in any case what is before a colon, and
// ends in its hash.
func shortenAgent(agent string) string {
	if utf16Length(agent) <= maximumAgentName {
		return agent
	}
	hash := murmurHex(agent)
	colon := strings.IndexByte(agent, ':')
	if colon > maximumAgentName-2 {
		colon = -1 // Clouddriver refuses such a type
	}
	keep := max(maximumAgentName-len(hash)-1, colon) + 1
	room := min(len(hash), maximumAgentName-colon-1)
	return prefix(agent, keep) + hash[:room]
}

func prefix(s string, n int) string { return s[:min(n, len(s))] }

// murmurHex is Guava's Hashing.murmur3_128() in hexadecimal.
func murmurHex(s string) string {
	sum := murmur3([]byte(s))
	return hex.EncodeToString(sum[:])
}
