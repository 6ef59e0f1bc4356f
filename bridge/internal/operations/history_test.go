package operations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func historyRows(t *testing.T, d *storetest.DB) {
	w := newWorld(t, d, 0)
	a := w.connect("s", "i", "a")
	ctx := plugin.WithCaller(t.Context(), plugin.Caller{User: "ada", Execution: "01EXECUTION"})
	manifest := []byte("kind: Secret\nmetadata: {name: s, namespace: web}\nstringData: {password: hunter2}\n")
	apply := &linkv1.Operation{Operation: &linkv1.Operation_Apply{Apply: &linkv1.Apply{Manifests: manifest}}}
	for _, outcome := range []*linkv1.Outcome{
		done(),
		{State: linkv1.Outcome_STATE_DONE, Failures: []*linkv1.Failure{{Reason: "BadRequest", Message: `cannot be handled as a Secret: error found in #10 byte of ...|"hunter2"|..., bigger context`,
			Context: "error when applying patch:\n{\"stringData\":{\"password\":\"hunter2\"}}"}}},
		{State: linkv1.Outcome_STATE_CANCELLED, Reason: "its time was over"},
	} {
		ended := w.begin(ctx, "a", apply, true, io.Discard)
		id, _ := a.started("the operation")
		a.outcome(id, outcome)
		wait(t, "the operation", ended)
	}
	if r := wait(t, "the absent one", w.begin(t.Context(), "b", get("x"), false, io.Discard)); r.err == nil {
		t.Error("nobody serves b")
	}
	eventually(t, "all are stored", func() bool { return d.Count(t, "fairlead_operation", "TRUE") == 4 })
	list, err := w.store.Operations(t.Context(), store.OperationFilter{Account: "a", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]string{}
	for _, o := range list {
		outcomes[o.Outcome] = o.Reason
		if o.User != "ada" || o.Execution != "01EXECUTION" || o.Verb != "apply" || o.Target != "web/Secret s" || !o.Mutation || o.Bridge != "bridge" || o.Agent != "i" ||
			time.Since(time.UnixMilli(o.Started)).Abs() > time.Minute {
			t.Errorf("%+v", o)
		}
		if strings.Contains(fmt.Sprintf("%+v", o), "hunter2") {
			t.Errorf("a piece of the manifest is in the history: %+v", o)
		}
	}
	if len(outcomes) != 3 || outcomes["cancelled"] != "its time was over" || !strings.HasPrefix(outcomes["failed"], "BadRequest cannot be handled") {
		t.Errorf("outcomes %v", outcomes)
	}
	if n := d.Count(t, "fairlead_operation", "account = 'b' AND outcome = 'absent' AND verb = 'get' AND target = 'n/pod x' AND user = '' AND NOT mutation"); n != 1 {
		t.Errorf("%d rows of the absent one", n)
	}
}

func refusedRow(t *testing.T, d *storetest.DB) {
	log := &journal{}
	h := NewHistory(d.Open(t), "bridge", time.Hour, log.logger())
	for i := range 5 {
		user := "ada"
		if i == 2 {
			user = "not \xff UTF-8"
		}
		h.add(ended{id: fmt.Sprint("op", i), account: "a", operation: get("x"), outcome: done(), began: time.Now(), ctx: plugin.WithCaller(t.Context(), plugin.Caller{User: user})})
	}
	running(t, h.Run)
	eventually(t, "the others are stored", func() bool { return d.Count(t, "fairlead_operation", "TRUE") == 4 })
	eventually(t, "it is said", func() bool {
		return strings.Contains(log.String(), "operation cannot be stored in the history") && strings.Contains(log.String(), "operation=op2")
	})
}

// away is a history's store whose database is away: a fault fake.
type away struct {
	mu     sync.Mutex
	back   bool
	stored int
	old    []int // what retention finds
	forgot int
}

var errAway = errors.New("no connection")

func (a *away) PutOperations(_ context.Context, list []store.Operation) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.back {
		return errAway
	}
	a.stored += len(list)
	return nil
}

func (a *away) ForgetOperations(_ context.Context, _ time.Duration, limit int) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(a.old[0], limit)
	a.old[0] -= n
	a.forgot += n
	return n, nil
}

func (a *away) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stored
}

func TestHistoryIsBoundedWhileTheDatabaseIsAwayAndSaysWhatIsMissing(t *testing.T) {
	log, database := &journal{}, &away{}
	h := NewHistory(database, "bridge", time.Hour, log.logger())
	running(t, h.Run)
	const all = historyQueue + historyBatch + 1000
	for i := range all {
		h.add(ended{id: fmt.Sprint(i), account: "a", operation: get("x"), outcome: done(), ctx: t.Context()})
	}
	eventually(t, "it is said that they wait", func() bool { return strings.Contains(log.String(), "operations wait for the history") })
	if h.Dropped() < 1000 {
		t.Errorf("%d of %d found no room, at most %d may wait", h.Dropped(), all, historyQueue+historyBatch)
	}
	database.mu.Lock()
	database.back = true
	database.mu.Unlock()
	eventually(t, "all that had room are stored", func() bool { return database.count()+int(h.Dropped()) == all })
	if want := fmt.Sprintf("operations=%d", h.Dropped()); !strings.Contains(log.String(), "missing in the history") || !strings.Contains(log.String(), want) {
		t.Errorf("it is not said that %s are missing", want)
	}
}

func TestHistorySaysWhatABridgeThatStopsCouldNotStore(t *testing.T) {
	log := &journal{}
	h := NewHistory(&away{}, "bridge", time.Hour, log.logger())
	stop := running(t, h.Run)
	for i := range 3 {
		h.add(ended{id: fmt.Sprint(i), account: "a", operation: get("x"), outcome: done(), ctx: t.Context()})
	}
	stop()
	if text := log.String(); !strings.Contains(text, "operations that ended last are not in the history") || !strings.Contains(text, "operations=3") {
		t.Error(text)
	}
}

func TestHistoryStoresWhatWaitsWhenTheBridgeStops(t *testing.T) {
	database := &away{back: true}
	h := NewHistory(database, "bridge", time.Hour, (&journal{}).logger())
	for i := range 2*historyBatch + 1 {
		h.add(ended{id: fmt.Sprint(i), account: "a", operation: get("x"), outcome: done(), ctx: t.Context()})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	if database.count() != 2*historyBatch+1 {
		t.Errorf("%d stored", database.count())
	}
}

func TestRetentionForgetsAllThatIsOldAndNotOnlyAPiece(t *testing.T) {
	database := &away{old: []int{3*forgetLimit + 7}}
	NewHistory(database, "bridge", time.Hour, (&journal{}).logger()).forget(t.Context())
	if database.forgot != 3*forgetLimit+7 {
		t.Errorf("%d forgotten", database.forgot)
	}
}
