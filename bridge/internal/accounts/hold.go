package accounts

import (
	"context"
	"time"
)

const (
	// holdFor is how long a hold outlives its bridge, and renewHold how often it is renewed.
	holdFor   = time.Minute
	renewHold = 20 * time.Second
)

// HoldNew keeps accounts that never were attached from being attached, at any bridge, until ctx ends. It calls held once the registry knows
// every account that may have rows by then. An error comes from the database, or from held.
func (r *Registry) HoldNew(ctx context.Context, held func() error) error {
	if err := r.o.Store.Hold(ctx, r.o.Bridge, holdFor); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := r.o.Store.EndHold(ctx, r.o.Bridge); err != nil {
			r.o.Log.Warn("new accounts are attached a minute late", "error", err)
		}
	}()
	if err := r.poll(ctx); err != nil {
		return err
	}
	if err := held(); err != nil {
		return err
	}
	ticker := time.NewTicker(renewHold)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.o.Store.Hold(ctx, r.o.Bridge, holdFor); err != nil {
			r.o.Log.Warn("new accounts may be attached while Clouddriver cleans up", "error", err)
		}
	}
}
