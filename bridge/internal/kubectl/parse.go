package kubectl

import (
	"slices"
	"strconv"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// verb parses one verb's command line. arguments lacks the verb itself.
type verb func(f *flags, arguments []string, stdin []byte) (*linkv1.Operation, error)

var verbs = map[string]verb{
	"get": parseGet, "apply": parseApply, "create": parseCreate, "replace": parseReplace, "delete": parseDelete,
	"logs": parseLogs, "scale": parseScale, "patch": parsePatch, "rollout": parseRollout, "top": parseTop,
}

// notBuilt are kubectl's other verbs. Clouddriver runs none of them.
var notBuilt = []string{
	"annotate", "api-resources", "api-versions", "attach", "auth", "autoscale", "certificate", "cluster-info", "completion", "config",
	"cordon", "cp", "debug", "describe", "diff", "drain", "edit", "events", "exec", "explain", "expose", "kustomize", "label", "options",
	"plugin", "port-forward", "proxy", "run", "set", "taint", "uncordon", "version", "wait",
}

// Parse turns a command line (without argv[0]) and its standard input into the operation that it means, and tells whether it
// may change the cluster. An error is a *UsageError; nothing was started then.
func Parse(arguments []string, stdin []byte) (op *linkv1.Operation, mutation bool, err error) {
	at := findVerb(arguments)
	if at < 0 {
		return nil, false, refuse("no verb in the command line; supported are %s", supported())
	}
	name := arguments[at]
	parse, known := verbs[name]
	if !known {
		if slices.Contains(notBuilt, name) {
			return nil, false, refuse("%s is not supported on this account; supported are %s", name, supported())
		}
		return nil, false, refuse("unknown command %q; supported are %s", name, supported())
	}
	rest := slices.Concat(arguments[:at], arguments[at+1:])
	op, err = parse(newFlags(name), rest, stdin)
	if err != nil {
		return nil, false, err
	}
	return op, mutates(op), nil
}

// RequestTimeout is the command line's --request-timeout, 0 if there is none. kubectl bounds each of its requests by it.
func RequestTimeout(arguments []string) time.Duration {
	for i, a := range arguments {
		value, found := strings.CutPrefix(a, "--request-timeout=")
		if !found && a == "--request-timeout" && i+1 < len(arguments) {
			value, found = arguments[i+1], true
		}
		if found {
			d, _ := requestTimeout(value)
			return d
		}
	}
	return 0
}

// findVerb returns the index of the first argument that is neither a flag nor a flag's value; -1 if there is none.
func findVerb(arguments []string) int {
	all := newFlags("")
	all.takeAny()
	for i := 0; i < len(arguments); i++ {
		a := arguments[i]
		if !strings.HasPrefix(a, "-") || a == "-" {
			return i
		}
		if a == "--" {
			return -1
		}
		if strings.Contains(a, "=") {
			continue
		}
		flag := all.set.Lookup(strings.TrimPrefix(a, "--"))
		if !strings.HasPrefix(a, "--") {
			flag = nil
			if len(a) == 2 {
				flag = all.set.ShorthandLookup(a[1:])
			}
		}
		if flag != nil && flag.NoOptDefVal == "" {
			i++
		}
	}
	return -1
}

func supported() string {
	names := make([]string, 0, len(verbs))
	for name := range verbs {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func parseGet(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeOutput()
	f.takeLabelSelector()
	f.takeFieldSelector()
	f.takeAllNamespaces()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if err := f.requireJSON(); err != nil {
		return nil, err
	}
	if several(rest) {
		return f.getSeveral(rest)
	}
	kinds, name, err := target("get", rest)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{
			Kinds: kinds, Namespace: f.namespace, LabelSelector: f.labelSelector, FieldSelector: f.fieldSelector, AllNamespaces: f.allNamespaces,
		}}}, nil
	}
	if f.allNamespaces {
		return nil, refuse("a resource cannot be retrieved by name across all namespaces")
	}
	if f.labelSelector != "" || f.fieldSelector != "" {
		return nil, refuse("name cannot be provided when a selector is specified")
	}
	if len(kinds) != 1 {
		return nil, refuse("get: one kind with a name is supported, got %s %s", strings.Join(kinds, ","), name)
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{
		Kind: kinds[0], Namespace: f.namespace, Name: name,
	}}}, nil
}

