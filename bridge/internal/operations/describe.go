package operations

import (
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Describe names an operation for people: verb and target, without bodies.
func Describe(op *linkv1.Operation) (verb, target string) {
	switch o := op.GetOperation().(type) {
	case *linkv1.Operation_Get:
		return "get", object(o.Get)
	case *linkv1.Operation_List:
		return "list", within(o.List.GetNamespace(), strings.Join(append(o.List.GetKinds(), o.List.GetObjects()...), ","))
	case *linkv1.Operation_Apply:
		return "apply", manifests(o.Apply.GetManifests())
	case *linkv1.Operation_Create:
		return "create", manifests(o.Create.GetManifests())
	case *linkv1.Operation_Replace:
		return "replace", manifests(o.Replace.GetManifests())
	case *linkv1.Operation_Delete:
		if o.Delete.GetName() == "" {
			return "delete", within(o.Delete.GetNamespace(), o.Delete.GetKind()+" -l "+o.Delete.GetLabelSelector())
		}
		return "delete", object(o.Delete)
	case *linkv1.Operation_Logs:
		if o.Logs.GetKind() == "" {
			return "logs", within(o.Logs.GetNamespace(), "pod "+o.Logs.GetName())
		}
		return "logs", object(o.Logs)
	case *linkv1.Operation_Scale:
		return "scale", object(o.Scale)
	case *linkv1.Operation_Patch:
		return "patch", object(o.Patch)
	case *linkv1.Operation_RolloutHistory:
		return "rollout history", object(o.RolloutHistory)
	case *linkv1.Operation_RolloutUndo:
		return "rollout undo", object(o.RolloutUndo)
	case *linkv1.Operation_RolloutPause:
		return "rollout pause", object(o.RolloutPause)
	case *linkv1.Operation_RolloutResume:
		return "rollout resume", object(o.RolloutResume)
	case *linkv1.Operation_RolloutRestart:
		return "rollout restart", object(o.RolloutRestart)
	case *linkv1.Operation_Top:
		return "top", within(o.Top.GetNamespace(), strings.TrimSpace("pod "+o.Top.GetPod()))
	default:
		return "unknown", ""
	}
}

func object(named interface {
	GetNamespace() string
	GetKind() string
	GetName() string
}) string {
	return within(named.GetNamespace(), named.GetKind()+" "+named.GetName())
}

func within(namespace, what string) string {
	if namespace == "" {
		return what
	}
	return namespace + "/" + what
}
