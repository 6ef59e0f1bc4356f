package session

import (
	"log/slog"
	"time"

	"github.com/fairlead/fairlead/proto/link"
)

// step feeds the machine and wakes whoever may have something to do now.
func (s *Session) step(feed func(now time.Time)) {
	s.mu.Lock()
	feed(time.Now())
	s.collect()
	s.announce()
	s.mu.Unlock()
	wake(s.wakeSession)
	wake(s.wakeInventory)
	wake(s.wakeOperation)
	wake(s.wakeActor)
}

// collect takes the machine's actions. What concerns the connection is told to it at once: later there could be another one. The lock is held.
func (s *Session) collect() {
	for action := s.core.NextAction(); action != nil; action = s.core.NextAction() {
		switch act := action.(type) {
		case link.OpenStreams:
			if s.conn != nil {
				s.conn.opened(act.Secret)
			}
		case link.Disconnect:
			if s.conn != nil {
				s.conn.close(act)
			}
		default:
			s.actions = append(s.actions, action)
		}
	}
}

// announce lets what waits for room look again. The lock is held.
func (s *Session) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// pull takes a stream's next frame. Making it may ask for actions and make room.
func pull[F any](s *Session, next func() *F) *F {
	s.mu.Lock()
	frame := next()
	s.collect()
	if frame != nil {
		s.announce()
	}
	busy := len(s.actions) > 0
	s.mu.Unlock()
	if busy {
		wake(s.wakeActor)
	}
	return frame
}

// nextAction is the actor's.
func (s *Session) nextAction() link.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.actions) == 0 {
		s.actions = nil
		return nil
	}
	action := s.actions[0]
	s.actions[0], s.actions = nil, s.actions[1:]
	return action
}

// logOf is an account's log.
func (s *Session) logOf(account string) *slog.Logger {
	if a := s.served(account); a != nil && a.Log != nil {
		return a.Log
	}
	return s.cfg.Log
}

// note keeps state and log up to date.
func (s *Session) note(n link.Note) {
	log := s.logOf(n.Account).With("account", n.Account)
	switch n.What {
	case link.NoteAccepted:
		s.mu.Lock()
		delete(s.state.Refused, n.Account)
		s.mu.Unlock()
	case link.NoteRefused:
		s.mu.Lock()
		s.state.Refused[n.Account] = n.Reason
		s.mu.Unlock()
		log.Error("account refused by the bridge", "reason", n.Reason)
	case link.NoteAttached, link.NoteContinued:
		log.Info("attached", "epoch", n.Epoch, "continues", n.What == link.NoteContinued)
	case link.NoteDetached:
		log.Info("detached", "epoch", n.Epoch, "reason", n.Reason)
	case link.NoteStandby:
		log.Info("standing by", "holder", n.Reason)
	case link.NoteRejected:
		s.metrics.rejected.Inc()
		log.Warn("object cannot be stored", "type", n.Group.GetType(), "key", n.Key, "reason", n.Reason)
	case link.NoteGaveUp:
		log.Error("rows stay different after comparing twice", "type", n.Group.GetType(), "links_to", n.Group.GetRelType())
	case link.NoteDiffers:
		log.Info("rows differ, comparing", "type", n.Group.GetType(), "links_to", n.Group.GetRelType())
	case link.NoteAgreed:
		log.Debug("rows agree", "type", n.Group.GetType(), "links_to", n.Group.GetRelType())
	case link.NoteDraining:
		log.Info("draining", "reason", n.Reason)
	case link.NoteWithdrawn, link.NoteSwept, link.NoteDiscarded, link.NoteChecked, link.NoteRemembered:
		// the bridge's to tell
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