func parseApply(f *flags, arguments []string, stdin []byte) (*linkv1.Operation, error) {
	f.takeOutput()
	f.takeFilename()
	f.takeLabelSelector()
	f.takeFieldManager()
	f.takeServerSide()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if f.forceConflicts && !f.serverSide {
		return nil, refuse("--force-conflicts only works with --server-side")
	}
	if err := f.requireManifests(rest, stdin); err != nil {
		return nil, err
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Apply{Apply: &linkv1.Apply{
		Manifests: stdin, Namespace: f.namespace, LabelSelector: f.labelSelector,
		ServerSide: f.serverSide, ForceConflicts: f.forceConflicts, FieldManager: f.fieldManager, ChangeCause: f.changeCause(nil),
	}}}, nil
}

func parseCreate(f *flags, arguments []string, stdin []byte) (*linkv1.Operation, error) {
	f.takeOutput()
	f.takeFilename()
	f.takeLabelSelector()
	f.takeFieldManager()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if err := f.requireManifests(rest, stdin); err != nil {
		return nil, err
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Create{Create: &linkv1.Create{
		Manifests: stdin, Namespace: f.namespace, LabelSelector: f.labelSelector, FieldManager: f.fieldManager, ChangeCause: f.changeCause(nil),
	}}}, nil
}

func parseReplace(f *flags, arguments []string, stdin []byte) (*linkv1.Operation, error) {
	f.takeOutput()
	f.takeFilename()
	f.takeFieldManager()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if err := f.requireManifests(rest, stdin); err != nil {
		return nil, err
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Replace{Replace: &linkv1.Replace{
		Manifests: stdin, Namespace: f.namespace, FieldManager: f.fieldManager, ChangeCause: f.changeCause(nil),
	}}}, nil
}

func (f *flags) requireManifests(rest []string, stdin []byte) error {
	if err := f.requireJSON(); err != nil {
		return err
	}
	return f.requireStdin(rest, stdin)
}

func parseDelete(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeLabelSelector()
	f.takeIgnoreNotFound()
	f.takeDeletion()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	cascade, err := propagation(f.cascade)
	if err != nil {
		return nil, err
	}
	kinds, name, err := target("delete", rest)
	if err != nil {
		return nil, err
	}
	switch {
	case len(kinds) != 1:
		return nil, refuse("delete: one kind at a time is supported, got %s", strings.Join(kinds, ","))
	case name == "" && f.labelSelector == "":
		return nil, refuse("resource(s) were provided, but no name was specified")
	case name != "" && f.labelSelector != "":
		return nil, refuse("name cannot be provided when a selector is specified")
	}
	ignore := f.ignoreNotFound
	if f.labelSelector != "" && !f.set.Changed("ignore-not-found") {
		ignore = true // an object that went between list and delete is no failure
	}
	grace := f.gracePeriod
	if grace == 0 {
		grace = 1 // kubectl's guard: 0 would mean to force, which it only does with --force
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{
		Kind: kinds[0], Namespace: f.namespace, Name: name, LabelSelector: f.labelSelector,
		IgnoreNotFound: ignore, Cascade: cascade, GracePeriodSeconds: grace, Wait: f.wait,
	}}}, nil
}

// propagation understands every spelling that kubectl 1.20 to today accept: booleans were deprecated in 1.20, and are still
// taken.
func propagation(cascade string) (string, error) {
	switch cascade {
	case "background", "foreground", "orphan":
		return cascade, nil
	}
	dependents, err := strconv.ParseBool(cascade)
	switch {
	case err != nil:
		return "", refuse(`invalid cascade value (%s). Must be "background", "foreground", or "orphan"`, cascade)
	case dependents:
		return "background", nil
	default:
		return "orphan", nil
	}
}
