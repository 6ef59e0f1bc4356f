package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/proto/link"
)

// SetAccounts replaces the accounts that are served, before Run or during it. An account whose Records are the same goes on as it is, with
// what it declares now; any other one ends or starts. Removed names accounts that a person took out: they leave Clouddriver.
func (s *Session) SetAccounts(accounts []Account, removed []string) error {
	s.mu.Lock()
	next, served, err := s.successors(accounts)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	before := s.accounts
	s.accounts = next
	s.core.SetAccounts(time.Now(), served, removed)
	for name, a := range before {
		if next[name] == a {
			continue
		}
		a.gone = true
		if a.cancel != nil {
			a.cancel()
		}
		delete(s.state.Refused, name)
	}
	for _, a := range next {
		s.begin(a)
	}
	s.collect()
	s.announce()
	s.mu.Unlock()
	wake(s.wakeSession)
	wake(s.wakeInventory)
	wake(s.wakeOperation)
	wake(s.wakeActor)
	return nil
}

// successors makes what serves the accounts from now on. The lock is held.
func (s *Session) successors(accounts []Account) (map[string]*account, []link.Served, error) {
	next := make(map[string]*account, len(accounts))
	served := make([]link.Served, 0, len(accounts))
	for _, a := range accounts {
		name := a.Declared.GetName()
		if next[name] != nil {
			return nil, nil, fmt.Errorf("account %q is there twice", name)
		}
		next[name] = &account{Account: a, session: s, name: name, live: map[cats.Type]bool{}}
		served = append(served, link.Served{Account: a.Declared, Records: records{a.Records}})
	}
	for name, had := range s.accounts {
		if a := next[name]; a != nil && a.Records == had.Records {
			had.Declared, had.Executor = a.Declared, a.Executor
			next[name] = had
		}
	}
	return next, served, nil
}

// begin has an account's cluster watched, once Run has begun. The lock is held.
func (s *Session) begin(a *account) {
	if s.watching == nil || a.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(s.watching)
	s.clusters.Go(func() {
		if err := a.Cluster.Run(ctx, a); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("account ends", "account", a.name, "error", err.Error())
		}
	})
}

// watch starts the accounts that there are; those that come later start at once, until ctx ends.
func (s *Session) watch(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching = ctx
	for _, a := range s.accounts {
		s.begin(a)
	}
}

// unwatch waits until no cluster is watched any more; the context given to watch has ended.
func (s *Session) unwatch() {
	s.mu.Lock()
	s.watching = nil
	s.mu.Unlock()
	s.clusters.Wait()
}

// served returns the account, nil if it is not served.
func (s *Session) served(name string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[name]
}

// all returns the accounts as they are now.
func (s *Session) all() []*account {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*account, 0, len(s.accounts))
	for _, a := range s.accounts {
		list = append(list, a)
	}
	return list
}

// errGone ends what still goes on for an account that is not served any more.
var errGone = errors.New("the account is not served any more")
