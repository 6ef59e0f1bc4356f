package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// maxChunk is the largest Output frame, below the protocol's 1 MiB.
	maxChunk = 256 << 10
	// minRoom of output each running operation may keep, however full the ledger is: none waits for another one for ever.
	minRoom = 64 << 10
	// maxWindow of output is kept for one operation, whatever credit a bridge gives.
	maxWindow = 8 << 20
	// sweepInterval is how often expired marks are looked for.
	sweepInterval = 30 * time.Second
)

func (c *LedgerConfig) complete() {
	setDefault(&c.Running, 256)
	setDefault(&c.Waiting, 1024)
	c.Waiting = max(c.Waiting, 0)
	setDefault(&c.Each, 32)
	setDefault(&c.EachWaiting, 256)
	setDefault(&c.Bytes, 64<<20)
	setDefault(&c.Results, 1024)
	setDefault(&c.Marks, 65_536)
	setDefault(&c.Retain, 10*time.Minute)
}

// LedgerConfig bounds the operations of an Agent.
type LedgerConfig struct {
	// Running (256) operations at once; Waiting (1,024; negative: none) more until one ends. Further ones are not started. An account that
	// has none may always have one of each sort, so that no account waits for another one's API server.
	Running, Waiting int
	// Each (32) and EachWaiting (256) bound the same for one account.
	Each, EachWaiting int
	// Bytes (64 MiB) of output kept for running and finished operations; Results (1,024) finished ones kept.
	Bytes, Results int
	// Marks (65,536) of mutations that were given here, each kept until its deadline and Retain (10 min) are over, so that none begins
	// twice. While all are taken, no further mutation begins.
	Marks  int
	Retain time.Duration
}

// ledger is what an agent knows of operations: which run, how they ended, and which ids must not begin (again).
//
// Invariants:
//   - a mutation's id begins at most once: from its first frame until no bridge can ask for it any more it is an entry or a mark;
//   - an id that was answered with NOT_STARTED never begins;
//   - a result stays until the caller has it, or until room is needed; then its id is marked "result lost".
type ledger struct {
	cfg LedgerConfig
	do  func(Action)

	entries map[string]*entry
	marks   map[string]mark
	// active ones wait or run, finished ones have a result; both by age. ready ones may have a frame to send.
	active, finished []*entry
	ready            queue[*entry]
	running          int
	// limits are of single accounts.
	limits map[string]int
	// results counts finished ones that ran here; the others only answer that they did not, or that their result is lost.
	results int
	// mutations counts entries that change something; bytes is the output that is kept.
	mutations, bytes int
	leaving          string
	swept            time.Time
}

type entryState int

const (
	entryWaiting entryState = iota
	entryRunning
	entryFinished
)

// entry is one operation that was begun here, waits to begin, or has a result that nobody has taken.
type entry struct {
	id        string
	account   string
	mutation  bool
	operation *linkv1.Operation
	deadline  time.Time
	state     entryState
	cancelled bool
	// reason of that, for people.
	reason string
	// abandoned: the caller wants nothing of it any more.
	abandoned bool
	// ran: it was begun by this entry. gone: it left the ledger; queues may still hold it.
	ran, gone bool

	// Output [base, produced) is kept in chunks; [.., sent) went out in this session; up to limit may.
	chunks               [][]byte
	base, sent, produced uint64
	limit, window        uint64

	outcome *linkv1.Outcome
	// arrived and began are for people.
	arrived, began time.Time
	// asked: a bridge of this session waits for it. told: its outcome went out in this session.
	asked, told, queued bool
}

// mark is what is left of a mutation's id.
type mark struct {
	state  linkv1.Outcome_State
	reason string
	until  time.Time
}

func newLedger(cfg LedgerConfig, do func(Action)) ledger {
	return ledger{cfg: cfg, do: do, entries: make(map[string]*entry), marks: make(map[string]mark), limits: make(map[string]int)}
}

