package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

const (
	// recheckEvery is how often it is asked whether who calls still may.
	recheckEvery = time.Second
	// expirySoon is how long before its end a certificate is spoken of.
	expirySoon = 30 * 24 * time.Hour
	// expiryHeard is how long a certificate is spoken of that nobody shows any more.
	expiryHeard = 10 * time.Minute
)

// expiry is a certificate that ends soon.
type expiry struct {
	name       string
	end, heard time.Time
}

// watched is the context of a call, which ends when the caller's identity does. A certificate that expires ends no operation, only the stream of
// accounts, so that the plugin comes back with its present one.
func watched(ctx context.Context, who identity.Identity, accounts bool) (context.Context, func()) {
	if who.Ended == nil && who.Recheck == nil && (!accounts || who.Until.IsZero()) {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-who.Ended:
				cancel(fmt.Errorf("%s was revoked", who.Name))
				return
			case now := <-tick.C:
				if accounts && !who.Until.IsZero() && now.After(who.Until) {
					cancel(fmt.Errorf("%s has expired", who.Name))
				}
				if who.Recheck == nil {
					continue
				}
				if err := who.Recheck(); err != nil {
					cancel(err)
				}
			}
		}
	}()
	return ctx, func() {
		cancel(errors.New("the call is over"))
		<-done
	}
}

func (s *Server) noteExpiry(who identity.Identity) {
	if now := time.Now(); !who.Until.IsZero() && who.Until.Sub(now) < expirySoon {
		s.expiring.Store(&expiry{name: who.Name, end: who.Until, heard: now})
	}
}

// Problem says that a remote plugin's certificate ends soon; "": none does.
func (s *Server) Problem() string {
	e := s.expiring.Load()
	if e == nil || time.Since(e.heard) > expiryHeard {
		return ""
	}
	return fmt.Sprintf("the %s of Clouddriver's plugin expires at %s: \"fairlead plugin certificate\" makes another one", e.name, e.end.UTC().Format(time.RFC3339))
}
