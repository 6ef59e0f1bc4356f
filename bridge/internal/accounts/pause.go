package accounts

import (
	"context"
	"maps"
	"time"
)

// Pause has an account's caching stand still: nobody attaches it any more, what is cached stays as it is, operations go on. It tells whether
// the account was there.
func (r *Registry) Pause(ctx context.Context, name string) (found bool, err error) {
	known, err := r.o.Store.Accounts(ctx, []string{name})
	if err != nil || len(known) == 0 {
		return false, err
	}
	if err := r.o.Store.Pause(ctx, name); err != nil {
		return true, err
	}
	r.mu.Lock()
	if _, known := r.paused[name]; !known {
		r.paused[name] = time.Now()
	}
	r.stored++
	r.mu.Unlock()
	r.o.Log.Info("caching of account paused", "account", name)
	return true, nil
}

// unpause ends a pause. It tells whether there was one.
func (r *Registry) unpause(ctx context.Context, name string) (found bool, err error) {
	if found, err = r.o.Store.Unpause(ctx, name); err != nil || !found {
		return found, err
	}
	r.mu.Lock()
	delete(r.paused, name)
	r.stored++
	r.mu.Unlock()
	r.o.Log.Info("caching of account goes on", "account", name)
	return true, nil
}

// Paused returns the accounts that are paused, and since when.
func (r *Registry) Paused() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.paused)
}

// IsPaused tells whether an account is paused.
func (r *Registry) IsPaused(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, paused := r.paused[name]
	return paused
}

func times(ms map[string]int64) map[string]time.Time {
	list := make(map[string]time.Time, len(ms))
	for name, since := range ms {
		list[name] = time.UnixMilli(since)
	}
	return list
}
