package link

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// startFrame orders an operation of an account that the agent of a test serves.
func startFrame(id string, mutation bool, offset, credit uint64) *linkv1.OperationDown {
	return &linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_Start{Start: &linkv1.Start{Account: "prod", DeadlineMs: 60_000,
		Mutation: mutation, Operation: &linkv1.Operation{}, OutputOffset: offset, OutputCredit: credit}}}
}

// connectedAgent is an agent whose session is open.
func connectedAgent(t *testing.T, ledger LedgerConfig) (*Agent, time.Time) {
	t.Helper()
	a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1), Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	a.SetAccounts(epochStart, []Served{{Account: &linkv1.Account{Name: "prod"}, Records: newInventory("prod")}}, nil)
	connectAgent(a, epochStart)
	return a, epochStart
}

func connectAgent(a *Agent, now time.Time) {
	a.Connected(now)
	a.ReceivedSession(now, &linkv1.SessionDown{Frame: &linkv1.SessionDown_Welcome{Welcome: &linkv1.Welcome{Capability: 1, CatsFormat: 1,
		InventoryCredit: 1 << 20, HeartbeatIntervalMs: 15_000, SilenceMs: 40_000}}})
	for a.NextAction() != nil {
	}
}

func actionsOf(a *Agent) (list []Action) {
	for action := a.NextAction(); action != nil; action = a.NextAction() {
		list = append(list, action)
	}
	return list
}

func operationFrames(a *Agent) (output []byte, outcomes []*linkv1.Outcome) {
	for f := a.NextOperation(); f != nil; f = a.NextOperation() {
		output = append(output, f.GetOutput().GetData()...)
		if o := f.GetOutcome(); o != nil {
			outcomes = append(outcomes, o)
		}
	}
	return output, outcomes
}

func TestOutputWaitsForCreditAndIsSentInChunks(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{})
	a.ReceivedOperation(now, startFrame("r1", false, 0, 1<<20))
	if n := a.OutputRoom("r1"); n != 1<<20 {
		t.Fatalf("room for %d bytes", n)
	}
	a.Output("r1", bytes.Repeat([]byte("x"), 1<<20))
	if n := a.OutputRoom("r1"); n != 0 {
		t.Fatalf("room for %d bytes beyond the credit", n)
	}
	frames := 0
	for f := a.NextOperation(); f != nil; f = a.NextOperation() {
		if len(f.GetOutput().GetData()) > 1<<20 {
			t.Fatal("a chunk is larger than the protocol allows")
		}
		frames++
	}
	if frames != 4 {
		t.Fatalf("%d frames", frames)
	}
	a.ReceivedOperation(now, &linkv1.OperationDown{Id: "r1", Frame: &linkv1.OperationDown_OutputCredit{OutputCredit: 1000}})
	if n := a.OutputRoom("r1"); n != 0 {
		// The first chunks are kept until the caller is known to have them whole.
		t.Fatalf("room for %d bytes", n)
	}
	a.ReceivedOperation(now, &linkv1.OperationDown{Id: "r1", Frame: &linkv1.OperationDown_OutputCredit{OutputCredit: maxChunk}})
	if n := a.OutputRoom("r1"); n < maxChunk {
		t.Fatalf("room for %d bytes", n)
	}
}

func TestFinishedOutputMakesRoomForRunningOperations(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{Bytes: 200 << 10})
	for _, id := range []string{"m1", "m2", "r3"} {
		a.ReceivedOperation(now, startFrame(id, id[0] == 'm', 0, 150<<10))
	}
	a.Output("m1", make([]byte, 150<<10))
	a.Finish(now, "m1", &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	if n := a.OutputRoom("m2"); n != 150<<10 {
		t.Fatalf("room for %d bytes", n)
	}
	a.Output("m2", make([]byte, 150<<10))
	if n := a.OutputRoom("r3"); n != minRoom {
		t.Fatalf("the third has room for %d bytes; the least is %d", n, minRoom)
	}
	_, outcomes := operationFrames(a)
	if len(outcomes) != 1 || outcomes[0].GetState() != linkv1.Outcome_STATE_RESULT_LOST {
		t.Fatalf("the change whose output was dropped is told as %v", outcomes)
	}
}

func TestReadWhoseOutputIsGoneIsStoppedAndChangeRunsOn(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{})
	for _, id := range []string{"r1", "m2"} {
		a.ReceivedOperation(now, startFrame(id, id[0] == 'm', 0, minRoom))
		a.Output(id, make([]byte, minRoom))
	}
	operationFrames(a)
	for _, id := range []string{"r1", "m2"} {
		a.ReceivedOperation(now, &linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_OutputCredit{OutputCredit: minRoom}})
	}
	a.Lost(now, "")
	connectAgent(a, now)
	// A bridge that was started anew knows nothing of the output that the former one had taken.
	a.ReceivedOperation(now, startFrame("r1", false, 0, 1<<20))
	a.ReceivedOperation(now, startFrame("m2", true, 0, 1<<20))
	if list := actionsOf(a); len(list) != 1 || list[0].(CancelOperation).ID != "r1" {
		t.Fatalf("%v", list)
	}
	if _, outcomes := operationFrames(a); len(outcomes) != 1 || outcomes[0].GetState() != linkv1.Outcome_STATE_RESULT_LOST {
		t.Fatalf("the read is told as %v", outcomes)
	}
	if n := a.OutputRoom("m2"); n == 0 {
		t.Fatal("a change whose output nobody can have must not wait")
	}
	a.Output("m2", make([]byte, 10))
	a.Finish(now, "m2", &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	if _, outcomes := operationFrames(a); len(outcomes) != 1 || outcomes[0].GetState() != linkv1.Outcome_STATE_RESULT_LOST {
		t.Fatalf("the change is told as %v", outcomes)
	}
}

