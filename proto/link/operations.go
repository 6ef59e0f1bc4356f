package link

import (
	"strconv"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// OperationsConfig bounds the operations of one bridge. Zero limits take the defaults that are named beside them.
type OperationsConfig struct {
	// Open (4,096) operations at once.
	Open int
	// Window (4 MiB) is the output of one operation that may be on its way or unconsumed.
	Window int
	// Grace (5 s) after an operation's deadline in which a connected agent may still tell how it ended, and in which the agent
	// process that began a read may come back before another one is asked.
	Grace time.Duration
	// Gone (30 s) is how long the agent process that began a change may be away before its caller is told that nobody knows how it ended, if
	// another process serves the account by then. Alone, it is waited for until the deadline.
	Gone time.Duration
	// Each (1,024) bounds those of one account.
	Each int
}

func (c *OperationsConfig) complete() {
	setDefault(&c.Open, 4096)
	setDefault(&c.Each, 1024)
	setDefault(&c.Window, 4<<20)
	setDefault(&c.Grace, 5*time.Second)
	setDefault(&c.Gone, 30*time.Second)
}

// maxRuns is how often a read whose result was lost before any output was delivered is begun anew.
const maxRuns = 3

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
	// Spread gives it to the session that has the fewest; otherwise to a preferred one while there is one.
	Spread bool
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
	// Sent is when it was first given to an agent, Told when an agent told how it ended; zero: never.
	Sent, Told time.Time
}

func (Output) event()   {}
func (Finished) event() {}

// Operations is what the callers of one bridge wait for, over all its sessions. An operation whose session breaks is asked for again, by
// the same id, when the same agent process is back. A mutation goes to another process only after NOT_STARTED; a read goes to any, as
// long as none of its output was delivered. What cannot be known ends as STATE_UNKNOWN at its deadline.
type Operations struct {
	cfg   OperationsConfig
	open  map[string]*openOperation
	wires map[string]*openOperation
	order []*openOperation
	// each counts the open operations of an account.
	each     map[string]int
	sessions map[string]*operationSession
	// serving lists the sessions of an account, by id, instances those of an agent process, the newest last.
	serving, instances map[string][]*operationSession
	events             queue[Event]
	// ready are sessions that have got lines since NextReady named them.
	ready queue[*operationSession]
}

// openOperation is one operation that a caller waits for.
type openOperation struct {
	Request
	// wire is its id on the wire, another one each time a read is begun anew.
	wire string
	runs int
	// session has it now; sent: its Start was handed out there.
	session *operationSession
	sent    bool
	// instance may have begun it. since is when it last lost its session.
	instance       string
	since          time.Time
	absentAt       time.Time
	sentAt, toldAt time.Time
	// refused by these processes: they never will begin it.
	refused map[string]*linkv1.Outcome

	received, consumed, granted uint64
	cancel                      string
	cancelled                   bool
	endAt                       time.Time
	done                        bool
}

// operationSession is one session's operations stream.
type operationSession struct {
	id, instance string
	up, draining bool
	accounts     map[string]bool
	// lines is what has to be sent, by operation; load counts the operations that it has.
	lines queue[line]
	load  int
	// listed: it stands in Operations.ready.
	listed bool
}

type lineKind int

const (
	startLine lineKind = iota
	cancelLine
	creditLine
	receivedLine
)

type line struct {
	kind lineKind
	op   *openOperation
	wire string
}

// NewOperations returns an empty tracker.
func NewOperations(cfg OperationsConfig) (*Operations, error) {
	cfg.complete()
	return &Operations{cfg: cfg, open: make(map[string]*openOperation), wires: make(map[string]*openOperation), each: make(map[string]int), sessions: make(map[string]*operationSession),
		serving: make(map[string][]*operationSession), instances: make(map[string][]*operationSession)}, nil
}

// Submit adds an operation. Errors: ErrFull, ErrAccountFull, ErrDuplicate.
func (o *Operations) Submit(now time.Time, r Request) error {
	switch {
	case o.open[r.ID] != nil || o.wires[r.ID] != nil:
		return ErrDuplicate
	case len(o.open) >= o.cfg.Open:
		return ErrFull
	case o.each[r.Account] >= o.cfg.Each:
		return ErrAccountFull
	}
	o.each[r.Account]++
	op := &openOperation{Request: r, wire: r.ID, runs: 1, absentAt: now.Add(r.AbsentWait), granted: uint64(o.cfg.Window)}
	o.open[r.ID], o.wires[op.wire] = op, op
	o.order = append(o.order, op)
	o.assign(now, op)
	o.tickOne(now, op)
	o.compact()
	return nil
}

