// Command fairlead-bridge is the sidecar of Clouddriver that agents connect to.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/proto/logs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "fairlead-bridge: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n                 "))
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use: "fairlead-bridge", Short: "Connects a Clouddriver to the agents in its clusters", Version: bridge.Version(),
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), file, c.ErrOrStderr()) },
	}
	root.PersistentFlags().StringVar(&file, "config", os.Getenv("FAIRLEAD_CONFIG"), "configuration file (FAIRLEAD_CONFIG); without one, the environment alone counts")

	config := &cobra.Command{Use: "config", Short: "The configuration"}
	config.AddCommand(
		&cobra.Command{Use: "check", Short: "Tell what is wrong with the configuration, without starting", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				if _, err := bridge.LoadConfig(file); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "The configuration is fine.")
				return err
			}},
		&cobra.Command{Use: "keys", Short: "List every key, its variable and its default", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return printKeys(c.OutOrStdout()) }})

	key := &cobra.Command{Use: "key", Short: "The key that seals what bridges keep in the database"}
	key.AddCommand(&cobra.Command{Use: "create FILE", Short: "Make a key file; never replaces one", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return bridge.CreateKey(args[0]) }})
	key.AddCommand(
		&cobra.Command{Use: "add FILE", Short: "Add a new key to a key file; it seals from then on, the former keys still open", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				id, err := bridge.AddKey(args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "Key %s was added. Give every bridge the file as it is now, then seal everything with the new key: fairlead key rotate\n", id)
				return err
			}},
		dropCommand())
	root.AddCommand(config, key)
	return root
}

func dropCommand() *cobra.Command {
	var yes bool
	drop := &cobra.Command{Use: "drop FILE", Short: "Leave the newest key alone in a key file, once \"fairlead key rotate\" has sealed everything with it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return fmt.Errorf("what only the former keys of %s can open would be lost; run \"fairlead key rotate\" first, then say --yes", args[0])
			}
			dropped, err := bridge.DropKeys(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "Keys that went: %s\n", strings.Join(dropped, ", "))
			return err
		}}
	drop.Flags().BoolVar(&yes, "yes", false, "do it")
	return drop
}

func run(ctx context.Context, file string, errors io.Writer) error {
	cfg, err := bridge.LoadConfig(file)
	if err != nil {
		return err
	}
	log := bridge.NewLog(cfg, errors)
	slog.SetDefault(log)
	b, err := bridge.New(cfg, bridge.Version(), log)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	follower.Go(func() { logs.FollowSignal(following, log) })
	defer follower.Wait()
	defer stop()
	return b.Run(b.Outliving(ctx))
}

func printKeys(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tVARIABLE\tDEFAULT\tVALUES")
	for _, k := range bridge.ConfigKeys() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Path, k.Environment(), k.Default, k.Kind())
	}
	return w.Flush()
}
