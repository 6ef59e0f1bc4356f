package session

import (
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// teller keeps routing, registry and log up to date. Nothing that it does waits for the database.
type teller struct {
	session *session
	// over is closed when the last note has been made.
	over chan struct{}
	// warned are foreign accounts that the log has heard of.
	warned map[string]bool
	// epochs are the latest that the agent was told.
	epochs map[string]uint64
}

func (t *teller) run() {
	for {
		ending := false
		select {
		case <-t.session.wakeTeller:
		case <-t.over:
			ending = true
		}
		for _, n := range t.session.nextNotes() {
			t.tell(n)
		}
		t.session.tellUnassigned()
		if ending {
			return
		}
	}
}

func (t *teller) tell(n link.Note) {
	e, cfg := t.session, t.session.service.cfg
	switch n.What {
	case link.NoteAccepted:
		cfg.Router.Serve(e.id, n.Account, false)
		cfg.Accounts.Connected(n.Account, e.id, e.described())
		e.log.Info("account accepted", "account", n.Account)
	case link.NoteRefused:
		e.refuse(refusedAccount, n.Account, n.Reason)
		if cfg.Dynamic != nil {
			cfg.Dynamic.Rejected(e.id, n.Account, n.Reason)
		}
	case link.NoteWithdrawn:
		cfg.Router.Withdraw(e.id, n.Account)
		cfg.Accounts.Disconnected(n.Account, e.id)
		e.handOver(n.Account)
	case link.NoteAttached, link.NoteContinued:
		if t.epochs == nil {
			t.epochs = map[string]uint64{}
		}
		t.epochs[n.Account] = n.Epoch
		cfg.Router.Serve(e.id, n.Account, true)
		e.log.Info("account attached", "account", n.Account, "epoch", n.Epoch, "continues", n.What == link.NoteContinued)
	case link.NoteDetached:
		cfg.Router.Serve(e.id, n.Account, false)
		e.log.Info("account detached", "account", n.Account, "epoch", n.Epoch, "reason", n.Reason)
		e.handOver(n.Account)
	case link.NoteStandby:
		cfg.Router.Serve(e.id, n.Account, false)
		e.log.Info("account has another holder, standing by", "account", n.Account, "holder", n.Reason)
	case link.NoteRejected:
		e.service.refusals.WithLabelValues(refusedItem).Inc()
		e.log.Warn("item cannot be stored", "account", n.Account, "group", groupName(n.Group), "key", n.Key, "reason", n.Reason)
	case link.NoteDiffers:
		e.log.Info("group differs, comparing", "account", n.Account, "group", groupName(n.Group))
	case link.NoteGaveUp:
		e.log.Error("group stays different after comparing twice", "account", n.Account, "group", groupName(n.Group))
	case link.NoteSwept:
		e.log.Info("rows swept", "account", n.Account, "group", groupName(n.Group), "rows", n.Key)
	case link.NoteDiscarded:
		if !e.serves(n.Account) {
			t.foreign(n, refusedInventory, "the session does not serve this account")
			return
		}
		if n.Epoch > t.epochs[n.Account] {
			t.foreign(n, refusedEpoch, "no such epoch was given to this session")
			return
		}
		e.service.refusals.WithLabelValues(refusedLate).Inc()
		e.log.Debug("late frame ignored", "account", n.Account, "epoch", n.Epoch, "reason", n.Reason)
	case link.NoteDraining:
		cfg.Router.Drain(e.id)
	case link.NoteAgreed, link.NoteChecked, link.NoteRemembered:
		// the actor's, and for those who wait for a resync
	}
}

// mostForeign bounds how many accounts a session is warned about.
const mostForeign = 100

// foreign counts a frame about what the session does not have. It is said in the log once for each account: what an agent sends over and over must
// not fill it.
func (t *teller) foreign(n link.Note, what, reason string) {
	e := t.session
	if n.Reason != "" {
		what = refusedFacts
	}
	e.service.refusals.WithLabelValues(what).Inc()
	if t.warned == nil {
		t.warned = map[string]bool{}
	}
	if key := what + " " + n.Account; !t.warned[key] && len(t.warned) < mostForeign {
		t.warned[key] = true
		e.log.Warn("agent refused", "what", what, "agent", e.name(), "identity", e.identity.ID(), "account", n.Account, "epoch", n.Epoch,
			"reason", reason+"; further frames of the kind are only counted")
	}
}

// refuse counts and logs what an agent asked for and does not get.
func (e *session) refuse(what, account, reason string) {
	e.service.refusals.WithLabelValues(what).Inc()
	e.log.Warn("agent refused", "what", what, "agent", e.name(), "identity", e.identity.ID(), "account", account, "reason", reason)
}

func groupName(g *linkv1.Group) string {
	if g.GetRelType() == "" {
		return g.GetType()
	}
	return g.GetType() + "→" + g.GetRelType()
}
