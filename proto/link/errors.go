package link

import "errors"

// ErrFull: the tracker holds as many operations as it may.
var ErrFull = errors.New("too many operations are open")

// ErrAccountFull: it holds as many of one account as it may.
var ErrAccountFull = errors.New("too many operations of this account are open")

// ErrDuplicate: an operation of that id is open.
var ErrDuplicate = errors.New("an operation of that id is open already")

// ProtocolError says how an agent broke the protocol of an operation.
type ProtocolError struct {
	Operation string
	What      string
}

func (e *ProtocolError) Error() string { return "operation " + e.Operation + ": " + e.What }
