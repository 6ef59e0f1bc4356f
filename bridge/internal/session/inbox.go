package session

import (
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// This file takes the machine's actions apart: what ends the session does so at once, notes go to the teller and never wait for the database, the
// rest goes to the actor.

// step feeds the machine and wakes whoever may have something to do now.
func (e *session) step(feed func(now time.Time)) {
	e.mu.Lock()
	feed(time.Now())
	e.sort()
	over := e.hangup != nil
	e.mu.Unlock()
	if over {
		e.cancel()
	}
	wake(e.wakeSession)
	wake(e.wakeInventory)
	wake(e.wakeActor)
	wake(e.wakeTeller)
}

// nextInventory takes the next frame; making it may let further steps be handled.
func (e *session) nextInventory() (frame *linkv1.InventoryDown) {
	e.mu.Lock()
	frame = e.core.NextInventory()
	e.sort()
	working, telling := len(e.work) > 0, len(e.notes) > 0
	e.mu.Unlock()
	if working {
		wake(e.wakeActor)
	}
	if telling {
		wake(e.wakeTeller)
	}
	return frame
}

// sort takes the machine's actions. The lock is held.
func (e *session) sort() {
	for action := e.core.NextAction(); action != nil; action = e.core.NextAction() {
		switch act := action.(type) {
		case link.Hangup:
			// What was not begun is not needed any more.
			e.work, e.hangup = nil, &act
		case link.Note:
			e.noted(act)
		case link.Unassigned:
			if len(e.unassigned) < mostDiscarded {
				e.unassigned = append(e.unassigned, act.Assigned)
			}
		case link.StoreFacts:
			account := act.Facts.GetAccount()
			if _, busy := e.facts[account]; !busy {
				e.work = append(e.work, action)
			}
			e.facts[account] = act.Facts
		default:
			e.work = append(e.work, action)
		}
	}
}

// mostDiscarded bounds notes that wait and are for the log alone.
const mostDiscarded = 1000

// noted keeps what others ask the session about in step with the machine. The lock is held.
func (e *session) noted(n link.Note) {
	e.resyncNote(n)
	e.service.counts.note(n)
	switch n.What {
	case link.NoteAccepted:
		e.accounts[n.Account] = true
	case link.NoteWithdrawn:
		delete(e.accounts, n.Account)
		delete(e.stands, n.Account)
		delete(e.epochs, n.Account)
	case link.NoteAttached:
		delete(e.groups, n.Account)
		e.nowAttached(n)
	case link.NoteContinued:
		e.nowAttached(n)
	case link.NoteDetached:
		delete(e.epochs, n.Account)
	case link.NoteStandby:
		e.stands[n.Account] = true
		delete(e.grants, n.Account)
	case link.NoteDraining:
		e.draining = true
	case link.NoteChecked:
		return
	case link.NoteRemembered:
		e.agreed(n.Account, n.Group, n.Agreed)
		return
	case link.NoteAgreed:
		if e.agreed(n.Account, n.Group, true) {
			e.work = append(e.work, n) // the actor deletes leftovers
		}
		return
	case link.NoteDiffers:
		e.agreed(n.Account, n.Group, false)
	case link.NoteDiscarded:
		if len(e.notes) >= mostDiscarded {
			return
		}
	default: // only told
	}
	e.notes = append(e.notes, n)
}

// nowAttached notes an attach. The lock is held.
func (e *session) nowAttached(n link.Note) {
	e.epochs[n.Account], e.attachedOnce[n.Account] = n.Epoch, true
	delete(e.stands, n.Account)
	delete(e.grants, n.Account)
}

// agreed notes that a group agrees or does not, and reports whether that is news. The lock is held.
func (e *session) agreed(account string, g *linkv1.Group, agrees bool) bool {
	groups := e.groups[account]
	if groups == nil {
		groups = map[cats.Group]bool{}
		e.groups[account] = groups
	}
	group := cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}
	before, known := groups[group]
	groups[group] = agrees
	return !known || before != agrees
}

// nextWork is the actor's.
func (e *session) nextWork() link.Action {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.work) == 0 {
		e.work = nil
		return nil
	}
	action := e.work[0]
	e.work[0], e.work = nil, e.work[1:]
	return action
}

// nextNotes are the teller's.
func (e *session) nextNotes() []link.Note {
	e.mu.Lock()
	defer e.mu.Unlock()
	notes := e.notes
	e.notes = nil
	return notes
}

// nextFacts returns an account's facts that have to be stored; nil: there are none, and the next ones begin anew.
func (e *session) nextFacts(account string) *linkv1.Facts {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.facts[account]
	if f == nil {
		delete(e.facts, account)
		delete(e.unsaved, account)
		return nil
	}
	e.facts[account] = nil
	return f
}

// notSaved keeps facts that the database did not take, unless newer ones came, and reports whether that is news.
func (e *session) notSaved(f *linkv1.Facts) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	account := f.GetAccount()
	if e.facts[account] == nil {
		e.facts[account] = f
	}
	_, known := e.unsaved[account]
	e.unsaved[account] = true
	return !known
}

// saveAgain has facts stored that the database did not take. The lock is held.
func (e *session) saveAgain() {
	for account, due := range e.unsaved {
		if due && e.hangup == nil {
			e.unsaved[account] = false
			e.work = append(e.work, link.StoreFacts{Facts: e.facts[account]})
		}
	}
}

func (e *session) serves(account string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accounts[account]
}

// why is how the machine ended the session.
func (e *session) why() (code, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hangup == nil {
		return "", ""
	}
	return e.hangup.Code.String(), e.hangup.Reason
}
