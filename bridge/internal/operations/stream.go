package operations

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Stream is the operations stream of one session, as the session's shell sees it.
type Stream struct {
	// Wake gets a value when Next may have a frame.
	Wake chan struct{}

	router  *Router
	session string
}

// Open tells that a session's operations stream is up; instance names its agent's process.
func (r *Router) Open(session, instance string) *Stream {
	s := &Stream{Wake: make(chan struct{}, 1), router: r, session: session}
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
	return s.router.tracker.Next(time.Now(), s.session)
}

// Received takes a frame from the agent. An error means that it broke the protocol: close the session.
func (s *Stream) Received(frame *linkv1.OperationUp) error {
	var err error
	s.router.step(func(now time.Time) { err = s.router.tracker.Received(now, s.session, frame) })
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
	r.step(func(now time.Time) { r.tracker.Drain(now, session) })
}

// Lost tells that a session is over. Operations that it had wait for the same agent process to come back.
func (r *Router) Lost(session string) {
	r.step(func(now time.Time) {
		delete(r.streams, session)
		r.tracker.Lost(now, session)
	})
}

// Busy reports whether operations of a session are open.
func (r *Router) Busy(session string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tracker.Busy(session)
}
