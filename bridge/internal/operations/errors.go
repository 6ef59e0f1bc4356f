package operations

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrUnknownAccount says that no agent ever declared the account.
var ErrUnknownAccount = errors.New("no agent has declared this account")

// AbsentError says that an operation never began, because no agent that serves its account was connected in time.
type AbsentError struct {
	Account string
	// LastSeen is zero when no session of the account has ended yet.
	LastSeen time.Time
	// Elsewhere are other bridges that have an agent of the account.
	Elsewhere []string
	// Since is how long ago LastSeen was; Waited how long the operation waited.
	Since, Waited time.Duration
}

func (e *AbsentError) Error() string {
	seen := "never seen"
	if !e.LastSeen.IsZero() {
		seen = fmt.Sprintf("last seen %s ago", e.Since.Round(time.Second))
	}
	waited := "; did not wait"
	if e.Waited >= time.Second {
		waited = fmt.Sprintf("; waited %s", e.Waited.Round(time.Second))
	}
	if len(e.Elsewhere) > 0 {
		return fmt.Sprintf("agent for account %q is connected to bridge %s, which this bridge does not reach%s; nothing was changed; see peers.address and peers.advertise there",
			e.Account, strings.Join(e.Elsewhere, ", "), waited)
	}
	return fmt.Sprintf("agent for account %q is not connected (%s)%s; nothing was changed", e.Account, seen, waited)
}

// NotStarted is true: the operation may be given to somebody again.
func (e *AbsentError) NotStarted() bool { return true }

// busyError says that the bridge has as many operations as it may.
type busyError struct{ err error }

func (e *busyError) Error() string {
	return "this bridge is too busy, the operation was not started: " + e.err.Error()
}
func (e *busyError) Unwrap() error    { return e.err }
func (e *busyError) NotStarted() bool { return true }
