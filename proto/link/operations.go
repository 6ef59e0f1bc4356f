package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// OperationsConfig bounds the operations of one bridge. Zero limits take the defaults that are named beside them.
type OperationsConfig struct {
	// Open (4,096) operations at once.
	Open int
	// Window (4 MiB) is the output of one operation that may be on its way or unconsumed.
	Window int
	// Grace (5 s) after an operation's deadline in which a connected agent may still tell how it ended.
	Grace time.Duration
}

// Request is an operation that a caller waits for.
type Request struct {
	// ID is unique for ever.
	ID        string
	Account   string
	Operation *linkv1.Operation
	// Mutation: it may change something, and begins at most once.
	Mutation bool
	// Deadline by the clock of this process.
	Deadline time.Time
	// AbsentWait is how long it may wait for a session that serves the account; zero: not at all.
	AbsentWait time.Duration
}

// Event tells a caller about its operation: Output, or Finished.
type Event interface{ event() }

// Output is the next piece of an operation's output. Operations.Consumed makes room for more.
type Output struct {
	ID   string
	Data []byte
}

// Finished ends an operation; all output came before it.
type Finished struct {
	ID string
	// Outcome is the agent's, or says what is known without it (NOT_STARTED, RESULT_LOST, CANCELLED, UNKNOWN).
	Outcome *linkv1.Outcome
	// Absent: it never began because no session served the account in time.
	Absent bool
	// Instance is the agent process that it was given to, if any.
	Instance string
}

func (Output) event()   {}
func (Finished) event() {}

// Operations is what the callers of one bridge wait for, over all its sessions. An operation whose session breaks is asked for again, by
// the same id, when the same agent process is back. A mutation goes to another process only after NOT_STARTED; a read goes to any.
// What cannot be known ends as STATE_UNKNOWN at its deadline.
type Operations struct {
	cfg OperationsConfig
}

// NewOperations returns an empty tracker.
func NewOperations(cfg OperationsConfig) (*Operations, error) { return &Operations{cfg: cfg}, nil }

// Open tells that a session's operations stream is up. Instance is the agent process's.
func (o *Operations) Open(now time.Time, session, instance string) {}

// Serve tells that a session takes operations for the account (NoteAccepted); the preferred one (NoteAttached, NoteContinued) comes first.
func (o *Operations) Serve(now time.Time, session, account string, preferred bool) {}

// Withdraw tells that a session no longer takes operations for the account.
func (o *Operations) Withdraw(now time.Time, session, account string) {}

// Drain tells that nothing new shall go to the session; what it has may finish.
func (o *Operations) Drain(now time.Time, session string) {}

// Lost tells that a session's streams are gone. It touches nothing of a newer session of the same agent.
func (o *Operations) Lost(now time.Time, session string) {}

// Busy reports whether operations of the session are open.
func (o *Operations) Busy(session string) bool { return false }

// Submit adds an operation. Errors: ErrFull, ErrDuplicate.
func (o *Operations) Submit(now time.Time, r Request) error { return nil }

// Cancel stops an operation; its Finished still comes.
func (o *Operations) Cancel(now time.Time, id, reason string) {}

// Consumed tells that the caller took bytes of output.
func (o *Operations) Consumed(id string, bytes int) {}

// Received takes a frame of a session's operations stream. An error means that the agent broke the protocol: close the session.
func (o *Operations) Received(now time.Time, session string, frame *linkv1.OperationUp) error {
	return nil
}

// Next returns the next frame for a session's operations stream, nil when there is none.
func (o *Operations) Next(now time.Time, session string) *linkv1.OperationDown { return nil }

// NextEvent returns the oldest event, nil when there is none.
func (o *Operations) NextEvent() Event { return nil }

// Tick tells the time; call it a few times a second.
func (o *Operations) Tick(now time.Time) {}
