package operations

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Stream is the operations stream of one session, as the session's shell sees it.
type Stream struct {
	// Wake gets a value when Next may have a frame.
	Wake chan struct{}
	// Ignored is told of frames about operations that the agent does not have: late, nobody waits for it any more; foreign, it is another agent's. May be nil; set
	// it before the first Received.
	Ignored func(operation string, foreign bool)

	router            *Router
	session, instance string

	// Guarded by Router.mu: what other bridges send through this session (relay.go).
	draining  bool
	relays    map[*Relay]bool
	relayed   map[string]*relayed
	down      []*linkv1.OperationDown
	relayNext bool
}

// Open tells that a session's operations stream is up; instance names its agent's process.
func (r *Router) Open(session, instance string) *Stream {
	s := &Stream{Wake: make(chan struct{}, 1), router: r, session: session, instance: instance, relays: map[*Relay]bool{}, relayed: map[string]*relayed{}}
	r.step(func(now time.Time) {
		r.streams[session] = s
		r.tracker.Open(now, session, instance)
	})
	return s
}

// Next returns the next frame to send, nil when there is none.
func (s *Stream) Next() *linkv1.OperationDown {
	s.router.mu.Lock()
	defer s.router.mu.Unlock()
	// This bridge's operations and those of others take turns.
	if s.relayNext = !s.relayNext; s.relayNext {
		if frame := s.nextRelayed(); frame != nil {
			return frame
		}
	}
	if frame := s.router.tracker.Next(time.Now(), s.session); frame != nil {
		return frame
	}
	return s.nextRelayed()
}

// Received takes a frame from the agent. An error means that it broke the protocol: close the session.
func (s *Stream) Received(frame *linkv1.OperationUp) error {
	var err error
	var late, foreign bool
	s.router.step(func(now time.Time) {
		if !s.passUp(frame) {
			late, foreign = s.router.tracker.Ignores(s.session, frame)
			err = s.router.tracker.Received(now, s.session, frame)
		}
	})
	if (late || foreign) && s.Ignored != nil {
		s.Ignored(frame.GetId(), foreign)
	}
	return err
}

// Serve tells that a session takes operations for an account; preferred, when it caches it too.
func (r *Router) Serve(session, account string, preferred bool) {
	r.step(func(now time.Time) { r.tracker.Serve(now, session, account, preferred) })
}

// Withdraw tells that a session no longer takes operations for an account.
func (r *Router) Withdraw(session, account string) {
	r.step(func(now time.Time) { r.tracker.Withdraw(now, session, account) })
}

// Drain tells that nothing new shall go to a session.
func (r *Router) Drain(session string) {
	r.step(func(now time.Time) {
		if s := r.streams[session]; s != nil {
			s.draining = true
		}
		r.tracker.Drain(now, session)
	})
}

// Lost tells that a session is over. Operations that it had wait for the same agent process to come back.
func (r *Router) Lost(session string) {
	r.step(func(now time.Time) {
		if s := r.streams[session]; s != nil {
			for relay := range s.relays {
				relay.end(ErrNoSession)
			}
		}
		delete(r.streams, session)
		r.tracker.Lost(now, session)
	})
}

// Busy reports whether operations of a session are open.
func (r *Router) Busy(session string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[session]
	return r.tracker.Busy(session) || s != nil && s.relaying()
}