func addClamped(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// start begins an operation, or answers for one that was begun.
func (l *ledger) start(now time.Time, id string, s *linkv1.Start, served bool) {
	if e := l.entries[id]; e != nil {
		l.resume(e, s)
		return
	}
	e := &entry{id: id, account: s.GetAccount(), mutation: s.GetMutation(), operation: s.GetOperation(), asked: true, arrived: now,
		deadline: now.Add(milliseconds(s.GetDeadlineMs()))}
	l.entries[id] = e
	if e.mutation {
		l.mutations++
	}
	m, marked := l.marks[id]
	switch {
	case marked:
		delete(l.marks, id)
		e.deadline = later(e.deadline, m.until.Add(-l.cfg.Retain))
		l.conclude(e, &linkv1.Outcome{State: m.state, Reason: m.reason})
	case s.GetOutputOffset() > 0:
		l.conclude(e, lost("the output before the point where it should go on is not kept"))
	case l.leaving != "":
		l.conclude(e, notStarted(l.leaving))
	case !served:
		l.conclude(e, notStarted("this agent does not serve account "+e.account))
	case s.GetOperation() == nil:
		l.conclude(e, notStarted("the operation is of a kind that this agent does not know: upgrade the agent"))
	case s.GetDeadlineMs() == 0:
		l.conclude(e, notStarted("its deadline had passed"))
	case e.mutation && len(l.marks)+l.mutations > l.cfg.Marks:
		l.conclude(e, notStarted("the agent remembers as many changes as it can; try again later"))
	case !l.admits(e.account):
		l.conclude(e, notStarted("the agent has too much to do for account "+e.account+"; try again later"))
	default:
		e.limit = s.GetOutputCredit()
		e.window = max(min(e.limit, maxWindow), minRoom)
		l.active = append(l.active, e)
		l.run(now)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func notStarted(reason string) *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_NOT_STARTED, Reason: reason}
}

func lost(reason string) *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_RESULT_LOST, Reason: reason}
}

// resume answers a Start for an operation that is here: its output goes on where the caller stands. It may come a second time in one
// session, when the bridge that asks was cut off from the bridge of the session and came back.
func (l *ledger) resume(e *entry, s *linkv1.Start) {
	if e.abandoned {
		return
	}
	e.asked, e.told = true, false
	offset := s.GetOutputOffset()
	e.limit = max(e.limit, addClamped(offset, s.GetOutputCredit()))
	e.window = max(e.window, min(s.GetOutputCredit(), maxWindow))
	if offset < e.base || offset > e.produced {
		l.loseOutput(e)
	} else {
		e.sent = offset
		l.trim(e)
	}
	l.wake(e)
}

// stop asks the shell to end a running operation, once.
func (l *ledger) stop(e *entry, reason string) {
	if !e.cancelled {
		e.cancelled, e.reason = true, reason
		l.do(CancelOperation{ID: e.id, Reason: reason})
	}
}

// conclude gives an entry its outcome, which stays until it is received.
func (l *ledger) conclude(e *entry, outcome *linkv1.Outcome) {
	l.active = withoutEntry(l.active, e)
	e.operation, e.outcome, e.state = nil, outcome, entryFinished
	l.finished = append(l.finished, e)
	if e.ran {
		l.results++
	}
	// Answers without a result are small, and must not push results out.
	for l.results > l.cfg.Results {
		l.evict(true)
	}
	for len(l.finished)-l.results > 4*l.cfg.Results {
		l.evict(false)
	}
	l.wake(e)
}

