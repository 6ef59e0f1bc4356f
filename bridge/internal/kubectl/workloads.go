package kubectl

import (
	"slices"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const logsUsage = `expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.
POD or TYPE/NAME is a required argument for the logs command
See 'kubectl logs -h' for help and examples`

// parseLogs reads "logs POD [CONTAINER]" and "logs KIND/NAME [CONTAINER]".
func parseLogs(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeLogs("p")
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 || len(rest) > 2 {
		return nil, refuse("%s", logsUsage)
	}
	if len(rest) == 2 {
		if f.set.Changed("container") {
			return nil, refuse("only one of -c or an inline [CONTAINER] arg is allowed")
		}
		f.logs.container = rest[1]
	}
	if err := f.logs.check(); err != nil {
		return nil, err
	}
	logs := &linkv1.Logs{
		Namespace: f.namespace, Name: rest[0], Container: f.logs.container, AllContainers: f.logs.allContainers, Previous: f.logs.previous,
		Timestamps: f.logs.timestamps, SinceSeconds: int64(f.logs.since.Round(time.Second).Seconds()), SinceTime: f.logs.sinceTime, LimitBytes: f.logs.limitBytes,
	}
	if strings.Contains(rest[0], "/") {
		if logs.Kind, logs.Name, err = one("logs", rest[:1]); err != nil {
			return nil, err
		}
	}
	if logs.Name == "" || strings.ContainsAny(logs.Name, " \t\r\n\x00") {
		return nil, refuse("logs: %q is not a name", logs.Name)
	}
	if f.logs.tail != -1 {
		logs.TailLines = &f.logs.tail
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Logs{Logs: logs}}, nil
}

func (l *logsFlags) check() error {
	switch {
	case l.sinceTime != "" && l.since != 0:
		return refuse("at most one of `sinceTime` or `sinceSeconds` may be specified")
	case l.allContainers && l.container != "":
		return refuse("--all-containers=true should not be specified with container name %s", l.container)
	case l.limitBytes < 0:
		return refuse("--limit-bytes must be greater than 0")
	case l.since < 0:
		return refuse("--since must be greater than 0")
	case l.tail < -1:
		return refuse("--tail must be greater than or equal to -1")
	}
	if l.sinceTime != "" {
		if _, err := time.Parse(time.RFC3339, l.sinceTime); err != nil {
			return refuse("%v", err)
		}
	}
	return nil
}

func parseScale(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeScale()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	switch {
	case !f.set.Changed("replicas"):
		return nil, refuse(`required flag(s) "replicas" not set`)
	case f.replicas < 0:
		return nil, refuse("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
	case f.current < -1:
		return nil, refuse("The --current-replicas must specify an integer of -1 or greater")
	}
	kind, name, err := one("scale", rest)
	if err != nil {
		return nil, err
	}
	scale := &linkv1.Scale{Kind: kind, Namespace: f.namespace, Name: name, Replicas: f.replicas, ChangeCause: f.changeCause(rest)}
	if f.current != -1 {
		scale.CurrentReplicas = &f.current
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Scale{Scale: scale}}, nil
}

var patchTypes = []string{"json", "merge", "strategic"}

func parsePatch(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takePatch()
	f.takeFieldManager()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if f.patch == "" {
		return nil, refuse("must specify --patch or --patch-file containing the contents of the patch")
	}
	if f.patchType == "" {
		f.patchType = "strategic"
	}
	if !slices.Contains(patchTypes, strings.ToLower(f.patchType)) {
		return nil, refuse("--type must be one of %v, not %q", patchTypes, f.patchType)
	}
	kind, name, err := one("patch", rest)
	if err != nil {
		return nil, err
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Patch{Patch: &linkv1.Patch{
		Kind: kind, Namespace: f.namespace, Name: name, Type: strings.ToLower(f.patchType), Patch: []byte(f.patch),
		FieldManager: f.fieldManager, ChangeCause: f.changeCause(rest),
	}}}, nil
}

// parseRollout reads "rollout history|undo|pause|resume|restart KIND/NAME".
func parseRollout(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeRevision()
	f.takeToRevision()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, refuse("rollout: one of history, undo, pause, resume, restart is required")
	}
	action, rest := rest[0], rest[1:]
	for flag, owner := range map[string]string{"revision": "history", "to-revision": "undo"} {
		if f.set.Changed(flag) && action != owner {
			return nil, refuse("unknown flag: --%s (of rollout %s)", flag, action)
		}
	}
	if len(rest) == 0 {
		return nil, refuse("required resource not specified")
	}
	kind, name, err := one("rollout "+action, rest)
	if err != nil {
		return nil, err
	}
	rollout := &linkv1.Rollout{Kind: kind, Namespace: f.namespace, Name: name}
	switch action {
	case "history":
		if f.revision < 0 {
			return nil, refuse("revision must be a positive integer: %v", f.revision)
		}
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutHistory{RolloutHistory: &linkv1.RolloutHistory{
			Kind: kind, Namespace: f.namespace, Name: name, Revision: f.revision}}}, nil
	case "undo":
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutUndo{RolloutUndo: &linkv1.RolloutUndo{
			Kind: kind, Namespace: f.namespace, Name: name, ToRevision: f.revision}}}, nil
	case "pause":
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutPause{RolloutPause: rollout}}, nil
	case "resume":
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutResume{RolloutResume: rollout}}, nil
	case "restart":
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutRestart{RolloutRestart: rollout}}, nil
	default:
		return nil, refuse("rollout %s is not supported on this account; supported are history, undo, pause, resume, restart", action)
	}
}

// parseTop reads "top pod [POD]". Other kinds than pods have no use here.
func parseTop(f *flags, arguments []string, _ []byte) (*linkv1.Operation, error) {
	f.takeContainers()
	f.takeLabelSelector()
	rest, err := f.parse(arguments)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 || !slices.Contains([]string{"pod", "pods", "po"}, rest[0]) {
		return nil, refuse("top: only top pod is supported on this account, got top %s", strings.Join(rest, " "))
	}
	top := &linkv1.Top{Namespace: f.namespace, Containers: f.containers, LabelSelector: f.labelSelector}
	switch {
	case len(rest) > 2:
		return nil, refuse("pod [NAME | -l label]\nSee 'kubectl top pod -h' for help and examples")
	case len(rest) == 2 && f.labelSelector != "":
		return nil, refuse("only one of NAME or selector can be provided")
	case len(rest) == 2:
		top.Pod = rest[1]
		if top.Pod == "" || strings.ContainsAny(top.Pod, "/ \t\r\n\x00") {
			return nil, refuse("top: %q is not a pod's name", top.Pod)
		}
	}
	return &linkv1.Operation{Operation: &linkv1.Operation_Top{Top: top}}, nil
}

// one reads a single "KIND/NAME" or "KIND NAME".
func one(verb string, rest []string) (kind, name string, err error) {
	kinds, name, err := target(verb, rest)
	if err != nil {
		return "", "", err
	}
	if len(kinds) != 1 {
		return "", "", refuse("%s: one kind at a time is supported, got %s", verb, strings.Join(kinds, ","))
	}
	if name == "" {
		return "", "", refuse("%s: a name is required, got only %q", verb, kinds[0])
	}
	return kinds[0], name, nil
}
