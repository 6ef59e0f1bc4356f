package kubectl

import (
	"slices"
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// target reads "K1,K2", "KIND NAME" and "KIND/NAME".
func target(verb string, rest []string) (kinds []string, name string, err error) {
	switch {
	case len(rest) == 0 && verb == "get":
		return nil, "", refuse("You must specify the type of resource to get.")
	case len(rest) == 0:
		return nil, "", refuse("You must provide one or more resources by argument or filename.")
	case len(rest) > 2:
		return nil, "", refuse("%s: one name at a time is supported, got %s", verb, strings.Join(rest[1:], " "))
	}
	for _, a := range rest {
		if a == "" || strings.ContainsAny(a, " \t\r\n\x00") {
			return nil, "", refuse("%s: %q is neither a kind nor a name", verb, a)
		}
	}
	if strings.Contains(rest[0], "/") {
		kind, name, _ := strings.Cut(rest[0], "/")
		if strings.Contains(name, "/") {
			return nil, "", refuse("arguments in resource/name form may not have more than one slash")
		}
		if len(rest) > 1 || kind == "" || name == "" || strings.Contains(kind, ",") {
			return nil, "", refuse("arguments in resource/name form must have a single resource and name, got %s", strings.Join(rest, " "))
		}
		return []string{kind}, name, nil
	}
	for _, kind := range strings.Split(rest[0], ",") {
		if kind == "" {
			return nil, "", refuse("%s: empty kind in %q", verb, rest[0])
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(rest) == 2 {
		if strings.Contains(rest[1], "/") {
			return nil, "", refuse("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form, got %s", strings.Join(rest, " "))
		}
		name = rest[1]
	}
	return kinds, name, nil
}

// several tells whether a command line names more than one object: "KIND A B", "KIND/A KIND/B".
func several(rest []string) bool {
	return len(rest) > 2 || len(rest) == 2 && strings.Contains(rest[0], "/") && strings.Contains(rest[1], "/")
}

// severalBytes bounds what several objects may be named with: the kind is repeated for each.
const severalBytes = 64 << 10

// getSeveral reads "get KIND A B" and "get KIND/A KIND/B".
func (f *flags) getSeveral(rest []string) (*linkv1.Operation, error) {
	if f.allNamespaces {
		return nil, refuse("a resource cannot be retrieved by name across all namespaces")
	}
	if f.labelSelector != "" || f.fieldSelector != "" {
		return nil, refuse("name cannot be provided when a selector is specified")
	}
	pairs := rest
	if len(rest)*len(rest[0]) > severalBytes {
		return nil, refuse("get: %d objects are too many for one command line", len(rest))
	}
	if !strings.Contains(rest[0], "/") {
		pairs = make([]string, 0, len(rest)-1)
		for _, name := range rest[1:] {
			if strings.Contains(name, "/") {
				return nil, refuse("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form, got %s", strings.Join(rest, " "))
			}
			pairs = append(pairs, rest[0]+"/"+name)
		}
	}
	for _, p := range pairs {
		if _, _, err := one("get", []string{p}); err != nil {
			return nil, err
		}
		if !strings.Contains(p, "/") {
			return nil, refuse("when using resource/name form, all arguments must be in that form, got %s", strings.Join(rest, " "))
		}
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{Objects: pairs, Namespace: f.namespace}}}, nil
}
