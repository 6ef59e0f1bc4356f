package testenv

import "context"

// later is a value that one part of Up makes and others wait for.
type later[T any] struct {
	made  chan struct{}
	value T
}

func newLater[T any]() *later[T] { return &later[T]{made: make(chan struct{})} }

// set makes the value; once.
func (l *later[T]) set(value T) {
	l.value = value
	close(l.made)
}

// get waits for the value. If it never comes, because making it failed, ctx ends.
func (l *later[T]) get(ctx context.Context) (T, error) {
	select {
	case <-l.made:
		return l.value, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
