package cache

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// ErrFenced says that the account's caching belongs to a later attach: nothing was written.
var ErrFenced = errors.New("another session has attached the account since")

// ErrStopped says that the writer has stopped.
var ErrStopped = errors.New("the cache writer has stopped")

// Options is what a Writer is made of. Zero limits take the defaults that are named beside them.
type Options struct {
	Store *store.Store
	// TableNamespace is Clouddriver's sql.table-namespace.
	TableNamespace string
	// Custom tells whether the account's declaration lists the type among its customResources: the rows of such kinds
	// carry another agent's name. Nil: none does.
	Custom func(account string, t cats.Type) bool
	// MaximumBody (1 MiB) is the largest body that is stored.
	MaximumBody int
	// QueueBytes (64 MiB) and QueueChanges (200,000) bound what waits or is being written.
	QueueBytes, QueueChanges int
	// TransactionBytes (4 MiB) and TransactionChanges (1,000) end a transaction; a write is never cut for them.
	TransactionBytes, TransactionChanges int
	// Workers (4) transactions run at once.
	Workers int
	// Policy is what an account's agent is told to cache: what else it sends is rejected, and gets no table; nil: no limit to kinds.
	Policy func(account string) *linkv1.CachePolicy
	// MaximumApplications (10,000) and MaximumLinks (5,000,000) are the most that one account may have.
	MaximumApplications, MaximumLinks int
	// VerifyRate (1,000) rows and links a second are compared with their hashes when their groups are checked; less than 0: none.
	VerifyRate int
	Log        *slog.Logger
	// Metrics takes the writer's metrics; nil: nobody sees them.
	Metrics prometheus.Registerer
}

// Writer writes Clouddriver's tables. Its methods may be called from any goroutine; they need Run to make progress.
type Writer struct {
	o       Options
	queue   *queue
	digests *digests
	tables  tableNames
	caps    *caps
	metrics *metrics
	// verify allows to read the rows of a group instead of an index alone.
	verify *rate.Limiter

	layoutMu sync.Mutex
	layout   layout
}

// New makes a writer.
func New(o Options) *Writer {
	o.MaximumBody = cmp.Or(o.MaximumBody, 1<<20)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<20)
	o.QueueChanges = cmp.Or(o.QueueChanges, 200_000)
	o.TransactionBytes = cmp.Or(o.TransactionBytes, 4<<20)
	o.TransactionChanges = cmp.Or(o.TransactionChanges, 1000)
	o.Workers = cmp.Or(o.Workers, 4)
	o.VerifyRate = max(cmp.Or(o.VerifyRate, 1000), 0)
	if o.Custom == nil {
		o.Custom = func(string, cats.Type) bool { return false }
	}
	if o.Policy == nil {
		o.Policy = func(string) *linkv1.CachePolicy { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Writer{o: o, queue: newQueue(o.QueueBytes, o.QueueChanges, o.Workers), digests: newDigests(),
		caps: &caps{applications: cmp.Or(o.MaximumApplications, 10_000), links: cmp.Or(o.MaximumLinks, 5_000_000), policy: o.Policy, accounts: map[string]*usage{}}}
	// Nothing at first: a bridge that starts has every group compared at once.
	w.verify = rate.NewLimiter(rate.Limit(o.VerifyRate), verifyBurst(o.VerifyRate))
	w.verify.AllowN(time.Now(), w.verify.Burst())
	w.metrics = newMetrics(o.Metrics, w.queue, o.Workers)
	return w
}

// verifyBurst is what the rate allows in five minutes, the usual interval of checks. A larger group is not verified, unless somebody asks.
func verifyBurst(perSecond int) int { return perSecond * 300 }

// Write is one batch of an account's changes.
type Write struct {
	Account string
	// Instance attached the account with Epoch; the write is valid while that is so.
	Instance string
	Epoch    uint64
	Changes  []*linkv1.Change
}

// Result is how a Write ended.
type Result struct {
	// Rejected names the changes that cannot be stored; the others are.
	Rejected []*linkv1.Rejected
	// Err: nothing was written, and nobody will try again. ErrFenced, ErrStopped, or what the database said.
	Err error
}

// Submit checks a write and queues it; it blocks while the queue is full. done is called once, from another goroutine,
// after the commit; it must not block. When Submit returns an error, done is never called.
func (w *Writer) Submit(ctx context.Context, write Write, done func(Result)) error {
	t := w.prepare(write)
	w.hold(ctx, t)
	release := func() {
		for _, f := range t.release {
			f()
		}
	}
	t.done = func(o outcome) {
		release()
		done(Result{Rejected: o.rejected, Err: o.err})
	}
	err := w.queue.push(ctx, t)
	if err != nil {
		release()
	}
	return err
}

// submitAndWait queues a task and waits for its end.
func (w *Writer) submitAndWait(ctx context.Context, t *task) (outcome, error) {
	ended := make(chan outcome, 1)
	t.done = func(o outcome) { ended <- o }
	if err := w.queue.push(ctx, t); err != nil {
		return outcome{}, err
	}
	select {
	case o := <-ended:
		return o, o.err
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
}

// Run writes until ctx ends. Writes that have not committed by then end with ErrStopped.
func (w *Writer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range w.o.Workers {
		group.Go(func() error { return w.work(ctx) })
	}
	for range digestReaders {
		group.Go(func() error { return w.digests.run(ctx, w.o.Store) })
	}
	err := group.Wait()
	w.queue.stop()
	w.digests.stop()
	return err
}

// Totals returns how many rows and links were committed since the start.
func (w *Writer) Totals() (rows, links uint64) {
	return w.metrics.rowsPut.Load(), w.metrics.linksPut.Load()
}

// agent is the name in the agent column of the account's rows of a type.
func (w *Writer) agent(account string, t cats.Type) string {
	return cats.AgentName(account, t, w.o.Custom(account, t))
}

// relAgent is the name in the rel_agent column of the account's links to a type.
func (w *Writer) relAgent(account string, to cats.Type) string {
	return cats.RelAgentName(account, to, w.o.Custom(account, to))
}

func (w *Writer) rowTable(t cats.Type) string  { return cats.TableName(w.o.TableNamespace, t, false) }
func (w *Writer) linkTable(t cats.Type) string { return cats.TableName(w.o.TableNamespace, t, true) }

// Oldest is how long the write that has waited longest has waited.
func (w *Writer) Oldest() time.Duration {
	if oldest := w.queue.look().oldest; !oldest.IsZero() {
		return time.Since(oldest)
	}
	return 0
}
