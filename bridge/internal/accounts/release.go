package accounts

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// Release hands an account back to Clouddriver's own polling: nobody attaches it any more, then everything that is cached of it goes, and
// only then does it leave the list, so that the first poll finds nothing of ours. Agents that declare it are refused until Resume. It
// returns how many rows were deleted, and whether the account was there.
func (r *Registry) Release(ctx context.Context, name string) (deleted int, found bool, err error) {
	known, err := r.o.Store.Accounts(ctx, []string{name})
	if err != nil || len(known) == 0 && !r.isReleased(name) {
		return 0, false, err
	}
	if err := r.o.Store.Release(ctx, name); err != nil {
		return 0, true, err
	}
	r.mu.Lock()
	if _, known := r.released[name]; !known {
		r.released[name] = time.Now()
		r.stored++
		r.announce()
	}
	r.mu.Unlock()
	if deleted, err = r.o.Remover.Remove(ctx, name); err != nil {
		return deleted, true, err
	}
	more, _, err := r.Remove(ctx, name)
	r.o.Log.Info("account released to Clouddriver's own polling", "account", name, "rows", deleted+more)
	return deleted + more, true, err
}

// Resume takes a released account back, or ends its pause: the agent that declares it may attach again. It tells whether it was either.
func (r *Registry) Resume(ctx context.Context, name string) (found bool, err error) {
	paused, err := r.unpause(ctx, name)
	if err != nil {
		return false, err
	}
	if found, err = r.o.Store.Resume(ctx, name); err != nil || !found {
		return paused || found, err
	}
	r.mu.Lock()
	delete(r.released, name)
	r.stored++
	r.announce()
	r.mu.Unlock()
	r.o.Log.Info("account resumed", "account", name)
	return true, nil
}

// Released returns the accounts that are released, and since when.
func (r *Registry) Released() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.released)
}

func (r *Registry) isReleased(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, released := r.released[name]
	return released
}

// refuseReleased says why an account is not taken; "" if it is.
func (r *Registry) refuseReleased(name string) string {
	if !r.isReleased(name) {
		return ""
	}
	return fmt.Sprintf("account %q was released to Clouddriver's own polling; \"fairlead accounts resume %s\" takes it back", name, name)
}

// takeReleases replaces what is known of releases. The lock is held.
func (r *Registry) takeReleases(now map[string]int64) {
	next := times(now)
	same := maps.EqualFunc(r.released, next, func(_, _ time.Time) bool { return true })
	if r.released = next; !same {
		r.announce()
	}
}

// endReleases ends those that were begun and whose bridge did not end them: the account is there still.
func (r *Registry) endReleases(ctx context.Context, revisions map[string]uint64) error {
	for name := range r.Released() {
		if _, there := revisions[name]; !there {
			continue
		}
		if _, _, err := r.Release(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