func withoutEntry(list []*entry, e *entry) []*entry {
	for i := range list {
		if list[i] == e {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// evict drops the oldest finished entry of a sort, if possible one that no bridge waits for at the moment.
func (l *ledger) evict(ran bool) {
	var victim *entry
	for _, e := range l.finished {
		if e.ran == ran && (victim == nil || victim.asked && !e.asked) {
			victim = e
		}
	}
	l.remove(victim)
}

// remove takes a finished entry out. A change leaves a mark, so that its id never begins again.
func (l *ledger) remove(e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	l.discard(e)
	delete(l.entries, e.id)
	l.finished = withoutEntry(l.finished, e)
	if e.ran {
		l.results--
	}
	if !e.mutation {
		return
	}
	l.mutations--
	m := mark{state: linkv1.Outcome_STATE_RESULT_LOST, reason: "it ended, and its result is not kept any more", until: e.deadline.Add(l.cfg.Retain)}
	if e.outcome.GetState() == linkv1.Outcome_STATE_NOT_STARTED {
		m.state, m.reason = e.outcome.GetState(), e.outcome.GetReason()
	}
	l.marks[e.id] = m
}

func (l *ledger) cancel(now time.Time, id, reason string) {
	e := l.entries[id]
	switch {
	case e == nil:
		if _, marked := l.marks[id]; !marked && len(l.marks) < l.cfg.Marks {
			// Its Start may still come, by a stream that breaks its promise: it must not begin then.
			l.marks[id] = mark{state: linkv1.Outcome_STATE_NOT_STARTED, reason: "it was cancelled before it began", until: now.Add(l.cfg.Retain)}
		}
	case e.state == entryWaiting:
		l.conclude(e, notStarted("it was cancelled before it began: "+reason))
	case e.state == entryRunning:
		l.stop(e, reason)
	}
}

// received forgets a result that the caller has. One that still runs is nobody's any more.
func (l *ledger) received(id string) {
	const reason = "nobody waits for it"
	e := l.entries[id]
	if e == nil {
		return
	}
	switch e.state {
	case entryFinished:
		l.remove(e)
	case entryWaiting:
		l.conclude(e, notStarted(reason))
		l.remove(e)
	case entryRunning:
		e.abandoned = true
		l.discard(e)
		if !e.mutation {
			l.stop(e, reason)
		}
	}
}

// finish takes the outcome of a running operation.
func (l *ledger) finish(now time.Time, id string, outcome *linkv1.Outcome) {
	e := l.entries[id]
	if e == nil || e.state != entryRunning {
		return
	}
	if outcome == nil {
		outcome = &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN, Reason: "the agent did not say how it ended"}
	}
	if e.outcome != nil {
		outcome = e.outcome
	}
	if outcome.GetState() == linkv1.Outcome_STATE_CANCELLED && e.cancelled {
		outcome.Reason = e.reason // the shell knows that it was stopped, not why
	}
	outcome.WaitedMs, outcome.RanMs = inMilliseconds(e.began.Sub(e.arrived)), inMilliseconds(now.Sub(e.began))
	l.running--
	l.conclude(e, outcome)
	if e.abandoned && !e.gone {
		l.remove(e)
	}
	l.run(now)
}

func inMilliseconds(d time.Duration) uint64 { return uint64(max(d.Milliseconds(), 0)) }

// lost is the end of a session: what runs goes on, and is told when it is asked for again.
func (l *ledger) lost() {
	for _, e := range l.entries {
		e.asked, e.told = false, false
	}
}

// leave refuses everything that has not begun.
func (l *ledger) leave(reason string) {
	l.leaving = reason
	for _, e := range append([]*entry(nil), l.active...) {
		if e.state == entryWaiting {
			l.conclude(e, notStarted(reason))
		}
	}
}

// idle tells whether nothing runs and no bridge of this session waits for a result.
func (l *ledger) idle() bool {
	if len(l.active) > 0 {
		return false
	}
	for _, e := range l.finished {
		if e.asked {
			return false
		}
	}
	return true
}

// tick stops what is over its deadline and forgets what nobody can ask for any more.
func (l *ledger) tick(now time.Time) {
	for _, e := range append([]*entry(nil), l.active...) {
		switch {
		case now.Before(e.deadline):
		case e.state == entryWaiting:
			l.conclude(e, notStarted("its deadline passed before it began"))
		default:
			l.stop(e, "its deadline passed")
		}
	}
	if now.Sub(l.swept) < sweepInterval {
		return
	}
	l.swept = now
	for _, e := range append([]*entry(nil), l.finished...) {
		if now.After(e.deadline.Add(l.cfg.Retain)) {
			l.remove(e)
		}
	}
	for id, m := range l.marks {
		if now.After(m.until) {
			delete(l.marks, id)
		}
	}
}
