package operations

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// historyQueue is how many ended operations may wait for the database. Beyond it the oldest would tell nothing new about an outage.
	historyQueue = 4096
	historyBatch = 200
	// historyPause lets operations gather, so that a busy bridge writes few statements.
	historyPause = 500 * time.Millisecond
	// forgetEvery and forgetLimit bound what retention deletes at once.
	forgetEvery = 10 * time.Minute
	forgetLimit = 5000
)

// HistoryStore keeps the rows (store.Store).
type HistoryStore interface {
	PutOperations(ctx context.Context, list []store.Operation) error
	ForgetOperations(ctx context.Context, age time.Duration, limit int) (int, error)
}

// History writes a row for each ended operation: who, what, target, timings, outcome; no bodies and no secrets. While the database is away
// rows wait, bounded; what finds no room is counted and said.
type History struct {
	store     HistoryStore
	bridge    string
	retention time.Duration
	log       *slog.Logger
	queue     chan entry
	dropped   atomic.Uint64
}

type entry struct {
	row   store.Operation
	ended time.Time
	total time.Duration
}

// NewHistory makes a history that keeps rows for the retention.
func NewHistory(s HistoryStore, bridge string, retention time.Duration, log *slog.Logger) *History {
	return &History{store: s, bridge: bridge, retention: retention, log: log, queue: make(chan entry, historyQueue)}
}

// Dropped is how many operations found no room.
func (h *History) Dropped() uint64 { return h.dropped.Load() }

// add queues an ended operation.
func (h *History) add(e ended) {
	caller := plugin.CallerOf(e.ctx)
	verb, target := describe(e.operation)
	row := store.Operation{ID: e.id, Account: e.account, Verb: verb, Target: target, Mutation: e.mutation, User: caller.User, Execution: caller.Execution,
		Bridge: h.bridge, Agent: e.instance, Duration: e.duration, Server: time.Duration(e.outcome.GetDurationMs()) * time.Millisecond} //nolint:gosec // milliseconds of an operation
	row.Outcome, row.Reason = conclude(e)
	select {
	case h.queue <- entry{row: row, ended: time.Now(), total: e.duration}:
	default:
		h.dropped.Add(1)
	}
}

// Run writes until ctx ends; what waits then is given a moment more.
func (h *History) Run(ctx context.Context) error {
	forget := time.NewTicker(forgetEvery)
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			for len(h.queue) > 0 && h.write(last, <-h.queue) {
			}
			return nil
		case first := <-h.queue:
			h.write(ctx, first)
		case <-forget.C:
			if _, err := h.store.ForgetOperations(ctx, h.retention, forgetLimit); err != nil && ctx.Err() == nil {
				h.log.Warn("cannot forget old operations", "error", err.Error())
			}
		}
	}
}

// write stores a batch that begins with first, again and again until it is stored or ctx ends.
func (h *History) write(ctx context.Context, first entry) bool {
	pause := time.NewTimer(historyPause)
	defer pause.Stop()
	batch := []entry{first}
gather:
	for len(batch) < historyBatch {
		select {
		case e := <-h.queue:
			batch = append(batch, e)
		case <-pause.C:
			break gather
		case <-ctx.Done():
			break gather
		}
	}
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		rows := make([]store.Operation, 0, len(batch))
		for _, e := range batch {
			e.row.Age = e.total + time.Since(e.ended)
			rows = append(rows, e.row)
		}
		err := h.store.PutOperations(ctx, rows)
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		if store.IsData(err) {
			h.log.Error("operations cannot be stored", "operations", len(rows), "error", err.Error())
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// describe names an operation for people: verb and target, without bodies.
func describe(op *linkv1.Operation) (verb, target string) {
	in := func(namespace, what string) string {
		if namespace == "" {
			return what
		}
		return namespace + "/" + what
	}
	switch o := op.GetOperation().(type) {
	case *linkv1.Operation_Get:
		return "get", in(o.Get.GetNamespace(), o.Get.GetKind()+" "+o.Get.GetName())
	case *linkv1.Operation_List:
		return "list", in(o.List.GetNamespace(), strings.Join(o.List.GetKinds(), ","))
	case *linkv1.Operation_Apply:
		return "apply", manifests(o.Apply.GetManifests())
	case *linkv1.Operation_Create:
		return "create", manifests(o.Create.GetManifests())
	case *linkv1.Operation_Replace:
		return "replace", manifests(o.Replace.GetManifests())
	case *linkv1.Operation_Delete:
		what := o.Delete.GetName()
		if what == "" {
			what = "-l " + o.Delete.GetLabelSelector()
		}
		return "delete", in(o.Delete.GetNamespace(), o.Delete.GetKind()+" "+what)
	default:
		return "unknown", ""
	}
}

// conclude names how an operation ended.
func conclude(e ended) (outcome, reason string) {
	var absent *AbsentError
	switch {
	case errors.As(e.err, &absent):
		return "absent", ""
	case e.err != nil:
		return "caller gone", e.err.Error()
	case e.outcome.GetState() != linkv1.Outcome_STATE_DONE:
		return strings.ToLower(strings.TrimPrefix(e.outcome.GetState().String(), "STATE_")), e.outcome.GetReason()
	case len(e.outcome.GetFailures()) > 0:
		f := e.outcome.GetFailures()[0]
		return "failed", f.GetReason() + " " + f.GetMessage()
	default:
		return "succeeded", ""
	}
}
