//go:build unix

package logs

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// FollowSignal changes between debug and the level of the start at each SIGUSR1, until ctx ends.
func FollowSignal(ctx context.Context, log *slog.Logger) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			log.Log(ctx, slog.LevelError, "log level changed by SIGUSR1", "to", Of(log).Toggle())
		}
	}
}
