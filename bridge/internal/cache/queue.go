package cache

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// queue holds tasks by account. A worker takes tasks of many accounts at once; an account is with one worker at a time, which
// keeps its order.
type queue struct {
	// The bounds: what a task takes is given back when it has ended. Both are taken in this order.
	bytes, changes       *semaphore.Weighted
	maxBytes, maxChanges int64
	// One token wakes one worker.
	wake chan struct{}
	// Ends when the queue stops.
	life context.Context
	end  context.CancelCauseFunc

	mu      sync.Mutex
	lanes   map[string]*lane
	ready   []*lane // with tasks and no worker, in the order in which they became so
	stopped bool
	stats   queueStats
}

// queueStats is what the queue holds, tasks with a worker included.
type queueStats struct {
	bytes, changes, writes int
	// oldest is when the oldest task came; zero: there is none.
	oldest time.Time
	// blocked is how long Submit has waited for room, all in all.
	blocked time.Duration
	// saturation is how full the queue is, by its tighter bound, 0 to 1. One that is larger than the queue fills it.
	saturation float64
}

// lane is the queue of one account. It exists while it has tasks or a worker.
type lane struct {
	account string
	tasks   []*task
	taken   bool
	came    time.Time // of the first task that a worker has
	listed  bool
}

func newQueue(maxBytes, maxChanges, workers int) *queue {
	life, end := context.WithCancelCause(context.Background())
	return &queue{
		bytes: semaphore.NewWeighted(int64(maxBytes)), changes: semaphore.NewWeighted(int64(maxChanges)),
		maxBytes: int64(maxBytes), maxChanges: int64(maxChanges),
		wake: make(chan struct{}, workers), life: life, end: end, lanes: map[string]*lane{},
	}
}

// cost is what a task takes of the bounds. One that is larger than all of it waits until it is alone.
func (q *queue) cost(t *task) (bytes, changes int64) {
	return min(int64(t.bytes), q.maxBytes), min(int64(len(t.items)), q.maxChanges)
}

// reserve waits for room.
func (q *queue) reserve(ctx context.Context, t *task) error {
	bytes, changes := q.cost(t)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(q.life, func() { cancel(ErrStopped) })()
	began := time.Now()
	err := q.bytes.Acquire(ctx, bytes)
	if err == nil {
		if err = q.changes.Acquire(ctx, changes); err != nil {
			q.bytes.Release(bytes)
		}
	}
	if waited := time.Since(began); waited > time.Millisecond {
		q.mu.Lock()
		q.stats.blocked += waited
		q.mu.Unlock()
	}
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// release gives back what a task took.
func (q *queue) release(t *task) {
	bytes, changes := q.cost(t)
	q.bytes.Release(bytes)
	q.changes.Release(changes)
}

// push adds a task; it blocks while the queue is full.
func (q *queue) push(ctx context.Context, t *task) error {
	t.came = time.Now()
	if err := q.reserve(ctx, t); err != nil {
		return err
	}
	if !q.add(t) {
		q.release(t)
		return ErrStopped
	}
	q.signal()
	return nil
}

func (q *queue) add(t *task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return false
	}
	l := q.lanes[t.account]
	if l == nil {
		l = &lane{account: t.account}
		q.lanes[t.account] = l
	}
	l.tasks = append(l.tasks, t)
	q.stats.writes++
	q.stats.bytes += t.bytes
	q.stats.changes += len(t.items)
	q.list(l)
	return true
}

// list puts a lane that has work and no worker at the end of the ready ones. The lock is held.
func (q *queue) list(l *lane) {
	if len(l.tasks) > 0 && !l.taken && !l.listed {
		l.listed = true
		q.ready = append(q.ready, l)
	}
}

// signal wakes a worker. When the channel is full, all of them are about to look anyway.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// idle tells whether the account has nothing queued or under way.
func (q *queue) idle(account string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lanes[account] == nil
}

