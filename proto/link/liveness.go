package link

import "time"

// liveness is the one rule by which either end decides that the other is gone: nothing was heard on any stream of the session for
// Silence. The agent beats once in each interval and the bridge sends the beat back, so an idle session is heard on both
// sides, and a connection that is dead in one direction is noticed by the side that hears nothing; its Close, or the end of the
// connection, tells the other. Nothing else (no keepalive, no database row, no age of a frame) ends a session for silence.
//
// Only differences of one process's own clock are used, so the clocks of the two sides need not agree.
type liveness struct {
	interval, silence time.Duration
	heard, beaten     time.Time
	beats             uint64
}

// begin starts the rule afresh: a new session has its full time, whatever came before.
func (l *liveness) begin(now time.Time, interval, silence time.Duration) {
	l.interval, l.silence = interval, silence
	l.heard, l.beaten = now, now
}

func (l *liveness) hear(now time.Time) {
	if now.After(l.heard) {
		l.heard = now
	}
}

// due tells whether a beat has to be sent, and counts it.
func (l *liveness) due(now time.Time) bool {
	if l.interval <= 0 || now.Sub(l.beaten) < l.interval {
		return false
	}
	l.beaten = now
	l.beats++
	return true
}

func (l *liveness) silent(now time.Time) bool {
	return l.silence > 0 && now.Sub(l.heard) >= l.silence
}
