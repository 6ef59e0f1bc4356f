package identity

import "strings"

// Role is what a person may do.
type Role string

// The roles, from the least to the most.
const (
	// RoleViewer may read.
	RoleViewer Role = "viewer"
	// RoleAccountManager may also change the accounts of its patterns and the tokens for them.
	RoleAccountManager Role = "account-manager"
	// RoleOperator may do everything.
	RoleOperator Role = "operator"
	// rolePlugin is no person's: it is that of Clouddriver's plugin, behind whose certificate such a token is. Its text is never told.
	rolePlugin Role = "plugin"
)

// Roles names them for messages.
const Roles = "viewer, account-manager, operator"

func (r Role) known() bool {
	return r == RoleViewer || r == RoleAccountManager || r == RoleOperator
}

// May tells whether a person may change an account.
func (i Identity) May(account string) bool {
	return i.Role == RoleOperator || i.Role == RoleAccountManager && i.Allows(account)
}

// Covers tells whether a person may give others what the patterns cover: each must lie inside one of its own.
func (i Identity) Covers(patterns []string) bool {
	if i.Role == RoleOperator {
		return true
	}
	if i.Role != RoleAccountManager || len(patterns) == 0 {
		return false
	}
	for _, p := range patterns {
		// A star of p counts as a character here, so only a star can match it: then whatever stands in its place is matched too.
		if !i.Allows(p) {
			return false
		}
	}
	return true
}

// clip shortens a text to so many bytes, whole characters.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:limit], "")
}
