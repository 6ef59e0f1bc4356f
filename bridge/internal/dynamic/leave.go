package dynamic

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// letGo is how long agents have to let go of an account before it is taken out in any case.
const letGo = 10 * time.Second

// claimed lists the accounts on their way out that this bridge shall work on: it moved their due time by Due, or a person has just begun
// them. Of several bridges that saw one due, one could.
func (s *Service) claimed() []store.Dynamic {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []store.Dynamic
	for name, version := range s.claims {
		if row := s.rows[name]; row.Version == version && !s.working[name] {
			s.working[name] = true
			list = append(list, row)
		}
		delete(s.claims, name)
	}
	return list
}

// leave takes an account out of Clouddriver, beside Run.
func (s *Service) leave(ctx context.Context, row store.Dynamic) {
	s.leaves.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, LeaveTime-2*time.Second)
		defer cancel()
		err := s.takeOut(ctx, row.Name)
		if ctx.Err() == nil {
			e := Event{Kind: Left}
			if err != nil {
				e = Event{Kind: LeaveFailed, Reason: "take it out of Clouddriver: " + err.Error()}
			}
			if err := s.insist(ctx, row.Name, e); err != nil {
				s.o.Log.Warn("dynamic account could not leave yet", "account", row.Name, "error", err)
			}
		} // else a bridge goes on when the time is over
		s.mu.Lock()
		delete(s.working, row.Name)
		s.mu.Unlock()
		s.poke()
	})
}

// insist lets an event happen to a row as it is now, whoever changes it at the same time.
func (s *Service) insist(ctx context.Context, name string, e Event) error {
	for range tries {
		row, err := s.fresh(ctx, name)
		if err != nil {
			return err
		}
		r, err := Step(account(row), e)
		if err != nil || !r.Changed {
			return err
		}
		if done, err := s.apply(ctx, row, e, actor); done || err != nil {
			return err
		}
	}
	return nil
}

// takeOut waits until no agent serves the account, for a while, and takes it out. Rows, links and the list of accounts need no agent.
func (s *Service) takeOut(ctx context.Context, name string) error {
	patience := time.NewTimer(letGo)
	defer patience.Stop()
	for waiting := true; waiting; {
		changed := time.After(100 * time.Millisecond) // sessions that end are no change of the registry's
		if known, there := s.o.Registry.Get(name); !there || !known.Connected() {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			waiting = false
		case <-changed:
		}
	}
	_, _, err := s.o.Registry.Remove(ctx, name)
	return err
}
