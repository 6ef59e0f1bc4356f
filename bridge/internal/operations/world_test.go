package operations

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that end by a condition.
const patience = 30 * time.Second

// world is a router with a real registry, history and database behind it. Agents are what a test says on their streams.
type world struct {
	*Router

	t        *testing.T
	db       *storetest.DB
	store    *store.Store
	registry *accounts.Registry
	log      *journal
}

// journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

type everything struct{}

func (everything) Allows(string) bool { return true }

// newWorld makes a router that knows accounts "a" and "b".
func newWorld(t *testing.T, d *storetest.DB, absentWait time.Duration) *world {
	t.Helper()
	w := &world{t: t, db: d, store: d.Open(t), log: &journal{}}
	w.registry = accounts.New(accounts.Options{Store: w.store, Bridge: "bridge", Version: "1", ApplicationsTable: "cats_v1_applications", Log: w.log.logger()})
	history := NewHistory(w.store, "bridge", time.Hour, w.log.logger())
	var err error
	if w.Router, err = New(Config{AbsentWait: absentWait, Accounts: w.registry, History: history, Log: w.log.logger()}); err != nil {
		t.Fatal(err)
	}
	running(t, w.registry.Run, history.Run, w.Loop)
	eventually(t, "the registry is complete", w.registry.Complete)
	if _, err := w.registry.Declare(t.Context(), &linkv1.Agent{Name: "agent"}, everything{}, []*linkv1.Account{{Name: "a"}, {Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// running runs parts until the test ends.
func running(t *testing.T, parts ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, part := range parts {
		group.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// agent is one session's stream.
type agent struct {
	*Stream

	t *testing.T
}

func (w *world) connect(session, instance string, names ...string) agent {
	w.t.Helper()
	a := agent{w.Open(session, instance), w.t}
	for _, name := range names {
		w.Serve(session, name, true)
		w.registry.Connected(name, session, &linkv1.Agent{Name: "agent", Instance: instance})
	}
	return a
}

// next waits for the next frame.
func (a agent) next(what string) *linkv1.OperationDown {
	a.t.Helper()
	late := time.After(patience)
	for {
		if f := a.Next(); f != nil {
			return f
		}
		select {
		case <-a.Wake:
		case <-late:
			a.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (a agent) started(what string) (id string, start *linkv1.Start) {
	a.t.Helper()
	f := a.next(what)
	if f.GetStart() == nil {
		a.t.Fatalf("got %v instead of %s", f, what)
	}
	return f.GetId(), f.GetStart()
}

func (a agent) say(frame *linkv1.OperationUp) {
	a.t.Helper()
	if err := a.Received(frame); err != nil {
		a.t.Fatal(err)
	}
}

func (a agent) output(id string, offset int, data []byte) {
	a.t.Helper()
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: uint64(offset), Data: data}}})
}

func (a agent) outcome(id string, o *linkv1.Outcome) {
	a.t.Helper()
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: o}})
	if f := a.next("received"); f.GetId() != id || f.GetReceived() == nil {
		a.t.Errorf("after the outcome of %s: %v", id, f)
	}
}

func get(name string) *linkv1.Operation {
	return &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "pod", Namespace: "n", Name: name}}}
}

func done() *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE, DurationMs: 5}
}

// result is how a Run ended.
type result struct {
	outcome *linkv1.Outcome
	err     error
}

// begin runs an operation beside the test.
func (w *world) begin(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) <-chan result {
	ended := make(chan result, 1)
	go func() {
		outcome, err := w.Run(ctx, account, op, mutation, output)
		ended <- result{outcome, err}
	}()
	return ended
}

func wait(t *testing.T, what string, ended <-chan result) result {
	t.Helper()
	select {
	case r := <-ended:
		return r
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		return result{}
	}
}
