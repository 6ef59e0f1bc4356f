package link

import (
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file holds what the ledger does with output: it is kept until the caller has it, bounded for each operation and for all.

// loseOutput gives up an output that cannot be delivered whole. A read is stopped, its caller may ask anew; a change runs on, and only
// that it ended is told.
func (l *ledger) loseOutput(e *entry) {
	const reason = "its output was dropped to make room"
	l.discard(e)
	e.sent = e.produced
	switch {
	case e.state == entryFinished && e.outcome.GetState() == linkv1.Outcome_STATE_DONE:
		e.outcome = lost(reason)
	case e.state == entryRunning:
		e.outcome = lost(reason)
		if !e.mutation {
			l.stop(e, reason)
		}
	}
	l.wake(e)
}

func (l *ledger) discard(e *entry) {
	for _, c := range e.chunks {
		l.bytes -= len(c)
	}
	e.chunks, e.base = nil, e.produced
}

// shed drops kept output, of the oldest results first, until there is room for n bytes or nothing is left.
func (l *ledger) shed(n int) {
	for _, asked := range []bool{false, true} {
		for _, e := range l.finished {
			if l.bytes+n <= l.cfg.Bytes {
				return
			}
			if e.asked == asked && len(e.chunks) > 0 {
				l.loseOutput(e)
			}
		}
	}
}

// room is how much output an operation may give: what its bridge allows, as far as it can be kept.
func (l *ledger) room(id string) int {
	e := l.entries[id]
	switch {
	case e == nil || e.state != entryRunning:
		return 0
	case e.abandoned || e.outcome != nil:
		// It is thrown away; the operation shall not wait.
		return maxChunk
	}
	kept := e.produced - e.base
	allowed := uint64(0)
	if e.limit > e.produced && kept < e.window {
		allowed = min(e.limit-e.produced, e.window-kept)
	}
	l.shed(int(allowed))
	if l.bytes+int(allowed) > l.cfg.Bytes {
		most := uint64(max(l.cfg.Bytes-l.bytes, 0))
		if kept < minRoom {
			most = max(most, minRoom-kept)
		}
		allowed = min(allowed, most)
	}
	return int(allowed)
}

func (l *ledger) output(id string, data []byte) {
	e := l.entries[id]
	if e == nil || e.state != entryRunning || len(data) == 0 {
		return
	}
	e.produced += uint64(len(data))
	if e.abandoned || e.outcome != nil {
		e.base, e.sent = e.produced, e.produced
		return
	}
	l.bytes += len(data)
	if n := len(e.chunks); n > 0 && len(e.chunks[n-1])+len(data) <= minRoom {
		// Frames that were handed out end where the chunk ended then, so growing it does not touch them.
		e.chunks[n-1] = append(e.chunks[n-1], data...)
		data = nil
	}
	for len(data) > 0 {
		n := min(len(data), maxChunk)
		e.chunks = append(e.chunks, data[:n:n])
		data = data[n:]
	}
	l.wake(e)
}

// trim forgets output that the caller has: whatever lies a window or more before what it allows.
func (l *ledger) trim(e *entry) {
	if e.limit < e.window {
		return
	}
	taken := min(e.limit-e.window, e.sent)
	for len(e.chunks) > 0 && e.base+uint64(len(e.chunks[0])) <= taken {
		e.base += uint64(len(e.chunks[0]))
		l.bytes -= len(e.chunks[0])
		e.chunks = e.chunks[1:]
	}
}

// wake puts an entry in line if it may have something to send.
func (l *ledger) wake(e *entry) {
	if !e.queued && !e.gone && e.asked && !e.abandoned && (e.sent < e.produced && e.sent < e.limit || l.canTell(e)) {
		e.queued = true
		l.ready.push(e)
	}
}

// canTell: a read whose output was lost is answered before it has stopped.
func (l *ledger) canTell(e *entry) bool {
	return !e.told && e.outcome != nil && e.sent == e.produced && (e.state == entryFinished || !e.mutation)
}

func (l *ledger) next() *linkv1.OperationUp {
	for {
		e, ok := l.ready.pop()
		if !ok {
			return nil
		}
		e.queued = false
		if e.gone || !e.asked || e.abandoned {
			continue
		}
		if data := e.slice(); len(data) > 0 {
			frame := &linkv1.OperationUp{Id: e.id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: e.sent, Data: data}}}
			e.sent += uint64(len(data))
			l.trim(e)
			l.wake(e)
			return frame
		}
		if l.canTell(e) {
			e.told = true
			return &linkv1.OperationUp{Id: e.id, Frame: &linkv1.OperationUp_Outcome{Outcome: e.outcome}}
		}
	}
}

// slice is the next output to send.
func (e *entry) slice() []byte {
	at := e.base
	for _, c := range e.chunks {
		if e.sent < at+uint64(len(c)) {
			data := c[e.sent-at:]
			most := min(e.limit-min(e.limit, e.sent), maxChunk)
			return data[:min(uint64(len(data)), most)]
		}
		at += uint64(len(c))
	}
	return nil
}
