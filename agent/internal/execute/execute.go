// Package execute runs operations on an account's cluster. Where kubectl's behaviour is the specification, its own libraries
// do the work: the three-way patch of apply, server-side apply with its migration, the reading of manifests, scale, rollouts,
// top. What this package adds is that everything ends with the operation's context, that lists and logs stream, that errors
// keep their structure, and that what another manager deployed server-side is taken over (adopt.go).
//
// Invariants:
//   - Run never panics and never returns nil;
//   - nothing of an operation outlives Run, and no state is shared between operations but what is known of the cluster;
//   - output is complete when Run returns, and never grows in memory with the length of a list;
//   - no file is written, nothing global is changed.
package execute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Executor runs operations on one cluster. It may be used by any number of goroutines.
type Executor struct {
	cluster *cluster.Cluster
	schemas *accountSchemas
	log     *slog.Logger
	policy  config.ServerSideApply
}

// Options of an executor.
type Options struct {
	Log *slog.Logger
	// Schemas shared among all accounts of the process; nil: this account shares with nobody.
	Schemas *Schemas
	// ServerSide decides between client-side and server-side apply where an operation does not.
	ServerSide config.ServerSideApply
}

// New makes the executor of a cluster.
func New(c *cluster.Cluster, o Options) *Executor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Schemas == nil {
		o.Schemas = NewSchemas()
	}
	return &Executor{cluster: c, schemas: newAccountSchemas(o.Schemas), log: o.Log.With("account", c.Name()), policy: o.ServerSide}
}

// run is one operation under way.
type run struct {
	*cluster.Client

	ctx     context.Context
	output  io.Writer
	schemas *accountSchemas
	policy  config.ServerSideApply
	effects []*linkv1.Effect
	// everywhere: the operation is about all namespaces.
	everywhere bool
	// notes are lines for standard error that are no warnings.
	notes []string
}

// Run runs an operation to its end, or until ctx ends, and writes what kubectl prints on standard output to output, but for
// the lines of verbs that print lines (Outcome.Effects).
func (e *Executor) Run(ctx context.Context, op *linkv1.Operation, output io.Writer) (outcome *linkv1.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("operation panicked", "panic", p, "stack", string(debug.Stack()))
			outcome = failed(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_CLIENT, Message: "the agent has a bug and could not finish the operation; its log says more"})
		}
	}()
	r := &run{Client: e.cluster.Client(ctx), ctx: ctx, output: output, schemas: e.schemas, policy: e.policy}
	err := r.do(op)
	outcome = &linkv1.Outcome{
		State: linkv1.Outcome_STATE_DONE, Warnings: r.Warnings(), Notes: r.notes, Effects: r.effects,
		DurationMs: uint64(r.Spent().Milliseconds()),
	}
	if err == nil {
		return outcome
	}
	if ctx.Err() != nil {
		outcome.State, outcome.Reason = linkv1.Outcome_STATE_CANCELLED, stopped(ctx)
		return outcome
	}
	outcome.Failures = failures(err, r.Server())
	return outcome
}

func stopped(ctx context.Context) string {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return "its time was over"
	}
	return cause.Error()
}

func failed(f *linkv1.Failure) *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE, Failures: []*linkv1.Failure{f}}
}

func (r *run) do(op *linkv1.Operation) error {
	switch o := op.GetOperation().(type) {
	case *linkv1.Operation_Get:
		return r.get(o.Get)
	case *linkv1.Operation_List:
		if len(o.List.GetObjects()) > 0 {
			return r.getSeveral(o.List)
		}
		return r.list(r.whereverAsked(o.List))
	case *linkv1.Operation_Apply:
		return r.apply(o.Apply)
	case *linkv1.Operation_Create:
		return r.create(o.Create)
	case *linkv1.Operation_Replace:
		return r.replace(o.Replace)
	case *linkv1.Operation_Delete:
		return r.delete(o.Delete)
	case *linkv1.Operation_Logs:
		return r.logs(o.Logs)
	case *linkv1.Operation_Scale:
		return r.scale(o.Scale)
	case *linkv1.Operation_Patch:
		return r.patch(o.Patch)
	case *linkv1.Operation_RolloutHistory:
		return r.rolloutHistory(o.RolloutHistory)
	case *linkv1.Operation_RolloutUndo:
		return r.rolloutUndo(o.RolloutUndo)
	case *linkv1.Operation_RolloutPause:
		return r.rollout(o.RolloutPause, pausing())
	case *linkv1.Operation_RolloutResume:
		return r.rollout(o.RolloutResume, resuming())
	case *linkv1.Operation_RolloutRestart:
		return r.rollout(o.RolloutRestart, restarting())
	case *linkv1.Operation_Top:
		return r.top(o.Top)
	default:
		return fmt.Errorf("this agent does not know the operation %T; its bridge is newer: update the agent", op.GetOperation())
	}
}

// whereverAsked makes a list of all namespaces of one that asks for it.
func (r *run) whereverAsked(op *linkv1.List) *linkv1.List {
	if !op.GetAllNamespaces() {
		return op
	}
	r.everywhere = true
	return &linkv1.List{Kinds: op.GetKinds(), LabelSelector: op.GetLabelSelector(), FieldSelector: op.GetFieldSelector()}
}

// namespaceOr is the namespace that an operation names, or the account's default; "" is all of them.
func (r *run) namespaceOr(namespace string) string {
	if namespace != "" || r.everywhere {
		return namespace
	}
	return r.Namespace()
}
