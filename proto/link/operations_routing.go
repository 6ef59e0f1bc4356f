package link

import (
	"sort"
	"time"
)

// This file decides which session has an operation.

func (o *Operations) session(id string) *operationSession {
	s := o.sessions[id]
	if s == nil {
		s = &operationSession{id: id, accounts: make(map[string]bool)}
		o.sessions[id] = s
	}
	return s
}

// line puts something in line for a session.
func (o *Operations) line(s *operationSession, l line) {
	s.lines.push(l)
	if !s.listed {
		s.listed = true
		o.ready.push(s)
	}
}

// NextReady returns a session for whose stream Next may have a frame, each once after it got some; false when there is none. Ask after each
// input, until there is none.
func (o *Operations) NextReady() (session string, ok bool) {
	s, ok := o.ready.pop()
	if !ok {
		return "", false
	}
	s.listed = false
	return s.id, true
}

// Open tells that a session's operations stream is up. Instance is the agent process's.
func (o *Operations) Open(now time.Time, session, instance string) {
	s := o.session(session)
	if !s.up {
		s.up, s.instance = true, instance
		o.instances[instance] = append(o.instances[instance], s)
	}
	o.assignAll(now)
}

func addSession(index map[string][]*operationSession, key string, s *operationSession) {
	list := index[key]
	at := sort.Search(len(list), func(i int) bool { return list[i].id >= s.id })
	if at < len(list) && list[at] == s {
		return
	}
	list = append(list, nil)
	copy(list[at+1:], list[at:])
	list[at] = s
	index[key] = list
}

func removeSession(index map[string][]*operationSession, key string, s *operationSession) {
	list := index[key]
	for i := range list {
		if list[i] == s {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(index, key)
	} else {
		index[key] = list
	}
}

// Serve tells that a session takes operations for the account (NoteAccepted); the preferred one (NoteAttached, NoteContinued) comes first.
func (o *Operations) Serve(now time.Time, session, account string, preferred bool) {
	s := o.session(session)
	s.accounts[account] = preferred
	addSession(o.serving, account, s)
	o.assignAll(now)
}

// Withdraw tells that a session no longer takes operations for the account. What it has goes on.
func (o *Operations) Withdraw(now time.Time, session, account string) {
	if s := o.sessions[session]; s != nil {
		delete(s.accounts, account)
		removeSession(o.serving, account, s)
		o.recall(now, s, func(op *openOperation) bool { return op.Account == account })
	}
}

// Drain tells that nothing new shall go to the session; what it has may finish.
func (o *Operations) Drain(now time.Time, session string) {
	if s := o.sessions[session]; s != nil {
		s.draining = true
		o.recall(now, s, func(*openOperation) bool { return true })
	}
}

// recall gives operations elsewhere that were not handed out yet.
func (o *Operations) recall(now time.Time, s *operationSession, which func(*openOperation) bool) {
	for _, op := range o.order {
		if op.session == s && !op.sent && which(op) {
			o.unassign(op)
		}
	}
	o.assignAll(now)
}

// Lost tells that a session's streams are gone. It touches nothing of a newer session of the same agent.
func (o *Operations) Lost(now time.Time, session string) {
	s := o.sessions[session]
	if s == nil {
		return
	}
	delete(o.sessions, session)
	removeSession(o.instances, s.instance, s)
	for account := range s.accounts {
		removeSession(o.serving, account, s)
	}
	for _, op := range o.order {
		if op.session == s {
			op.since = now
			o.unassign(op)
		}
	}
	o.assignAll(now)
}

func (o *Operations) unassign(op *openOperation) {
	if op.session != nil {
		op.session.load--
	}
	op.session, op.sent = nil, false
}

// Busy reports whether operations of the session are open, or frames for it are due.
func (o *Operations) Busy(session string) bool {
	s := o.sessions[session]
	return s != nil && s.up && (s.load > 0 || s.lines.len() > 0)
}

func (o *Operations) assignAll(now time.Time) {
	for _, op := range o.order {
		o.assign(now, op)
	}
	o.compact()
}

// assign gives an operation that has no session to one, if one may have it.
func (o *Operations) assign(now time.Time, op *openOperation) {
	if op.session != nil || op.done {
		return
	}
	s := o.pick(op)
	if s == nil {
		return
	}
	if op.instance != "" && s.instance != op.instance {
		// A read that another process began. Once output was delivered, only that process could go on with it.
		if now.Before(op.since.Add(o.cfg.Grace)) {
			return
		}
		if op.received > 0 {
			o.finish(op, lost("the agent that ran it went away in the middle of its output"), false)
			return
		}
		op.instance = ""
	}
	op.session, op.sent = s, false
	s.load++
	o.line(s, line{kind: startLine, op: op, wire: op.wire})
}

// pick chooses the session that may have an operation: the process that began it if it is there; for what nobody else may
// begin, none but that.
func (o *Operations) pick(op *openOperation) *operationSession {
	if op.instance != "" {
		if there := o.instances[op.instance]; len(there) > 0 {
			return there[len(there)-1]
		}
		if op.Mutation {
			return nil
		}
	}
	var best *operationSession
	for _, s := range o.serving[op.Account] {
		switch {
		case !s.up || s.draining || op.cancelled || op.refused[s.instance] != nil:
		case best == nil:
			best = s
		case op.Spread || s.accounts[op.Account] == best.accounts[op.Account]:
			if s.load < best.load {
				best = s
			}
		case s.accounts[op.Account]:
			best = s
		}
	}
	return best
}

// Serves tells whether the session takes operations for the account.
func (o *Operations) Serves(session, account string) bool {
	s := o.sessions[session]
	if s == nil {
		return false
	}
	_, serves := s.accounts[account]
	return serves
}

// Unserved lists the accounts, each once and sorted, that have an operation which waits for a session.
func (o *Operations) Unserved() []string {
	waiting := make(map[string]bool)
	for _, op := range o.order {
		if op.session == nil && !op.done {
			waiting[op.Account] = true
		}
	}
	accounts := make([]string, 0, len(waiting))
	for account := range waiting {
		accounts = append(accounts, account)
	}
	sort.Strings(accounts)
	return accounts
}

// Knows tells whether an id on the wire is one of these operations.
func (o *Operations) Knows(wire string) bool { return o.wires[wire] != nil }

// served tells whether a session that is up serves the account.
func (o *Operations) served(account string) bool {
	for _, s := range o.serving[account] {
		if s.up {
			return true
		}
	}
	return false
}
