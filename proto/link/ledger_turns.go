package link

import "time"

// This file decides which operations run and which wait: each account has its share, whatever the API servers of others do.

// share is what an account has of the ledger.
type share struct{ running, waiting int }

// shares counts what each account has.
func (l *ledger) shares() map[string]share {
	shares := make(map[string]share)
	for _, e := range l.active {
		s := shares[e.account]
		if e.state == entryRunning {
			s.running++
		} else {
			s.waiting++
		}
		shares[e.account] = s
	}
	return shares
}

// mayRun tells whether an account with this share may begin one more. One that runs none always may.
func (l *ledger) mayRun(account string, s share) bool {
	each := l.cfg.Each
	if limit := l.limits[account]; limit > 0 {
		each = limit
	}
	return s.running == 0 || s.running < each && l.running < l.cfg.Running
}

// limit bounds the operations of an account that run at once; 0: as for all accounts. What runs goes on.
func (l *ledger) limit(now time.Time, account string, most int) {
	if most == l.limits[account] {
		return
	}
	if most <= 0 {
		delete(l.limits, account)
	} else {
		l.limits[account] = most
	}
	l.run(now)
}

// admits tells whether one more operation of the account may begin or wait.
func (l *ledger) admits(account string) bool {
	s := l.shares()[account]
	if l.mayRun(account, s) {
		return true
	}
	full := len(l.active)-l.running >= l.cfg.Waiting
	return l.cfg.Waiting > 0 && s.waiting < l.cfg.EachWaiting && (!full || s.waiting == 0)
}

// run starts waiting operations while there is room: of the account that has the fewest under way, the oldest.
func (l *ledger) run(now time.Time) {
	shares := l.shares()
	for {
		var next *entry
		for _, e := range l.active {
			if e.state == entryWaiting && l.mayRun(e.account, shares[e.account]) && (next == nil || shares[e.account].running < shares[next.account].running) {
				next = e
			}
		}
		if next == nil {
			return
		}
		s := shares[next.account]
		shares[next.account] = share{running: s.running + 1, waiting: s.waiting - 1}
		next.state, next.ran, next.began = entryRunning, true, now
		l.running++
		l.do(StartOperation{ID: next.id, Account: next.account, Operation: next.operation, Mutation: next.mutation, Timeout: next.deadline.Sub(now)})
		next.operation = nil
	}
}
