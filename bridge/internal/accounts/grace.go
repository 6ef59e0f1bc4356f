package accounts

import (
	"context"
	"slices"
	"time"
)

const (
	// graceInterval is how often accounts are looked for whose grace is over.
	graceInterval = time.Minute
	// settle is how long a bridge must have been there before it takes out anything: agents that could reach none come back first.
	settle = time.Hour
)

// expire takes out accounts that no agent has served for longer than somebody configured. Without that, absence takes out nothing.
func (r *Registry) expire(ctx context.Context) error {
	for _, name := range r.expired(time.Now()) {
		r.o.Log.Warn("account is taken out, because no agent has served it for longer than accounts.removeAfter", "account", name, "after", r.o.RemoveAfter.String())
		if _, _, err := r.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// expired lists the accounts whose grace is over.
func (r *Registry) expired(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.RemoveAfter <= 0 || !r.complete || now.Sub(r.began) < min(settle, r.o.RemoveAfter) {
		return nil
	}
	var names []string
	for name, a := range r.accounts {
		_, released := r.released[name]
		if len(r.serving[name]) > 0 || len(a.elsewhere) > 0 || r.removing[name] || released || a.lastSeen.IsZero() || now.Sub(a.lastSeen) <= r.o.RemoveAfter {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
