package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/fairlead/fairlead/agent/internal/secrets"
	"go.yaml.in/yaml/v3"
)

// authorizations are those of Fiat.
var authorizations = []string{"READ", "WRITE", "EXECUTE", "CREATE"}

// parsePermissions reads a map of authorisation to roles, or the list of such maps that the replaced product's samples show.
// Whatever it cannot understand is an error: an account whose permissions are dropped is open to everybody.
//
// Roles are trimmed, as Fiat does; white space within a role is kept, because directories have such groups.
func parsePermissions(n *yaml.Node) (map[string][]string, error) {
	permissions := map[string][]string{}
	var maps []*yaml.Node
	switch n = resolve(n); n.Kind {
	case yaml.MappingNode:
		maps = []*yaml.Node{n}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			maps = append(maps, resolve(item))
		}
	default:
		return nil, fmt.Errorf("permissions: want READ, WRITE or EXECUTE with lists of roles, got %s", describe(n))
	}
	var wrong []error
	for _, m := range maps {
		if m.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("permissions: want entries like `READ: [role]`, got %s", describe(m))
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if err := addPermission(permissions, m.Content[i], resolve(m.Content[i+1])); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if n.Kind == yaml.SequenceNode && len(maps) > 0 && len(permissions) == 0 {
		return nil, fmt.Errorf("permissions: empty; name the roles, or remove the key to open the account to everybody")
	}
	return permissions, nil
}

func addPermission(permissions map[string][]string, name, value *yaml.Node) error {
	authorization := strings.ToUpper(strings.TrimSpace(name.Value))
	if !slices.Contains(authorizations, authorization) {
		return fmt.Errorf("permissions: %q is none of %s", name.Value, strings.Join(authorizations, ", "))
	}
	if _, twice := permissions[authorization]; twice {
		return fmt.Errorf("permissions.%s: given twice; put all roles into one list", authorization)
	}
	if value.Kind != yaml.SequenceNode {
		return fmt.Errorf("permissions.%s: want a list of roles, got %s", authorization, describe(value))
	}
	if len(value.Content) == 0 {
		return fmt.Errorf("permissions.%s: empty; name a role, or remove the key", authorization)
	}
	roles := make([]string, 0, len(value.Content))
	for _, item := range value.Content {
		role, err := parseRole(resolve(item))
		if err != nil {
			return fmt.Errorf("permissions.%s: %w", authorization, err)
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	permissions[authorization] = roles
	return nil
}

func parseRole(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return "", fmt.Errorf("want a role's name, got %s", describe(n))
	}
	role := strings.TrimSpace(n.Value)
	switch {
	case role == "":
		return "", fmt.Errorf("%q is no role's name", n.Value)
	case strings.ContainsFunc(role, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }):
		return "", fmt.Errorf("role %q holds a line break or another character that cannot be seen", role)
	case secrets.IsReference(role):
		return "", fmt.Errorf("role %q is a secret reference; write the role's name", role)
	}
	return role, nil
}
