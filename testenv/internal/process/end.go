package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// pollInterval is how often the end of a process is looked for: there is no portable way to be told of the end of a
// process that somebody else started.
const pollInterval = 20 * time.Millisecond

// Signal sends a signal to the process if it is alive; it tells whether it was.
func (p *Process) Signal(signal syscall.Signal) bool {
	// The handle is taken first and the identity checked afterwards: the kernel's handle (a pidfd) then cannot come to
	// mean another process.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return false
	}
	defer func() { _ = handle.Release() }()
	return p.Alive() && handle.Signal(signal) == nil
}

// Await returns nil when the process has ended, ctx's error if that comes first.
func (p *Process) Await(ctx context.Context) error {
	again := time.NewTicker(pollInterval)
	defer again.Stop()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
	return nil
}

// Stop ends one process: SIGTERM and, after grace, SIGKILL. What it started itself is not touched; End does that.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if !p.Signal(syscall.SIGTERM) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.Await(limited) == nil {
		return nil
	}
	return p.Kill(ctx)
}

// Kill ends one process at once.
func (p *Process) Kill(ctx context.Context) error {
	if !p.Signal(syscall.SIGKILL) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := p.Await(limited); err != nil {
		return fmt.Errorf("process %d (%s) does not end on SIGKILL", p.PID, p.Name)
	}
	return nil
}

// End ends everything that the table started and all that descends from it, and forgets it: SIGTERM to the processes
// that it remembers, SIGKILL to whatever of the table is alive after grace.
func (t *Table) End(ctx context.Context, grace time.Duration) error {
	all, err := t.List()
	if err != nil {
		return err
	}
	for _, p := range all {
		p.Signal(syscall.SIGTERM)
	}
	limited, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, p := range all {
		_ = p.Await(limited) // those that do not end are among the marked ones
	}
	var failures []error
	for _, p := range all {
		failures = append(failures, p.Kill(ctx))
	}
	// A process may start another while its own end is on the way.
	for round := 0; round < 5; round++ {
		left := t.marked()
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			failures = append(failures, p.Kill(ctx))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	for _, p := range all {
		if err := t.Forget(p.Name); err != nil {
			return err
		}
	}
	return nil
}
