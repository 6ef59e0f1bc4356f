//go:build unix

package logs_test

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proto/logs"
)

// waiting is a writer that hands lines over.
type waiting chan string

func (w waiting) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestASignalChangesTheLevel(t *testing.T) {
	// Without anybody who waits for it the signal ends the process, and FollowSignal may not have begun.
	caught := make(chan os.Signal, 100)
	signal.Notify(caught, syscall.SIGUSR1)
	defer signal.Stop(caught)
	out := make(waiting, 100)
	log := logs.New(out, logs.Options{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { logs.FollowSignal(ctx, log); close(ended) }()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for said := false; !said; {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		select {
		case line := <-out:
			if said = strings.Contains(line, "log level changed by SIGUSR1") && strings.Contains(line, `"to":"debug"`); !said {
				t.Error(line)
			}
		case <-again.C:
		}
	}
	stop()
	<-ended
}