// Cancel stops an operation; its Finished still comes, at once if it never began.
func (o *Operations) Cancel(now time.Time, id, reason string) {
	op := o.open[id]
	if op == nil || op.cancelled {
		return
	}
	op.cancelled, op.cancel = true, reason
	op.endAt = earlier(op.Deadline, now).Add(o.cfg.Grace)
	switch {
	case op.instance == "" && !op.sent:
		o.finish(op, notStarted("it was cancelled before it began: "+reason), false)
		o.compact()
	case op.sent:
		o.line(op.session, line{kind: cancelLine, op: op, wire: op.wire})
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Consumed tells that the caller took bytes of output.
func (o *Operations) Consumed(id string, bytes int) {
	op := o.open[id]
	if op == nil || bytes <= 0 {
		return
	}
	op.consumed = min(op.consumed+uint64(bytes), op.received)
	// Credit goes in quarters of the window: a frame for each piece would be many.
	if op.sent && op.consumed+uint64(o.cfg.Window)-op.granted >= uint64(o.cfg.Window)/4 {
		o.line(op.session, line{kind: creditLine, op: op, wire: op.wire})
	}
}

// has tells whether a session, or another one of its agent process, has the operation.
func (op *openOperation) has(s *operationSession) bool {
	return op.session == s && op.sent || op.instance == s.instance
}

// Ignores tells whether Received ignores a session's frame. Late: nobody waits for the operation any more, or the agent gave it back. Foreign: another agent
// process has it.
func (o *Operations) Ignores(session string, frame *linkv1.OperationUp) (late, foreign bool) {
	s := o.sessions[session]
	if s == nil {
		return true, false
	}
	op := o.wires[frame.GetId()]
	if op == nil || op.refused[s.instance] != nil {
		return true, false
	}
	return false, !op.has(s)
}

// Received takes a frame of a session's operations stream. An error means that the agent broke the protocol: close the session.
func (o *Operations) Received(now time.Time, session string, frame *linkv1.OperationUp) error {
	s := o.sessions[session]
	if s == nil {
		return nil
	}
	op := o.wires[frame.GetId()]
	theirs := op != nil && op.has(s)
	switch f := frame.GetFrame().(type) {
	case *linkv1.OperationUp_Output:
		if !theirs {
			return nil
		}
		return o.output(op, f.Output)
	case *linkv1.OperationUp_Outcome:
		// Known or not, the agent need not keep it.
		if s.lines.len() < 4*o.cfg.Open {
			o.line(s, line{kind: receivedLine, wire: frame.GetId()})
		}
		if theirs {
			o.outcome(now, s, op, f.Outcome)
			o.compact()
		}
	}
	return nil
}

func (o *Operations) output(op *openOperation, out *linkv1.Output) error {
	data, offset := out.GetData(), out.GetOffset()
	switch {
	case offset > op.received:
		return &ProtocolError{Operation: op.ID, What: "output is missing: " + strconv.FormatUint(offset-op.received, 10) + " bytes"}
	case offset+uint64(len(data)) > op.granted:
		return &ProtocolError{Operation: op.ID, What: "output goes beyond its credit"}
	case offset+uint64(len(data)) <= op.received:
		return nil
	}
	data = data[op.received-offset:]
	op.received += uint64(len(data))
	o.events.push(Output{ID: op.ID, Data: data})
	return nil
}

func (o *Operations) outcome(now time.Time, s *operationSession, op *openOperation, outcome *linkv1.Outcome) {
	op.toldAt = now
	switch state := outcome.GetState(); {
	case state == linkv1.Outcome_STATE_NOT_STARTED && op.received == 0:
		if op.refused == nil {
			op.refused = make(map[string]*linkv1.Outcome)
		}
		op.refused[s.instance] = outcome
		o.unassign(op)
		op.instance = ""
		if op.cancelled || o.pick(op) == nil {
			o.finish(op, outcome, false)
			return
		}
		o.assign(now, op)
	case state == linkv1.Outcome_STATE_RESULT_LOST && !op.Mutation && op.received == 0 && !op.cancelled && op.runs < maxRuns:
		o.unassign(op)
		delete(o.wires, op.wire)
		op.runs++
		op.wire = op.ID + "~" + strconv.Itoa(op.runs)
		o.wires[op.wire] = op
		op.instance = ""
		o.assign(now, op)
	default:
		o.finish(op, outcome, false)
	}
}

func (o *Operations) finish(op *openOperation, outcome *linkv1.Outcome, absent bool) {
	if op.done {
		return
	}
	op.done = true
	o.events.push(Finished{ID: op.ID, Outcome: outcome, Absent: absent, Instance: op.instance, Sent: op.sentAt, Told: op.toldAt})
	if o.each[op.Account]--; o.each[op.Account] == 0 {
		delete(o.each, op.Account)
	}
	o.unassign(op)
	delete(o.open, op.ID)
	delete(o.wires, op.wire)
}

// compact drops finished operations from the order.
func (o *Operations) compact() {
	kept := o.order[:0]
	for _, op := range o.order {
		if !op.done {
			kept = append(kept, op)
		}
	}
	clear(o.order[len(kept):])
	o.order = kept
}

// Next returns the next frame for a session's operations stream, nil when there is none.
func (o *Operations) Next(now time.Time, session string) *linkv1.OperationDown {
	s := o.sessions[session]
	if s == nil || !s.up {
		return nil
	}
	for {
		l, ok := s.lines.pop()
		if !ok {
			return nil
		}
		frame := &linkv1.OperationDown{Id: l.wire}
		if l.kind == receivedLine {
			frame.Frame = &linkv1.OperationDown_Received{Received: &linkv1.Received{}}
			return frame
		}
		op := l.op
		if op.done || op.session != s || op.wire != l.wire {
			continue
		}
		switch l.kind {
		case startLine:
			if op.sent || !now.Before(op.Deadline) {
				continue
			}
			o.start(now, op, frame)
		case cancelLine:
			if !op.sent {
				continue
			}
			frame.Frame = &linkv1.OperationDown_Cancel{Cancel: &linkv1.Cancel{Reason: op.cancel}}
		case creditLine:
			more := op.consumed + uint64(o.cfg.Window) - op.granted
			if more == 0 {
				continue
			}
			op.granted += more
			frame.Frame = &linkv1.OperationDown_OutputCredit{OutputCredit: more}
		}
		return frame
	}
}

func (o *Operations) start(now time.Time, op *openOperation, frame *linkv1.OperationDown) {
	op.sent, op.instance = true, op.session.instance
	if op.sentAt.IsZero() {
		op.sentAt = now
	}
	op.granted = op.consumed + uint64(o.cfg.Window)
	left := op.Deadline.Sub(now).Milliseconds()
	frame.Frame = &linkv1.OperationDown_Start{Start: &linkv1.Start{
		Account:      op.Account,
		DeadlineMs:   uint64(max(left, 1)),
		Mutation:     op.Mutation,
		Operation:    op.Operation,
		OutputOffset: op.received,
		OutputCredit: op.granted - op.received,
	}}
	if op.cancelled {
		o.line(op.session, line{kind: cancelLine, op: op, wire: op.wire})
	}
}

// NextEvent returns the oldest event, nil when there is none.
func (o *Operations) NextEvent() Event {
	e, _ := o.events.pop()
	return e
}

// Tick tells the time; call it a few times a second.
func (o *Operations) Tick(now time.Time) {
	for _, op := range o.order {
		o.assign(now, op)
		o.tickOne(now, op)
	}
	o.compact()
}

// tickOne ends what has waited too long.
func (o *Operations) tickOne(now time.Time, op *openOperation) {
	if op.done {
		return
	}
	begun := op.instance != ""
	over := !now.Before(op.Deadline)
	switch {
	case !begun && over:
		o.finish(op, notStarted("its deadline passed before it began"), op.session == nil)
	case !begun && op.session == nil && !now.Before(op.absentAt):
		o.finish(op, notStarted("no agent serves the account now"), true)
	case begun && op.cancelled && !now.Before(op.endAt), begun && over && op.session == nil:
		o.finish(op, o.unknown(op), false)
	case begun && op.Mutation && op.session == nil && !now.Before(op.since.Add(o.cfg.Gone)) && o.served(op.Account):
		o.finish(op, &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN, Reason: "the agent process that began it went away, and another one serves the account now: it may have had its effect or not"}, false)
	case begun && over && !op.cancelled:
		// The agent stops it by its own clock; it may still tell how it ended.
		o.Cancel(now, op.ID, "its deadline passed")
	}
}

func (o *Operations) unknown(op *openOperation) *linkv1.Outcome {
	if op.Mutation {
		return &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN, Reason: "its agent did not answer in time: it may have had its effect or not"}
	}
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "its agent did not answer in time"}
}
