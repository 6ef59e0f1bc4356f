package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var patternForm = regexp.MustCompile(`^[A-Za-z0-9._*-]+$`)

// CheckPatterns tells what is wrong with patterns of account names.
func CheckPatterns(patterns []string) error {
	if len(patterns) == 0 {
		return errors.New("accounts: at least one pattern is needed; * stands for any characters, \"*\" alone for every account")
	}
	for _, p := range patterns {
		if !patternForm.MatchString(p) {
			return fmt.Errorf("accounts: pattern %q may hold letters, digits, '.', '_', '-' and '*' only", p)
		}
	}
	return nil
}

// Matches tells whether a pattern covers a name, as enrolment tokens have them.
func Matches(pattern, name string) bool { return matches(pattern, name) }

// matches tells whether a pattern covers a name. * stands for any characters, none included; case counts.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
