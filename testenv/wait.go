package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
)

// WaitInterval is how often Wait looks.
const WaitInterval = 25 * time.Millisecond

// Wait calls condition until it returns nil. When ctx is done first, the error says so and holds what condition said
// last.
func Wait(ctx context.Context, condition func(context.Context) error) error {
	again := time.NewTicker(WaitInterval)
	defer again.Stop()
	last := errors.New("never asked")
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		// What a condition says because ctx ended says nothing about the thing waited for.
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), last)
		case <-again.C:
		}
	}
}

// errEnded marks the end of a process that was waited for.
var errEnded = errors.New("the process ended")

// awaitPart waits until a started process is ready; it gives up when the process ends. The error holds the end of its
// log.
func awaitPart(ctx context.Context, p *process.Process, limit time.Duration, ready func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready after %s", limit))
	defer cancel()
	limited, end := context.WithCancelCause(limited)
	defer end(nil)
	err := Wait(limited, func(ctx context.Context) error {
		if !p.Alive() {
			end(errEnded)
			return errEnded
		}
		return ready(ctx)
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%s: %w (%w); end of %s:\n%s", p.Name, context.Cause(limited), err, p.Log, tailOf(p.Log))
}

// tailOf returns the last lines of a log.
func tailOf(path string) string {
	const most = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "(no log)"
		}
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		_, _ = file.Seek(-most, 2)
	}
	content := make([]byte, most)
	n, _ := file.Read(content)
	return build.Tail(string(content[:n]), 30)
}
