package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/faultnet"
	"github.com/spf13/cobra"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "testenv",
		Short:         "Fairlead's real surroundings on this machine, as processes on free loopback ports",
		SilenceErrors: true, SilenceUsage: true,
	}
	var dir string
	for _, command := range []*cobra.Command{upCommand(&dir), downCommand(&dir), statusCommand(&dir), restartCommand(&dir), networkCommand(&dir)} {
		command.Flags().StringVar(&dir, "dir", "", "directory of the environment")
		_ = command.MarkFlagRequired("dir")
		root.AddCommand(command)
	}
	root.AddCommand(prepareCommand(), toolsCommand(), goldenCommand())
	return root
}

func upCommand(dir *string) *cobra.Command {
	var options testenv.Options
	var foreground bool
	var vault string
	command := &cobra.Command{
		Use:   "up --dir DIR",
		Short: "Start everything; returns when all is healthy and DIR/env.json says where it is",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			options.Dir, options.Progress, options.DiesWithParent = *dir, command.ErrOrStderr(), foreground
			switch options.Vault, options.VaultContainer = vault != "", vault == "container"; vault {
			case "", "process", "container":
			default:
				return fmt.Errorf("--vault=%s: write --vault, or --vault=container", vault)
			}
			env, err := testenv.Up(command.Context(), options)
			if err != nil {
				return err
			}
			describe(command.OutOrStdout(), env)
			if !foreground {
				return nil
			}
			_, _ = fmt.Fprintln(command.OutOrStdout(), "Ctrl-C ends it.")
			<-command.Context().Done()
			return env.Down(context.WithoutCancel(command.Context()))
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Clouddriver, "clouddriver", testenv.DefaultClouddriver, "version of Clouddriver: "+strings.Join(testenv.Versions(), ", ")+" or "+testenv.NoClouddriver)
	flags.BoolVar(&options.Stock, "stock", false, "give each cluster a second account, NAME-stock, that Clouddriver serves with kubectl")
	flags.IntVar(&options.Clusters, "clusters", 1, "how many clusters, each with an agent")
	flags.IntVar(&options.Bridges, "bridges", 1, "how many bridges; the first ones are Clouddrivers' own, the agents are spread over all")
	flags.IntVar(&options.Clouddrivers, "clouddrivers", 1, "how many Clouddrivers, with one database, each with a bridge of its own")
	flags.IntVar(&options.AgentsPerCluster, "agents-per-cluster", 1, "how many agents serve each cluster's account, as replicas")
	flags.BoolVar(&options.Network, "network", false, "put a balancer between agents and bridges that can go wrong (testenv network)")
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "use the running cluster of this administrator's file; two service accounts are made in it and stay")
	flags.BoolVar(&options.WithoutFairlead, "without-fairlead", false, "no bridge, no agents, no plugin: a stock Clouddriver")
	flags.StringVar(&vault, "vault", "", "a Vault server too, in memory: as a process, or, with --vault=container, as a container of Docker's")
	flags.Lookup("vault").NoOptDefVal = "process"
	flags.BoolVar(&foreground, "foreground", false, "stay, and end everything on Ctrl-C")
	return command
}

// describe says what is there and what to do next.
func describe(out io.Writer, env *testenv.Env) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what, where string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", what, where) }
	for _, clouddriver := range env.Clouddrivers {
		row("Clouddriver "+clouddriver.Version, clouddriver.URL)
	}
	if env.Vault != nil {
		row("Vault", env.Vault.URL+", "+env.Vault.TLSURL+" (token in "+env.Vault.TokenFile+")")
	}
	for _, bridge := range env.Bridges {
		row("bridge", bridge.Admin+" (admin), "+bridge.Agents+" (agents)")
	}
	for _, cluster := range env.Clusters {
		var accounts []string
		for _, account := range []string{cluster.Account, cluster.StockAccount} {
			if account != "" {
				accounts = append(accounts, account)
			}
		}
		row("cluster "+cluster.Name, "accounts "+strings.Join(accounts, ", ")+"; KUBECONFIG="+cluster.Kubeconfig)
	}
	row("everything else", filepath.Join(env.Dir(), "env.json"))
	_ = table.Flush()
}

func downCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down --dir DIR",
		Short: "End everything that was started in DIR; logs and configuration stay",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return testenv.Down(context.WithoutCancel(command.Context()), *dir)
		},
	}
}

func statusCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status --dir DIR",
		Short: "Tell how each part is; the exit code is 1 unless all are healthy",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			env, err := testenv.Open(*dir)
			if err != nil {
				return err
			}
			parts, err := env.Status(command.Context())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(command.OutOrStdout(), 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "PART\tPROCESS\tSTATE\tLOG")
			var bad []string
			for _, part := range parts {
				state := "healthy"
				if part.Problem != "" {
					state = part.Problem
					bad = append(bad, part.Name)
				}
				_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", part.Name, part.PID, state, part.Log)
			}
			_ = table.Flush()
			if len(bad) > 0 {
				return errors.New("not healthy: " + strings.Join(bad, ", "))
			}
			return nil
		},
	}
}

func restartCommand(dir *string) *cobra.Command {
	var kill bool
	command := &cobra.Command{
		Use:       "restart --dir DIR agent|bridge|clouddriver|mysql [N] [--kill]",
		Short:     "End a part and start it again; returns when it is healthy. N counts from 0, as in env.json",
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"agent", "bridge", "clouddriver", "mysql"},
		RunE: func(command *cobra.Command, arguments []string) error {
			n := 0
			if len(arguments) == 2 {
				var err error
				if n, err = strconv.Atoi(arguments[1]); err != nil {
					return fmt.Errorf("the number after the part must be one, from 0 on: %q is none", arguments[1])
				}
			}
			env, err := testenv.Open(*dir)
			if err != nil {
				return err
			}
			return env.Restart(command.Context(), arguments[0], n, kill)
		},
	}
	command.Flags().BoolVar(&kill, "kill", false, "end it with SIGKILL")
	return command
}

func networkCommand(dir *string) *cobra.Command {
	faults := faultnet.Named()
	names := slices.Sorted(maps.Keys(faults))
	return &cobra.Command{
		Use:       "network --dir DIR " + strings.Join(names, "|") + "|reset",
		Short:     "Make the network between agents and bridges go wrong; without a word, tell what passes through it",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: append(names, "reset"),
		RunE: func(command *cobra.Command, arguments []string) error {
			env, err := testenv.Open(*dir)
			if err != nil {
				return err
			}
			if len(arguments) == 0 {
				state, err := env.NetworkState(command.Context())
				if err != nil {
					return err
				}
				for _, bridge := range slices.Sorted(maps.Keys(state.Open)) {
					_, _ = fmt.Fprintf(command.OutOrStdout(), "%s: %d connections\n", bridge, state.Open[bridge])
				}
				_, _ = fmt.Fprintf(command.OutOrStdout(), "%d connections ever, %d bytes to bridges, %d to agents\n", state.Accepted, state.Up, state.Down)
				return nil
			}
			if arguments[0] == "reset" {
				return env.ResetNetwork(command.Context())
			}
			f, known := faults[arguments[0]]
			if !known {
				return fmt.Errorf("no fault %q: choose %s or reset", arguments[0], strings.Join(names, ", "))
			}
			return env.SetNetwork(command.Context(), f)
		},
	}
}
