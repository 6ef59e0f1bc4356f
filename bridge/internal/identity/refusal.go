package identity

import (
	"errors"
	"fmt"
)

// ErrUnauthenticated says that what was shown proves nothing.
var ErrUnauthenticated = errors.New("the enrolment token is missing, unknown, expired or revoked: make one with \"fairlead token create --accounts PATTERN\"")

// Refusal is ErrUnauthenticated with the reason, in words for the agent's log. Only who has shown something real is told more than the general
// text.
type Refusal struct {
	Reason string
	// Invalid: the request itself makes no sense, whoever sent it.
	Invalid bool
}

func (r *Refusal) Error() string { return r.Reason }

// Is makes a refusal an ErrUnauthenticated.
func (r *Refusal) Is(target error) bool { return target == ErrUnauthenticated }

func refused(format string, arguments ...any) error {
	return &Refusal{Reason: fmt.Sprintf(format, arguments...)}
}

func revokedToken(id string) error {
	return refused("the enrolment token %s was revoked: make another one with \"fairlead token create --accounts PATTERN\"", id)
}

func expiredToken(id string) error {
	return refused("the enrolment token %s has expired: make another one with \"fairlead token create --accounts PATTERN\"", id)
}
