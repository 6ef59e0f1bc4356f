package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// ReceivedOperation takes a frame of the operations stream.
func (a *Agent) ReceivedOperation(now time.Time, frame *linkv1.OperationDown) {
	a.tell(now)
	if !a.session.open() {
		return
	}
	a.session.live.hear(a.now)
	l, id := &a.ledger, frame.GetId()
	if id == "" {
		a.broken("the bridge sent an operation frame without an id")
		return
	}
	switch f := frame.GetFrame().(type) {
	case *linkv1.OperationDown_Start:
		served := a.accounts[f.Start.GetAccount()] != nil
		l.start(a.now, id, f.Start, served)
	case *linkv1.OperationDown_Cancel:
		l.cancel(a.now, id, f.Cancel.GetReason())
	case *linkv1.OperationDown_Received:
		l.received(id)
	case *linkv1.OperationDown_OutputCredit:
		if e := l.entries[id]; e != nil {
			e.limit = addClamped(e.limit, f.OutputCredit)
			l.trim(e)
			l.wake(e)
		}
	}
	a.leaveIfDone()
}

// NextOperation returns the next frame for the operations stream, nil when there is none or no credit. Operations take turns.
func (a *Agent) NextOperation() *linkv1.OperationUp {
	if !a.session.open() {
		return nil
	}
	return a.ledger.next()
}

// OutputRoom is how many bytes of output the operation may give now. Zero: wait for credit, or for the operation's end.
func (a *Agent) OutputRoom(id string) int { return a.ledger.room(id) }

// Output appends to a running operation's output, at most OutputRoom bytes. The data belongs to the Agent afterwards.
func (a *Agent) Output(id string, data []byte) { a.ledger.output(id, data) }

// Finish ends a running operation. A nil outcome is an error of the shell and becomes STATE_UNKNOWN.
func (a *Agent) Finish(now time.Time, id string, outcome *linkv1.Outcome) {
	a.tell(now)
	a.ledger.finish(a.now, id, outcome)
	a.leaveIfDone()
}

// Ledger tells how many operations wait or run, how many results are kept, and how many bytes of output.
func (a *Agent) Ledger() (active, results, bytes int) {
	return len(a.ledger.active), len(a.ledger.finished), a.ledger.bytes
}
