package operations

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOperationsOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *storetest.DB)
	}{
		{"a change waits for an agent that is absent, and says for how long", absentChange},
		{"a read does not wait for an agent that is long away, a change does", longAwayRead},
		{"an operation whose time is over before somebody took it is absent", deadlineBeforeAgent},
		{"an account that nobody declared is said to be unknown", unknownAccount},
		{"a caller that reads slowly holds up its own operation alone", slowCaller},
		{"a caller that is gone cancels its operation", goneCaller},
		{"a caller that can no longer be written to cancels its operation", brokenWriter},
		{"an operation ends at its deadline with what its agent says", deadline},
		{"an operation goes on with the same process in its next session", reconnect},
		{"only the session that has something to send is woken", woken},
		{"history tells who, what and how it ended, and nothing of a manifest", historyRows},
		{"a row that the database refuses does not keep others away", refusedRow},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, server.Database(t)) })
	}
}

func absentChange(t *testing.T, d *storetest.DB) {
	const patient = 1200 * time.Millisecond
	w := newWorld(t, d, patient)
	r := wait(t, "the change", w.begin(t.Context(), "a", get("x"), true, io.Discard))
	var absent *AbsentError
	if !errors.As(r.err, &absent) || !absent.NotStarted() || absent.Waited < patient {
		t.Fatalf("%v, %+v", r.outcome, r.err)
	}
	for _, text := range []string{`agent for account "a" is not connected (never seen)`, "; waited ", "nothing was changed"} {
		if !strings.Contains(r.err.Error(), text) {
			t.Errorf("%q lacks %q", r.err, text)
		}
	}
}

func longAwayRead(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	r := wait(t, "the read", w.begin(t.Context(), "a", get("x"), false, io.Discard))
	if r.err == nil || !strings.Contains(r.err.Error(), "did not wait") {
		t.Errorf("a read: %v", r.err)
	}
	change := w.begin(t.Context(), "a", get("x"), true, io.Discard)
	a := w.connect("s", "i", "a")
	id, _ := a.started("the change, which has waited")
	a.outcome(id, done())
	if r := wait(t, "the change", change); r.err != nil || r.outcome.GetState() != linkv1.Outcome_STATE_DONE {
		t.Errorf("%v %v", r.outcome, r.err)
	}
	// One that was there a moment ago is waited for.
	w.Lost("s")
	w.registry.Disconnected("a", "s")
	read := w.begin(t.Context(), "a", get("x"), false, io.Discard)
	a = w.connect("s2", "i", "a")
	id, _ = a.started("the read, which has waited")
	a.outcome(id, done())
	if r := wait(t, "the read", read); r.err != nil {
		t.Error(r.err)
	}
}

func deadlineBeforeAgent(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var absent *AbsentError
	if r := wait(t, "the end", w.begin(ctx, "a", get("x"), true, io.Discard)); !errors.As(r.err, &absent) {
		t.Errorf("%v %v", r.outcome, r.err)
	}
}

func unknownAccount(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	if _, err := w.Run(t.Context(), "zz", get("x"), true, io.Discard); !errors.Is(err, ErrUnknownAccount) || !strings.Contains(err.Error(), `"zz"`) {
		t.Error(err)
	}
}

// gate is a caller that reads only while it is open.
type gate struct {
	open chan struct{}
	got  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.got.Write(p)
}

func slowCaller(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	a := w.connect("s", "i", "a", "b")
	slow := &gate{open: make(chan struct{})}
	ended := w.begin(t.Context(), "a", get("slow"), false, slow)
	id, start := a.started("the slow operation")
	window := int(start.GetOutputCredit())
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*window/16)
	const piece = 256 << 10
	sent := 0
	for ; sent < window; sent += piece {
		a.output(id, sent, content[sent:sent+piece])
	}
	for _, account := range []string{"a", "b"} {
		quick := w.begin(t.Context(), account, get("quick"), false, io.Discard)
		other, _ := a.started("another operation")
		a.output(other, 0, []byte("x"))
		a.outcome(other, done())
		if r := wait(t, "another operation", quick); r.err != nil {
			t.Error(r.err)
		}
	}
	if err := a.Received(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: uint64(sent), Data: []byte("x")}}}); err == nil {
		t.Error("output beyond the credit was taken")
	}
	close(slow.open)
	allowed := sent
	for sent < len(content) {
		for allowed-sent < piece {
			f := a.next("credit")
			if f.GetId() != id || f.GetOutputCredit() == 0 {
				t.Fatalf("%v instead of credit", f)
			}
			allowed += int(f.GetOutputCredit())
		}
		a.output(id, sent, content[sent:sent+piece])
		sent += piece
	}
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: done()}})
	if r := wait(t, "the slow operation", ended); r.err != nil || !bytes.Equal(slow.got.Bytes(), content) {
		t.Errorf("%v, %d bytes of %d", r.err, slow.got.Len(), len(content))
	}
}

