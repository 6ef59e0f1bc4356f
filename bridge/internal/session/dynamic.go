package session

import (
	"time"

	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// tellDynamic tells who gives accounts at run time what the agent declares now.
func (e *session) tellDynamic(accounts []*linkv1.Account) {
	d := e.service.cfg.Dynamic
	if d == nil {
		return
	}
	e.mu.Lock()
	agent, takes := e.agent, link.Capability(e.agent.GetCapability()) >= link.Dynamic
	e.mu.Unlock()
	d.Declared(dynamic.Session{
		ID: e.id, Agent: agent, Identity: e.identity, Takes: takes,
		Assign:   func(a *linkv1.Assign) { e.step(func(now time.Time) { e.core.Assign(now, a) }) },
		Withdraw: func(account string) { e.step(func(now time.Time) { e.core.Withdraw(now, account) }) },
		Close: func(reason string) {
			e.step(func(now time.Time) { e.core.Close(now, linkv1.Close_CODE_RETRY, reason, 0) })
		},
	}, accounts)
	if e.ctx.Err() != nil {
		d.Left(e.id) // it may have left before it was told of
	}
}

// tellUnassigned passes on why the agent does not serve dynamic accounts.
func (e *session) tellUnassigned() {
	e.mu.Lock()
	said := e.unassigned
	e.unassigned = nil
	e.mu.Unlock()
	for _, a := range said {
		if d := e.service.cfg.Dynamic; d != nil {
			d.Unassigned(e.id, a)
		}
	}
}
