package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Leave tells a bridge that accounts leave Clouddriver for good, and returns when it has answered for each of them, or ctx ends. It is a
// session that serves nothing.
func Leave(ctx context.Context, cfg Config, names []string) error {
	if len(names) == 0 {
		return nil
	}
	s, err := New(cfg, nil)
	if err != nil {
		return err
	}
	open := make(map[string]bool, len(names))
	for _, name := range names {
		open[name] = true
	}
	answered, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // of open and refusals
	var refusals []error
	s.removal = func(v *linkv1.AccountVerdict) {
		mu.Lock()
		defer mu.Unlock()
		if !open[v.GetAccount()] {
			return
		}
		delete(open, v.GetAccount())
		if !v.GetAccepted() {
			refusals = append(refusals, fmt.Errorf("account %q stays: %s", v.GetAccount(), v.GetReason()))
		}
		if len(open) == 0 {
			cancel()
		}
	}
	s.step(func(now time.Time) { s.core.SetAccounts(now, nil, names) })
	if err := s.Run(answered); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if len(open) > 0 {
		reason := s.State().Problem
		if reason == "" {
			reason = "the bridge has not answered"
		}
		return errors.Join(append(refusals, fmt.Errorf("%d of %d accounts were not taken out of Clouddriver: %s", len(open), len(names), reason))...)
	}
	return errors.Join(refusals...)
}
