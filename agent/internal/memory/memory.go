// Package memory keeps the process as small as what it does.
//
// kubectl's libraries bring some 900 packages. Each has something to initialise, and that touches most of the program's file once: 40 MiB of
// its pages count as resident for ever after, although nothing looks at them again. They are given back, and those that are
// needed come again from the page cache by themselves.
//
// The heap is small, as lists are decoded object by object and little is kept of one, but Go lets it grow to twice of that between collections and
// gives back late: so it collects earlier, and gives back once lists are over.
package memory

import (
	"context"
	"log/slog"
	"time"
)

const (
	// afterStart is when what only a start needs is over: reading the configuration, connecting, discovery.
	afterStart = 5 * time.Second
	// interval is how long pages stay that something needed once: looking costs milliseconds, and to touch a page again a microsecond.
	interval = 15 * time.Second
)

// Keep gives back pages of the program's file from time to time, until ctx ends.
func Keep(ctx context.Context, log *slog.Logger) {
	for wait := afterStart; ; wait = interval {
		if err := release(); err != nil {
			// A kernel or a sandbox that does not allow it: the process works all the same, and is larger.
			log.Debug("pages of the program stay resident", "error", err.Error())
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
