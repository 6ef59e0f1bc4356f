package operations

import (
	"errors"
	"fmt"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// relayUpBytes is the output that may wait for another bridge. It reads as fast as it gave credit, unless it is stuck.
	relayUpBytes = 64 << 20
	// relayFrames is how many frames of other bridges may wait for one agent.
	relayFrames = 4096
	// relayRetain is how long after its deadline an operation may still be asked for (link.LedgerConfig.Retain).
	relayRetain = 10 * time.Minute
)

var (
	// ErrNoSession says that a session is not, or no longer, at this bridge.
	ErrNoSession = errors.New("the session is not at this bridge")
	// ErrSlow says that another bridge does not read what it asked for.
	ErrSlow = errors.New("the other bridge does not read what it asked for")
)

// Relay is another bridge's way to the agent of a session of this bridge. Frames pass through; ids, credit and results are the other
// bridge's. When the relay breaks, what it asked for is kept by the agent until it is asked for again by the same id.
type Relay struct {
	// Wake gets a value when Next may have a frame, or the relay has ended.
	Wake chan struct{}
	// Instance is the agent's process.
	Instance string

	stream *Stream
	// Guarded by Router.mu.
	up      []*linkv1.OperationUp
	upBytes int
	ended   error
}

// relayed is an operation of another bridge. relay is nil while that bridge is cut off.
type relayed struct {
	relay *Relay
	until time.Time
}

// Relay opens a way to the agent of a session. Errors: ErrNoSession.
func (r *Router) Relay(session string) (*Relay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[session]
	if s == nil || s.draining {
		return nil, ErrNoSession
	}
	relay := &Relay{Wake: make(chan struct{}, 1), Instance: s.instance, stream: s}
	s.relays[relay] = true
	return relay, nil
}

// Received takes a frame for the agent. An error ends the relay.
func (y *Relay) Received(frame *linkv1.OperationDown) error {
	s, r := y.stream, y.stream.router
	r.mu.Lock()
	defer r.mu.Unlock()
	id := frame.GetId()
	switch start := frame.GetStart(); {
	case y.ended != nil:
		return y.ended
	case id == "" || r.tracker.Knows(id):
		return fmt.Errorf("operation %q is not the other bridge's", id)
	case len(s.down) >= relayFrames:
		return ErrSlow
	case start != nil && s.draining:
		// Its own bridge asks again by the same id where the agent goes.
		return ErrNoSession
	case start != nil && !r.tracker.Serves(s.session, start.GetAccount()):
		y.push(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{
			State: linkv1.Outcome_STATE_NOT_STARTED, Reason: fmt.Sprintf("the agent no longer serves account %q", start.GetAccount())}}})
		return nil
	case start != nil:
		s.relayed[id] = &relayed{relay: y, until: time.Now().Add(time.Duration(start.GetDeadlineMs())*time.Millisecond + relayRetain)} //nolint:gosec // a day at most
	case frame.GetReceived() != nil:
		if s.relayed[id] == nil {
			return nil // of what was refused here, the agent knows nothing
		}
		delete(s.relayed, id)
	}
	s.down = append(s.down, frame)
	wake(s.Wake)
	return nil
}

// Next returns the next frame for the other bridge, nil when there is none; an error when the relay has ended.
func (y *Relay) Next() (*linkv1.OperationUp, error) {
	r := y.stream.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(y.up) == 0 {
		return nil, y.ended
	}
	frame := y.up[0]
	y.up = y.up[1:]
	y.upBytes -= len(frame.GetOutput().GetData())
	return frame, nil
}

// Close ends the relay. What it asked for may be asked for again.
func (y *Relay) Close() {
	y.stream.router.mu.Lock()
	defer y.stream.router.mu.Unlock()
	y.end(ErrNoSession)
}

// end is Close with a reason. The lock is held.
func (y *Relay) end(reason error) {
	if y.ended == nil {
		y.ended = reason
	}
	delete(y.stream.relays, y)
	for _, op := range y.stream.relayed {
		if op.relay == y {
			op.relay = nil
		}
	}
	wake(y.Wake)
}

// push hands a frame to the other bridge. The lock is held.
func (y *Relay) push(frame *linkv1.OperationUp) {
	y.up = append(y.up, frame)
	if y.upBytes += len(frame.GetOutput().GetData()); y.upBytes > relayUpBytes {
		y.up, y.upBytes = nil, 0
		y.end(ErrSlow)
	}
	wake(y.Wake)
}

// passUp hands a frame of the agent to the bridge that asked, and tells whether it was another one. While that is cut off the frame
// is dropped: it is asked for again. The lock is held.
func (s *Stream) passUp(frame *linkv1.OperationUp) bool {
	op := s.relayed[frame.GetId()]
	if op == nil {
		return false
	}
	if op.relay != nil {
		op.relay.push(frame)
	}
	return true
}

// nextRelayed returns the next frame of other bridges. The lock is held.
func (s *Stream) nextRelayed() *linkv1.OperationDown {
	if len(s.down) == 0 {
		return nil
	}
	frame := s.down[0]
	s.down = s.down[1:]
	return frame
}

// relaying tells whether other bridges wait for operations. The lock is held.
func (s *Stream) relaying() bool {
	for _, op := range s.relayed {
		if op.relay != nil {
			return true
		}
	}
	return false
}

// forgetRelayed drops what nobody can ask for any more. The lock is held.
func (s *Stream) forgetRelayed(now time.Time) {
	for id, op := range s.relayed {
		if op.relay == nil && now.After(op.until) {
			delete(s.relayed, id)
		}
	}
}
