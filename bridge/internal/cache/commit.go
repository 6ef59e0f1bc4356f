package cache

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

const (
	// attemptTimeout ends a transaction that hangs.
	attemptTimeout = 2 * time.Minute
	// conflictPause is about how long a transaction waits that lost against another one.
	conflictPause = 10 * time.Millisecond
	// firstPause and lastPause are between attempts while the database is away.
	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
	// patience is how often a statement is tried that the server refuses for a reason that is not known to pass.
	patience = 5
	// quiet is between two log lines about the same trouble.
	quiet = 30 * time.Second
)

// work takes tasks and commits them until ctx ends.
func (w *Writer) work(ctx context.Context) error {
	for ctx.Err() == nil {
		tasks, barriers := w.queue.take(w.o.TransactionBytes, w.o.TransactionChanges)
		w.end(barriers, make([]outcome, len(barriers)))
		if len(tasks) == 0 {
			select {
			case <-ctx.Done():
			case <-w.queue.wake:
			}
			continue
		}
		// The order across accounts does not matter, that of an account's own tasks stays.
		slices.SortStableFunc(tasks, func(a, b *task) int { return cmp.Compare(a.account, b.account) })
		w.metrics.busy.Inc()
		outcomes := w.commit(ctx, tasks)
		w.metrics.busy.Dec()
		if ctx.Err() != nil {
			// Before room is given back, or those who wait for it would get in.
			w.queue.refuse()
		}
		w.end(tasks, outcomes)
	}
	return nil
}

// end tells how tasks ended and gives back what they held.
func (w *Writer) end(tasks []*task, outcomes []outcome) {
	w.queue.finish(tasks)
	for i, t := range tasks {
		o := outcomes[i]
		if o.err == nil {
			o.rejected = append(slices.Clip(t.rejected), o.rejected...)
		}
		if !t.barrier {
			w.metrics.ended(t, o)
		}
		t.done(o)
	}
}

func failed(tasks []*task, err error) []outcome {
	return slices.Repeat([]outcome{{err: err}}, len(tasks))
}

// commit writes tasks in one transaction, or in several when the database refuses what one of them holds.
func (w *Writer) commit(ctx context.Context, tasks []*task) []outcome {
	refused, pause := 0, firstPause
	var said time.Time
	for {
		outcomes, err := w.attempt(ctx, tasks)
		switch {
		case err == nil:
			return outcomes
		case ctx.Err() != nil:
			return failed(tasks, ErrStopped)
		case store.IsData(err):
			return w.isolate(ctx, tasks, err)
		case store.IsNoTable(err):
			w.tables.forget()
		case store.IsConflict(err):
			w.metrics.retries.WithLabelValues("conflict").Inc()
			sleep(ctx, conflictPause/2+rand.N(conflictPause))
			continue
		case store.IsUnavailable(err):
			w.o.Store.Renew()
		default:
			// A refusal that we do not know. It may pass; when it does not, it must not hold up other accounts.
			if refused++; refused == patience {
				return w.separate(ctx, tasks, err)
			}
		}
		w.metrics.retries.WithLabelValues("failure").Inc()
		if time.Since(said) > quiet {
			w.o.Log.Warn("cache write failed and is tried again", "error", err, "accounts", len(tasks))
			said = time.Now()
		}
		sleep(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, lastPause)
	}
}

// attempt is one transaction.
func (w *Writer) attempt(ctx context.Context, tasks []*task) ([]outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	began := time.Now()
	// Tables first: making one would commit the transaction.
	absent, err := w.tables.ensure(ctx, w.o.Store, w.changes(tasks, nil))
	if err != nil {
		return nil, err
	}
	result, err := w.o.Store.WriteCache(ctx, fences(tasks), func(fenced map[string]bool) []store.TableChange {
		return slices.DeleteFunc(w.changes(tasks, fenced), func(c store.TableChange) bool { return absent[c.Rows] })
	})
	if err != nil {
		return nil, err
	}
	w.metrics.transaction(time.Since(began), tasks)
	outcomes := make([]outcome, len(tasks))
	for i, t := range tasks {
		switch {
		case result.Fenced[t.account]:
			outcomes[i].err = ErrFenced
		default:
			outcomes[i].rejected = collided(t, result.Collided)
			if len(tasks) == 1 {
				outcomes[i].deleted = result.Deleted
			}
		}
	}
	return outcomes, nil
}

// fences are the accounts of tasks that are sorted by account.
func fences(tasks []*task) []store.Fence {
	list := make([]store.Fence, 0, len(tasks))
	for _, t := range tasks {
		if n := len(list); n == 0 || list[n-1].Account != t.account {
			list = append(list, t.fence())
		}
	}
	return list
}

// isolate writes tasks of which one holds something that the database refuses: each half by itself, down to the one item.
func (w *Writer) isolate(ctx context.Context, tasks []*task, cause error) []outcome {
	if len(tasks) > 1 {
		middle := len(tasks) / 2
		return append(w.commit(ctx, tasks[:middle]), w.commit(ctx, tasks[middle:])...)
	}
	t := tasks[0]
	if len(t.items) <= 1 {
		w.o.Log.Warn("the database refuses a row", "account", t.account, "error", cause)
		var o outcome
		for i := range t.items {
			o.rejected = append(o.rejected, t.items[i].rejection(t.account, t.epoch, "the database refuses it: "+cause.Error()))
		}
		return []outcome{o}
	}
	middle := len(t.items) / 2
	var whole outcome
	for _, items := range [][]item{t.items[:middle], t.items[middle:]} {
		o := w.commit(ctx, []*task{{account: t.account, holder: t.holder, epoch: t.epoch, items: items}})[0]
		whole.rejected = append(whole.rejected, o.rejected...)
		whole.deleted += o.deleted
		if o.err != nil {
			whole.err = o.err
			break
		}
	}
	return []outcome{whole}
}

// separate writes tasks one by one after a refusal that does not pass. One that is refused alone too fails: its session will try
// again later.
func (w *Writer) separate(ctx context.Context, tasks []*task, cause error) []outcome {
	if len(tasks) == 1 {
		return failed(tasks, cause)
	}
	outcomes := make([]outcome, 0, len(tasks))
	broken := ""
	for _, t := range tasks {
		// What follows a failed write of an account must not overtake it.
		if t.account == broken {
			outcomes = append(outcomes, outcome{err: cause})
			continue
		}
		o := w.commit(ctx, []*task{t})[0]
		if o.err != nil {
			broken = t.account
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
