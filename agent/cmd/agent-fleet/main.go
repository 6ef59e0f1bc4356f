// Command agent-fleet runs many agents in one process, one for each configuration that it is given: benches of hundreds of agents need no hundreds of
// processes. It is not installed anywhere.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/agent"
	"github.com/fairlead/fairlead/agent/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent-fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, files []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, file := range files {
		source := config.Options{File: file}
		settings, err := config.Load(source)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		level := &slog.LevelVar{}
		level.Set(settings.Logging.Level)
		a, err := agent.New(settings, agent.Options{Source: source, SharesProcess: true, Log: settings.Logging.Logger(os.Stderr, level)})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		group.Go(func() error { return a.Run(ctx) })
	}
	return group.Wait()
}