// take returns tasks for one transaction: the first of each ready account, and then more of the same accounts, as long as
// the limits allow. Tasks of one account are in order and have one fence. The accounts are the caller's until finish.
// Barriers that are reached are returned apart, to be ended at once.
func (q *queue) take(maxBytes, maxChanges int) (tasks, barriers []*task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes, changes := 0, 0
	fits := func(t *task) bool {
		return len(tasks) == 0 || bytes+t.bytes <= maxBytes && changes+len(t.items) <= maxChanges
	}
	// One after the other, so that an account with a long queue does not fill the transaction alone.
	var mine []*lane
	for len(q.ready) > 0 {
		l := q.ready[0]
		barriers = append(barriers, l.popBarriers()...)
		if len(l.tasks) > 0 && !fits(l.tasks[0]) {
			break
		}
		q.ready, l.listed = q.ready[1:], false
		if len(l.tasks) == 0 {
			delete(q.lanes, l.account)
			continue
		}
		t := l.pop()
		l.taken, l.came = true, t.came
		tasks, mine = append(tasks, t), append(mine, l)
		bytes, changes = bytes+t.bytes, changes+len(t.items)
	}
	for i := 0; i < len(mine); {
		l := mine[i]
		if len(l.tasks) == 0 || l.tasks[0].barrier || l.tasks[0].fence() != fenceOf(tasks, l.account) || !fits(l.tasks[0]) {
			i++
			continue
		}
		t := l.pop()
		tasks = append(tasks, t)
		bytes, changes = bytes+t.bytes, changes+len(t.items)
	}
	if len(q.ready) > 0 {
		q.signal()
	}
	return tasks, barriers
}

func fenceOf(tasks []*task, account string) store.Fence {
	return tasks[slices.IndexFunc(tasks, func(t *task) bool { return t.account == account })].fence()
}

func (l *lane) pop() *task {
	t := l.tasks[0]
	l.tasks[0] = nil
	l.tasks = l.tasks[1:]
	return t
}

func (l *lane) popBarriers() (barriers []*task) {
	for len(l.tasks) > 0 && l.tasks[0].barrier {
		barriers = append(barriers, l.pop())
	}
	return barriers
}

// finish gives accounts back, so that their next tasks can be taken, and the room that their tasks took.
func (q *queue) finish(tasks []*task) {
	q.mu.Lock()
	more := false
	for _, t := range tasks {
		q.stats.writes--
		q.stats.bytes -= t.bytes
		q.stats.changes -= len(t.items)
		l := q.lanes[t.account]
		if l == nil || t.barrier || !l.taken {
			continue
		}
		l.taken = false
		if len(l.tasks) == 0 {
			delete(q.lanes, t.account)
			continue
		}
		q.list(l)
		more = true
	}
	q.mu.Unlock()
	for _, t := range tasks {
		q.release(t)
	}
	if more {
		q.signal()
	}
}

// refuse lets no further task in.
func (q *queue) refuse() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.end(ErrStopped)
}

// stop refuses further tasks and ends those that wait.
func (q *queue) stop() {
	q.refuse()
	q.mu.Lock()
	var left []*task
	for _, l := range q.lanes {
		left = append(left, l.tasks...)
		l.tasks = nil
	}
	q.lanes, q.ready = map[string]*lane{}, nil
	q.mu.Unlock()
	q.finish(left)
	for _, t := range left {
		t.done(outcome{err: ErrStopped})
	}
}

// look returns what the queue holds now.
func (q *queue) look() queueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	stats := q.stats
	stats.saturation = min(max(float64(stats.bytes)/float64(q.maxBytes), float64(stats.changes)/float64(q.maxChanges)), 1)
	for _, l := range q.lanes {
		came := l.came
		if !l.taken {
			came = l.tasks[0].came
		}
		if stats.oldest.IsZero() || came.Before(stats.oldest) {
			stats.oldest = came
		}
	}
	return stats
}
