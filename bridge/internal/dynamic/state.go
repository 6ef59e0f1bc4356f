package dynamic

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is where an account is in its life. The names are those of the replaced product.
type State string

// The states.
const (
	// Inactive is known and given to nobody.
	Inactive State = "INACTIVE"
	// ToMigrate waits until agents are chosen for it.
	ToMigrate State = "TO_MIGRATE"
	// Activating was given to agents, none of which has declared it yet.
	Activating State = "ACTIVATING"
	// Active is served.
	Active State = "ACTIVE"
	// ToDeactivate and Deactivating are on the way out of Clouddriver; the definition stays.
	ToDeactivate State = "TO_DEACTIVATE"
	Deactivating State = "DEACTIVATING"
	// Failed could not be activated, and is tried again.
	Failed State = "FAILED"
	// Deleting is on the way out of Clouddriver with its definition; DeleteFailed is tried again.
	Deleting     State = "DELETING"
	DeleteFailed State = "DELETE_FAILED"
	// Orphaned was served by agents that are all gone. It stays in Clouddriver.
	Orphaned State = "ORPHANED"
	// gone is no state: the row is deleted.
	gone State = "(gone)"
)

// States lists the states in the order in which they are documented.
func States() []State {
	return []State{Inactive, ToMigrate, Activating, Active, Orphaned, Failed, ToDeactivate, Deactivating, Deleting, DeleteFailed}
}

// Settled tells whether nothing more happens to an account by itself soon.
func (s State) Settled() bool {
	return s == Inactive || s == Active || s == Failed || s == Orphaned || s == DeleteFailed
}

// wanted tells whether agents of its place have such an account.
func (s State) wanted() bool { return s == Activating || s == Active || s == Orphaned }

// Kind is what happened.
type Kind string

// The events. The first four are people's.
const (
	Activate   Kind = "activate"
	Deactivate Kind = "deactivate"
	Replace    Kind = "replace"
	Delete     Kind = "delete"
	// Chosen: agents were found that may have it. NoAgent: there are none.
	Chosen  Kind = "chosen"
	NoAgent Kind = "no agent"
	// Served: an agent has declared it at the present revision. Refused: one said why it does not. Unserved: nobody serves it any more.
	Served   Kind = "served"
	Refused  Kind = "refused"
	Unserved Kind = "unserved"
	// Due: the time that the state was given is over.
	Due Kind = "due"
	// Left: it is out of Clouddriver. LeaveFailed: that did not work.
	Left        Kind = "left"
	LeaveFailed Kind = "leave failed"
)

// Kinds lists the events in the order in which they are documented.
func Kinds() []Kind {
	return []Kind{Activate, Deactivate, Replace, Delete, Chosen, NoAgent, Served, Refused, Unserved, Due, Left, LeaveFailed}
}

// Event is something that happened to an account.
type Event struct {
	Kind Kind
	// Place of Chosen.
	Place string
	// Agent of Served.
	Agent string
	// Reason of NoAgent, Refused and LeaveFailed, for people.
	Reason string
	// Revision of Served and Refused: one about another revision than the present one means nothing.
	Revision uint64
}

// Account is what the machine knows of an account.
type Account struct {
	Name  string
	State State
	// Zone is the only one whose agents may have it; "": any.
	Zone string
	// Place is who has it, or had it last; Agent declared it last.
	Place, Agent string
	Revision     uint64
	// Attempt rises each time that it is given to agents; Failures counts those in a row that failed.
	Attempt, Failures int
	// Tried are the places that failed in this round.
	Tried []string
	// Reason says why the account is not as it should be; "": it is.
	Reason string
}

// Times of the machine. Constants: nobody needs others, and a test of the shell sets them aside by events.
const (
	// never: nothing is due until something happens.
	never = time.Duration(-1)
	// ActivateTime is how long the agents of a place have to declare an account.
	ActivateTime = 20 * time.Second
	// LeaveTime is how long a bridge may work on an account's leaving; then another one takes over.
	LeaveTime = 30 * time.Second
	// OrphanTime is how long an account waits for its own agents before others are looked for.
	OrphanTime = time.Minute
	// firstRetry doubles with each failure up to lastRetry.
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
)

// ErrNotNow says that a person's wish does not go with the account's state.
var ErrNotNow = errors.New("not now")

// Result is what an event brought about.
type Result struct {
	Account Account
	// Changed: the account is not as it was, or its time begins anew.
	Changed bool
	// Due is when it is looked at next; negative: when something happens.
	Due time.Duration
	// Gone: the row is to be deleted.
	Gone bool
}

// Step applies an event. It fails with ErrNotNow for wishes of people only; what else does not fit changes nothing.
func Step(a Account, e Event) (Result, error) {
	m, known := table[a.State][e.Kind]
	switch {
	case !known:
		return Result{}, fmt.Errorf("account %q: no rule for %q in state %q", a.Name, e.Kind, a.State)
	case m.refuse != "":
		return Result{}, fmt.Errorf("account %q is %s: %s: %w", a.Name, a.State, m.refuse, ErrNotNow)
	case m.to == "":
		return Result{Account: a}, nil
	case (e.Kind == Served || e.Kind == Refused) && e.Revision != a.Revision:
		return Result{Account: a}, nil
	}
	before := a
	a.Tried = slices.Clone(a.Tried)
	r := Result{Due: never}
	if m.do != nil {
		r.Due = m.do(&a, e)
	}
	a.State = m.to
	r.Account, r.Gone = a, m.to == gone
	r.Changed = !same(before, a) || r.Due != never
	return r, nil
}

func same(a, b Account) bool {
	return a.State == b.State && a.Place == b.Place && a.Agent == b.Agent && a.Revision == b.Revision && a.Attempt == b.Attempt && a.Failures == b.Failures &&
		a.Reason == b.Reason && slices.Equal(a.Tried, b.Tried)
}

// retry is the pause after so many failures in a row.
func retry(failures int) time.Duration {
	pause := firstRetry
	for range failures - 1 {
		if pause *= 2; pause >= lastRetry {
			return lastRetry
		}
	}
	return pause
}