func TestMarksOfChangesEndAfterTheirTimeAndRefuseWhenTheyAreMany(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{Marks: 2})
	for _, id := range []string{"m1", "m2"} {
		a.ReceivedOperation(now, startFrame(id, true, 0, 100))
		a.Finish(now, id, nil)
		a.ReceivedOperation(now, &linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_Received{}})
	}
	actionsOf(a)
	a.ReceivedOperation(now, startFrame("m3", true, 0, 100))
	if list := actionsOf(a); len(list) != 0 {
		t.Fatalf("%v began", list)
	}
	a.ReceivedOperation(now, startFrame("r4", false, 0, 100))
	if list := actionsOf(a); len(list) != 1 {
		t.Fatalf("a read needs no mark, and %v began", list)
	}
	for range 13 {
		now = now.Add(time.Minute)
		a.ReceivedSession(now, &linkv1.SessionDown{})
		a.Tick(now)
	}
	actionsOf(a)
	a.ReceivedOperation(now, startFrame("m5", true, 0, 100))
	if list := actionsOf(a); len(list) != 1 {
		t.Fatalf("%v began", list)
	}
}

func TestOperationsOfUnknownKindsAndAccountsDoNotBegin(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{})
	unknown := startFrame("m1", true, 0, 100)
	unknown.GetStart().Operation = nil
	stranger := startFrame("m2", true, 0, 100)
	stranger.GetStart().Account = "other"
	late := startFrame("m3", true, 0, 100)
	late.GetStart().DeadlineMs = 0
	for _, f := range []*linkv1.OperationDown{unknown, stranger, late, {Id: "m4", Frame: &linkv1.OperationDown_Cancel{}}, startFrame("m4", true, 0, 100)} {
		a.ReceivedOperation(now, f)
	}
	if list := actionsOf(a); len(list) != 0 {
		t.Fatalf("%v began", list)
	}
	_, outcomes := operationFrames(a)
	if len(outcomes) != 4 {
		t.Fatalf("%v", outcomes)
	}
	for _, o := range outcomes {
		if o.GetState() != linkv1.Outcome_STATE_NOT_STARTED || o.GetReason() == "" {
			t.Fatalf("%v", o)
		}
	}
}

func TestBrokenOutputEndsTheSession(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{Window: 10})
	now := epochStart
	o.Open(now, "s", "i")
	o.Serve(now, "s", "prod", true)
	if err := o.Submit(now, Request{ID: "r1", Account: "prod", Operation: &linkv1.Operation{}, Deadline: now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if err := o.Submit(now, Request{ID: "r1", Account: "prod", Deadline: now.Add(time.Minute)}); !errors.Is(err, ErrDuplicate) {
		t.Fatal(err)
	}
	o.Next(now, "s")
	output := func(offset uint64, text string) error {
		return o.Received(now, "s", &linkv1.OperationUp{Id: "r1", Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: offset, Data: []byte(text)}}})
	}
	if err := output(0, "abc"); err != nil {
		t.Fatal(err)
	}
	if err := output(1, "bcde"); err != nil {
		t.Fatal("an overlap is fine:", err)
	}
	if e := o.NextEvent().(Output); string(e.Data) != "abc" {
		t.Fatal(e)
	}
	if e := o.NextEvent().(Output); string(e.Data) != "de" {
		t.Fatal(e)
	}
	if err := output(7, "x"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Fatal(err)
	}
	if err := output(5, "0123456789"); err == nil || !strings.Contains(err.Error(), "credit") {
		t.Fatal(err)
	}
	if err := output(^uint64(0)-1, "0123456789"); err == nil {
		t.Fatal("an offset that overflows")
	}
}

func TestReadWhoseResultWasLostRunsAgainUnderAnotherID(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{})
	now := epochStart
	o.Open(now, "s", "i")
	o.Serve(now, "s", "prod", true)
	_ = o.Submit(now, Request{ID: "r1", Account: "prod", Operation: &linkv1.Operation{}, Deadline: now.Add(time.Minute)})
	for _, want := range []string{"r1", "r1~2", "r1~3"} {
		f := o.Next(now, "s")
		for f.GetStart() == nil {
			f = o.Next(now, "s")
		}
		if f.GetId() != want {
			t.Fatal(f.GetId(), want)
		}
		_ = o.Received(now, "s", &linkv1.OperationUp{Id: f.GetId(), Frame: &linkv1.OperationUp_Outcome{Outcome: lost("no room")}})
	}
	if f, ok := o.NextEvent().(Finished); !ok || f.ID != "r1" || f.Outcome.GetState() != linkv1.Outcome_STATE_RESULT_LOST {
		t.Fatal(f)
	}
}

