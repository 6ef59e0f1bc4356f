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
	// mostHistoryWait is the longest pause while the database is away, farewellWrite what a bridge that stops gives the last rows.
	mostHistoryWait = time.Minute
	farewellWrite   = 2 * time.Second
)

// HistoryStore keeps the rows (store.Store).
type HistoryStore interface {
	PutOperations(ctx context.Context, list []store.Operation) error
	ForgetOperations(ctx context.Context, age time.Duration, limit int) (int, error)
}

// underWay is the outcome of a change that has not ended; where its bridge has died, it stays.
const underWay = "running"

// History writes a row for each operation: who, what, target, timings, outcome; no bodies and no secrets. A change has its row soon after it was
// received, so that it is known even if its bridge dies, a read when it has ended. While the database is away rows wait, bounded; what finds no
// room is counted and said.
type History struct {
	store     HistoryStore
	bridge    string
	retention time.Duration
	log       *slog.Logger
	queue     chan entry
	dropped   atomic.Uint64
	said      uint64 // of dropped; Run's
}

type entry struct {
	row   store.Operation
	began time.Time
}

// NewHistory makes a history that keeps rows for the retention.
func NewHistory(s HistoryStore, bridge string, retention time.Duration, log *slog.Logger) *History {
	return &History{store: s, bridge: bridge, retention: retention, log: log, queue: make(chan entry, historyQueue)}
}

// Waiting is how many rows wait for the database; at most 4,096.
func (h *History) Waiting() int { return len(h.queue) }

// Dropped is how many operations found no room.
func (h *History) Dropped() uint64 { return h.dropped.Load() }

// begin queues a change that has been received.
func (h *History) begin(e ended) {
	row := h.row(e)
	row.Outcome, row.Waited, row.Begun, row.Ended, row.Duration = underWay, -1, -1, -1, -1
	h.queueRow(entry{row: row, began: e.began})
}

// add queues an ended operation.
func (h *History) add(e ended) {
	row := h.row(e)
	row.Outcome, row.Reason = conclude(e)
	row.Server = time.Duration(e.outcome.GetDurationMs()) * time.Millisecond //nolint:gosec // milliseconds of an operation
	row.Waited, row.Begun, row.Ended = e.hops()
	row.Duration = e.answered.Sub(e.began)
	h.queueRow(entry{row: row, began: e.began})
}

func (h *History) row(e ended) store.Operation {
	caller := plugin.CallerOf(e.ctx)
	verb, target := Describe(e.operation)
	return store.Operation{ID: e.id, Account: e.account, Verb: verb, Target: target, Mutation: e.mutation, User: caller.User, Execution: caller.Execution,
		Bridge: h.bridge, Agent: e.instance}
}

func (h *History) queueRow(e entry) {
	select {
	case h.queue <- e:
	default:
		h.dropped.Add(1)
	}
}

// hops tells when, after it was received, an operation was sent, begun and ended; negative: not known. The agent says how long it had it, not when:
// clocks differ. What is left of the time between, the way there and the way back share.
func (e *ended) hops() (sent, begun, done time.Duration) {
	sent, begun, done = -1, -1, -1
	if e.sent.IsZero() {
		return sent, begun, done
	}
	sent = max(e.sent.Sub(e.began), 0)
	waited := time.Duration(e.outcome.GetWaitedMs()) * time.Millisecond //nolint:gosec // milliseconds of an operation
	ran := time.Duration(e.outcome.GetRanMs()) * time.Millisecond       //nolint:gosec // milliseconds of an operation
	if e.told.IsZero() || e.outcome.GetState() == linkv1.Outcome_STATE_NOT_STARTED {
		return sent, begun, done
	}
	way := max(e.told.Sub(e.sent)-waited-ran, 0) / 2
	begun = sent + way + waited
	return sent, begun, begun + ran
}

// Run writes until ctx ends; what waits then is given a moment more.
func (h *History) Run(ctx context.Context) error {
	forget := time.NewTicker(forgetEvery)
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			h.finish(ctx, nil)
			return nil
		case first := <-h.queue:
			if batch := h.gather(ctx, first); !h.write(ctx, batch) {
				h.finish(ctx, batch)
				return nil
			}
		case <-forget.C:
			h.forget(ctx)
		}
	}
}

// finish stores what waits when the bridge stops, as far as the database takes it soon.
func (h *History) finish(ctx context.Context, batch []entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellWrite)
	defer cancel()
	for {
		for len(h.queue) > 0 && len(batch) < historyBatch {
			batch = append(batch, <-h.queue)
		}
		if len(batch) == 0 {
			return
		}
		if !h.write(ctx, batch) {
			h.log.Warn("operations that ended last are not in the history: the database did not take them before the bridge stopped",
				"operations", len(batch)+len(h.queue))
			return
		}
		batch = nil
	}
}

// forget deletes rows beyond the retention.
func (h *History) forget(ctx context.Context) {
	for {
		n, err := h.store.ForgetOperations(ctx, h.retention, forgetLimit)
		if err != nil && ctx.Err() == nil {
			h.log.Warn("cannot forget old operations", "error", err.Error())
		}
		if err != nil || n < forgetLimit {
			return
		}
	}
}

// gather waits a moment for more operations.
func (h *History) gather(ctx context.Context, first entry) []entry {
	pause := time.NewTimer(historyPause)
	defer pause.Stop()
	batch := []entry{first}
	for len(batch) < historyBatch {
		select {
		case e := <-h.queue:
			batch = append(batch, e)
		case <-pause.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// write stores a batch, again and again until it is stored or ctx ends.
func (h *History) write(ctx context.Context, batch []entry) bool {
	for wait := time.Second; ; wait = min(2*wait, mostHistoryWait) {
		err := h.put(ctx, batch)
		switch {
		case err == nil:
			if n := h.Dropped() - h.said; n > 0 {
				h.said += n
				h.log.Warn("operations are missing in the history: while the database was away more of them ended than can wait", "operations", n)
			}
			return true
		case ctx.Err() != nil:
			return false
		}
		h.log.Warn("operations wait for the history", "operations", len(batch)+len(h.queue), "next_try", wait.String(), "error", err.Error())
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// put stores a batch. One that the database refuses for what it holds is stored row by row, without those that are at fault.
func (h *History) put(ctx context.Context, batch []entry) error {
	rows := make([]store.Operation, 0, len(batch))
	at := make(map[string]int, len(batch))
	for _, e := range batch {
		e.row.Age = time.Since(e.began)
		if i, there := at[e.row.ID]; there {
			rows[i] = e.row // its end came soon after its beginning
			continue
		}
		at[e.row.ID] = len(rows)
		rows = append(rows, e.row)
	}
	err := h.store.PutOperations(ctx, rows)
	if !store.IsData(err) {
		return err
	}
	for _, row := range rows {
		err := h.store.PutOperations(ctx, []store.Operation{row})
		switch {
		case store.IsData(err):
			h.log.Error("operation cannot be stored in the history", "operation", row.ID, "account", row.Account, "error", err.Error())
		case err != nil:
			return err
		}
	}
	return nil
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
		return "failed", f.GetReason() + " " + withoutExcerpt(f.GetMessage())
	default:
		return "succeeded", ""
	}
}

// withoutExcerpt cuts an API server's message before the piece of the manifest that servers before Kubernetes 1.23 quote when they cannot decode
// it: "… error found in #10 byte of ...|…|..., bigger context ...|…|...".
func withoutExcerpt(message string) string {
	if before, _, quoted := strings.Cut(message, " of ...|"); quoted {
		return before + " (the excerpt of the manifest is left out)"
	}
	return message
}
