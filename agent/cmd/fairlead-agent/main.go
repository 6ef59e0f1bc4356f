// Command fairlead-agent runs an agent: it watches the clusters of its accounts, tells a bridge what is in them, and executes
// what Clouddriver asks for.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/agent"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/logs"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-agent:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:           "fairlead-agent",
		Short:         "Watches Kubernetes clusters for Clouddriver and executes its operations",
		Version:       agent.Version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), file) },
	}
	root.PersistentFlags().StringVar(&file, "config", "",
		"configuration `FILE`; without it armory-agent.yml or fairlead-agent.yml is looked for in /opt/fairlead/config and /opt/armory/config")
	root.AddCommand(configCommand(&file), leaveCommand(&file))
	return root
}

func run(ctx context.Context, file string) error {
	source := config.Options{File: file}
	settings, err := config.Load(source)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	log := logger(settings, level)
	for _, line := range settings.Notes {
		level := slog.LevelInfo
		if line.Warning {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, "configuration", "key", line.Key, "note", line.Text, "accounts", line.Accounts)
	}
	a, err := agent.New(settings, agent.Options{Source: source, Level: level, Log: log})
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	follower.Go(func() { logs.FollowSignal(following, log) })
	defer follower.Wait()
	defer stop()
	return a.Run(ctx)
}

// load reads the configuration and makes the log that it asks for.
func load(file string) (*config.Config, *slog.Logger, error) {
	settings, err := config.Load(config.Options{File: file})
	if err != nil {
		return nil, nil, err
	}
	return settings, logger(settings, &slog.LevelVar{}), nil
}

// logger makes the process's log, whose level may change.
func logger(settings *config.Config, level *slog.LevelVar) *slog.Logger {
	level.Set(settings.Logging.Level)
	log := settings.Logging.Logger(os.Stderr, level)
	slog.SetDefault(log)
	klog.SetSlogLogger(log.With("library", "client-go")) // its logger is the process's, so it is set here and nowhere else
	return log
}

func leaveCommand(file *string) *cobra.Command {
	var patience time.Duration
	leave := &cobra.Command{
		Use:   "leave",
		Short: "Take the configuration's accounts out of Clouddriver, and exit",
		Long: "Takes the accounts of the configuration out of Clouddriver, with everything that is cached of them, before their agent is uninstalled.\n" +
			"Nothing in their clusters changes. An agent that still runs with these accounts brings them back when it connects again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, log, err := load(*file)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return agent.Leave(ctx, settings, log)
		},
	}
	leave.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to try")
	return leave
}