func TestOperationsAreBoundedAndSpread(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{Open: 4})
	now := epochStart
	for _, s := range []string{"s1", "s2"} {
		o.Open(now, s, "i"+s)
		o.Serve(now, s, "prod", s == "s1")
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if err := o.Submit(now, Request{ID: id, Account: "prod", Operation: &linkv1.Operation{}, Deadline: now.Add(time.Minute), Spread: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Submit(now, Request{ID: "e", Account: "prod", Deadline: now.Add(time.Minute)}); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	for _, s := range []string{"s1", "s2"} {
		if n := o.sessions[s].load; n != 2 || !o.Busy(s) {
			t.Fatalf("%s has %d operations", s, n)
		}
	}
	// A session that no longer serves the account gives back what was not handed out.
	o.Withdraw(now, "s1", "prod")
	if n := o.sessions["s2"].load; n != 4 {
		t.Fatalf("%d operations", n)
	}
}

func TestOneAccountCannotTakeAllRoomOfABridge(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{Open: 4, Each: 2})
	now := epochStart
	o.Open(now, "s", "i")
	o.Serve(now, "s", "prod", true)
	submit := func(id, account string) error {
		return o.Submit(now, Request{ID: id, Account: account, Operation: &linkv1.Operation{}, Deadline: now.Add(time.Minute), AbsentWait: time.Minute})
	}
	for _, id := range []string{"a", "b"} {
		if err := submit(id, "prod"); err != nil {
			t.Fatal(err)
		}
	}
	if err := submit("c", "prod"); !errors.Is(err, ErrAccountFull) {
		t.Fatal(err)
	}
	if err := submit("d", "test"); err != nil {
		t.Fatal(err)
	}
	// What ends makes room.
	if f := o.Next(now, "s"); f.GetStart() != nil {
		_ = o.Received(now, "s", &linkv1.OperationUp{Id: f.GetId(), Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	}
	if err := submit("c", "prod"); err != nil {
		t.Fatal(err)
	}
}

func TestFinishedTellsWhenItWasSentAndToldAndAgentsHowLongTheyTook(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{})
	now := epochStart
	_ = o.Submit(now, Request{ID: "m1", Account: "prod", Operation: &linkv1.Operation{}, Mutation: true, Deadline: now.Add(time.Minute), AbsentWait: time.Minute})
	o.Open(now, "s", "i")
	o.Serve(now, "s", "prod", true)
	start := o.Next(now.Add(2*time.Second), "s")

	a, _ := connectedAgent(t, LedgerConfig{Each: 1})
	a.ReceivedOperation(now, startFrame("m0", true, 0, 100))
	a.ReceivedOperation(now, start)
	a.Finish(now.Add(time.Second), "m0", &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	a.Finish(now.Add(4*time.Second), "m1", &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	for f := a.NextOperation(); f != nil; f = a.NextOperation() {
		_ = o.Received(now.Add(9*time.Second), "s", f)
	}
	f, ok := o.NextEvent().(Finished)
	if !ok || f.Sent.Sub(now) != 2*time.Second || f.Told.Sub(now) != 9*time.Second || f.Outcome.GetWaitedMs() != 1000 || f.Outcome.GetRanMs() != 3000 {
		t.Fatalf("%+v", f)
	}
}

func TestCallerOfAChangeIsToldWhenItsProcessIsGoneAndAnotherServes(t *testing.T) {
	o, _ := NewOperations(OperationsConfig{Gone: 30 * time.Second})
	now := epochStart
	o.Open(now, "s", "i")
	o.Serve(now, "s", "prod", true)
	_ = o.Submit(now, Request{ID: "m1", Account: "prod", Operation: &linkv1.Operation{}, Mutation: true, Deadline: now.Add(10 * time.Minute)})
	if o.Next(now, "s").GetStart() == nil {
		t.Fatal("it was not sent")
	}
	o.Lost(now, "s")
	o.Tick(now.Add(time.Minute))
	if e := o.NextEvent(); e != nil {
		t.Fatalf("%v: nobody else serves the account, its process may come back", e)
	}
	o.Open(now.Add(time.Minute), "s2", "other process")
	o.Serve(now.Add(time.Minute), "s2", "prod", true)
	o.Tick(now.Add(time.Minute))
	f, ok := o.NextEvent().(Finished)
	if !ok || f.Outcome.GetState() != linkv1.Outcome_STATE_UNKNOWN || !strings.Contains(f.Outcome.GetReason(), "went away") {
		t.Fatalf("%+v", f)
	}
	if frame := o.Next(now.Add(time.Minute), "s2"); frame != nil {
		t.Fatalf("the other process got %v", frame)
	}
}
