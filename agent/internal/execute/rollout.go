package execute

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/kubectl/pkg/cmd/rollout"
	"k8s.io/kubectl/pkg/cmd/set"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	"k8s.io/kubectl/pkg/scheme"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// rolloutHistory prints kubectl's table of revisions, or the pod template of one.
func (r *run) rolloutHistory(op *linkv1.RolloutHistory) error {
	c := r.command("history", op.GetNamespace())
	o := rollout.NewRolloutHistoryOptions(c.streams)
	c.options(o.PrintFlags)
	if err := o.Complete(c.factory, c.cobra, []string{op.GetKind() + "/" + op.GetName()}); err != nil {
		return err
	}
	o.Revision = op.GetRevision()
	if err := o.Validate(); err != nil {
		return err
	}
	return c.end(o.Run())
}

// rolloutUndo goes back to a revision.
func (r *run) rolloutUndo(op *linkv1.RolloutUndo) error {
	c := r.command("undo", op.GetNamespace())
	o := rollout.NewRolloutUndoOptions(c.streams)
	o.CmdBaseName = "kubectl"
	c.options(o.PrintFlags)
	if err := o.Complete(c.factory, c.cobra, []string{op.GetKind() + "/" + op.GetName()}); err != nil {
		return err
	}
	o.ToRevision = op.GetToRevision()
	if err := o.Validate(); err != nil {
		return err
	}
	return c.end(o.RunUndo())
}

// transition is a rollout verb that changes an object by a patch of its own.
type transition struct {
	verb   string
	change set.PatchFn
	done   string
	// same is what kubectl says when nothing has to change; unchanged is the error if that must not be.
	same      string
	unchanged func(name string) error
}

func pausing() transition {
	return transition{verb: "pause", change: set.PatchFn(polymorphichelpers.ObjectPauserFn), done: "paused", same: "already paused"}
}

func resuming() transition {
	return transition{verb: "resume", change: set.PatchFn(polymorphichelpers.ObjectResumerFn), done: "resumed", same: "already resumed"}
}

func restarting() transition {
	return transition{verb: "restart", change: set.PatchFn(polymorphichelpers.ObjectRestarterFn), done: "restarted", unchanged: func(name string) error {
		return fmt.Errorf("failed to create patch for %v: if restart has already been triggered within the past second, please wait before attempting to trigger another", name)
	}}
}

// rollout changes a workload as kubectl's helper for its kind does.
func (r *run) rollout(op *linkv1.Rollout, t transition) error {
	c := r.command(t.verb, op.GetNamespace())
	result := c.factory.NewBuilder().
		WithScheme(scheme.Scheme, scheme.Scheme.PrioritizedVersionsAllGroups()...).
		NamespaceParam(r.namespaceOr(op.GetNamespace())).DefaultNamespace().
		ResourceTypeOrNameArgs(true, op.GetKind()+"/"+op.GetName()).
		ContinueOnError().
		Latest().
		Flatten().
		Do()
	if err := result.Err(); err != nil {
		return err
	}
	infos, err := result.Infos()
	errs := []error{err}
	for _, patch := range set.CalculatePatches(infos, scheme.DefaultJSONEncoder(), t.change) {
		errs = append(errs, c.transit(t, patch))
	}
	return c.end(aggregate(errs))
}

func (c *command) transit(t transition, patch *set.Patch) error {
	info := patch.Info
	switch {
	case patch.Err != nil:
		return fmt.Errorf("error: %s %q %w", info.Mapping.Resource.GroupResource(), info.Name, patch.Err)
	case string(patch.Patch) != "{}" && len(patch.Patch) > 0:
	case t.unchanged != nil:
		return t.unchanged(info.Name)
	default:
		return c.print(info.Object, t.same)
	}
	object, err := resource.NewHelper(info.Client, info.Mapping).
		WithFieldManager("kubectl-rollout").
		Patch(info.Namespace, info.Name, types.StrategicMergePatchType, patch.Patch, nil)
	if err != nil {
		return fmt.Errorf("failed to patch: %w", err)
	}
	if err := info.Refresh(object, true); err != nil {
		return err
	}
	return c.print(info.Object, t.done)
}