func goneCaller(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := w.begin(ctx, "b", get("x"), true, io.Discard) // nobody serves b
	a := w.connect("s", "i", "a")
	ended := w.begin(ctx, "a", get("x"), true, io.Discard)
	id, _ := a.started("the operation")
	cancel()
	if f := a.next("its cancellation"); f.GetId() != id || f.GetCancel().GetReason() == "" {
		t.Fatalf("%v", f)
	}
	a.outcome(id, &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "stopped"})
	if r := wait(t, "the operation", ended); r.err != nil || r.outcome.GetState() != linkv1.Outcome_STATE_CANCELLED {
		t.Errorf("begun: %v %v", r.outcome, r.err)
	}
	if r := wait(t, "the one that nobody took", waiting); r.err != nil || r.outcome.GetState() != linkv1.Outcome_STATE_NOT_STARTED {
		t.Errorf("not begun: %v %v", r.outcome, r.err)
	}
}

var errGone = errors.New("connection reset")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errGone }

func brokenWriter(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	a := w.connect("s", "i", "a")
	ended := w.begin(t.Context(), "a", get("x"), false, broken{})
	id, _ := a.started("the operation")
	a.output(id, 0, []byte("x"))
	if f := a.next("its cancellation"); f.GetCancel() == nil {
		t.Fatalf("%v", f)
	}
	a.outcome(id, &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED})
	if r := wait(t, "the operation", ended); !errors.Is(r.err, errGone) {
		t.Errorf("%v %v", r.outcome, r.err)
	}
}

// overdue is a context whose deadline passes when a test says so.
type overdue struct {
	context.Context

	done chan struct{}
}

func (o overdue) Deadline() (time.Time, bool) { return time.Now().Add(time.Hour), true }
func (o overdue) Done() <-chan struct{}       { return o.done }
func (o overdue) Err() error {
	select {
	case <-o.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func deadline(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	a := w.connect("s", "i", "a")
	over := overdue{t.Context(), make(chan struct{})}
	ended := w.begin(over, "a", get("x"), true, io.Discard)
	id, start := a.started("the operation")
	if left := time.Duration(start.GetDeadlineMs()) * time.Millisecond; left < time.Minute || left > time.Hour {
		t.Errorf("%s are left of an hour", left)
	}
	close(over.done)
	if f := a.next("its cancellation"); !strings.Contains(f.GetCancel().GetReason(), "deadline") {
		t.Fatalf("%v", f)
	}
	a.outcome(id, &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "its time was over"})
	if r := wait(t, "the operation", ended); r.err != nil || r.outcome.GetReason() != "its time was over" {
		t.Errorf("%v %v", r.outcome, r.err)
	}
	// An agent that says nothing: nobody knows what became of the change.
	ctx, cancel := context.WithCancel(t.Context())
	ended = w.begin(ctx, "a", get("x"), true, io.Discard)
	a.started("the operation")
	cancel()
	a.next("its cancellation")
	if r := wait(t, "the operation", ended); r.err != nil || r.outcome.GetState() != linkv1.Outcome_STATE_UNKNOWN {
		t.Errorf("%v %v", r.outcome, r.err)
	}
}

func reconnect(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	a := w.connect("s", "i", "a")
	var got bytes.Buffer
	ended := w.begin(t.Context(), "a", get("x"), true, &got)
	id, _ := a.started("the operation")
	a.output(id, 0, []byte("before "))
	w.Lost("s")
	other := w.connect("other", "another process", "a")
	same := w.connect("s2", "i", "a")
	again, start := same.started("the same operation")
	if again != id || start.GetOutputOffset() != uint64(len("before ")) {
		t.Errorf("asked for %s at %d", again, start.GetOutputOffset())
	}
	if f := other.Next(); f != nil {
		t.Errorf("another process got %v", f)
	}
	same.output(id, len("before "), []byte("after"))
	same.outcome(id, done())
	if r := wait(t, "the operation", ended); r.err != nil || got.String() != "before after" {
		t.Errorf("%v %q", r.err, &got)
	}
	if w.Busy("s2") || w.Busy("s") {
		t.Error("nothing is open any more")
	}
}

func woken(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, time.Hour)
	a, b := w.connect("sa", "ia", "a"), w.connect("sb", "ib", "b")
	ended := w.begin(t.Context(), "a", get("x"), false, io.Discard)
	id, _ := a.started("the operation")
	a.output(id, 0, []byte("x"))
	a.outcome(id, done())
	wait(t, "the operation", ended)
	select {
	case <-b.Wake:
		t.Error("a session was woken by another one's operation")
	default:
	}
}

func TestAbsentErrorsSayWhatIsKnown(t *testing.T) {
	for want, err := range map[string]*AbsentError{
		`agent for account "a" is not connected (never seen); did not wait; nothing was changed`:                             {Account: "a"},
		`agent for account "a" is not connected (last seen 4m12s ago); waited 15s; nothing was changed`:                      {Account: "a", LastSeen: time.Now(), Since: 252 * time.Second, Waited: 15 * time.Second},
		`agent for account "a" is connected to bridge b1, b2, which this bridge does not reach; waited 15s; nothing was cha`: {Account: "a", Elsewhere: []string{"b1", "b2"}, Waited: 15 * time.Second},
	} {
		if got := err.Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
