package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge/internal/uninstall"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// exitRemains is the exit code of `fairlead uninstall --check` when something is left. That it could not be told is 1, as every failure.
const exitRemains exitCode = 2

func uninstallCommand(o *options) *cobra.Command {
	var accounts, tables, check, yes bool
	var file string
	c := &cobra.Command{
		Use: "uninstall --accounts | --tables | --check [ACCOUNT...]", Short: "Take Fairlead out of Clouddriver's database, and tell what is left",
		Long: "Uninstalling takes three steps. While bridges run, --accounts hands every account back to Clouddriver's own polling, with all that is cached of it. Then plugin\n" +
			"and bridges are taken out of Clouddriver's pods. Then --tables drops the tables that bridges made, and whatever is left of accounts that were not handed back.\n\n" +
			"--check changes nothing: it tells what is left, and ends with 0 when that is nothing, with 2 when it is something, with 1 when it cannot be told. Of the\n" +
			"ACCOUNTs that are named it tells whatever Clouddriver's cache holds.\n\n" +
			"--accounts asks a bridge, like other commands. --tables and --check go to the database, by a bridge's configuration (FAIRLEAD_DATABASE_DSN,\n" +
			"FAIRLEAD_DATABASE_PASSWORD_FILE, or --config).",
		RunE: func(c *cobra.Command, args []string) error {
			if !check && len(args) > 0 {
				return usage("%q: accounts are named with --check alone; the other steps are for all of them", args[0])
			}
			if !check && !yes {
				return usage("nothing was changed; say --yes to do it")
			}
			if accounts {
				return o.handBack(c.Context(), c.OutOrStdout())
			}
			database, err := uninstall.Open(file, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if tables {
				err = database.Remove(c.Context(), func(step string) { fmt.Fprintln(c.OutOrStdout(), step) })
			}
			if err == nil {
				err = printRemains(c, database, args)
			}
			return errors.Join(err, database.Close())
		},
	}
	flags := c.Flags()
	flags.BoolVar(&accounts, "accounts", false, "hand every account back, through a bridge")
	flags.BoolVar(&tables, "tables", false, "drop the tables that bridges made, once no bridge runs")
	flags.BoolVar(&check, "check", false, "tell what is left")
	flags.BoolVar(&yes, "yes", false, "do it")
	flags.StringVar(&file, "config", os.Getenv("FAIRLEAD_CONFIG"), "a bridge's configuration file (FAIRLEAD_CONFIG); without one, the environment alone counts")
	c.MarkFlagsMutuallyExclusive("accounts", "tables", "check")
	c.MarkFlagsOneRequired("accounts", "tables", "check")
	return c
}

// handBack releases every account.
func (o *options) handBack(ctx context.Context, out io.Writer) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	list, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return err
	}
	n := 0
	for _, a := range list.Msg.GetAccounts() {
		if a.GetState() == "released" {
			continue
		}
		response, err := client.ReleaseAccount(ctx, connect.NewRequest(&adminv1.ReleaseAccountRequest{Name: a.GetName()}))
		if err != nil {
			return fmt.Errorf("account %q: %w", a.GetName(), err)
		}
		n++
		fmt.Fprintf(out, "Account %s was released, with %d rows.\n", a.GetName(), response.Msg.GetRowsDeleted())
	}
	fmt.Fprintf(out, "%d accounts were handed back. Now take plugin and bridges out of Clouddriver's pods, then: fairlead uninstall --tables --yes\n", n)
	return nil
}

// printRemains tells what is left, and fails if that is something.
func printRemains(c *cobra.Command, database *uninstall.Database, accounts []string) error {
	left, err := database.Find(c.Context(), accounts...)
	if err != nil {
		return fmt.Errorf("database %s: %w", database.Address(), err)
	}
	out := c.OutOrStdout()
	if left.None() {
		fmt.Fprintf(out, "Nothing of Fairlead is left in %s.\n", database.Address())
		return nil
	}
	fmt.Fprintf(out, "In %s are left:\n", database.Address())
	for _, b := range left.Bridges {
		fmt.Fprintf(out, "  bridge %s runs\n", b)
	}
	for _, a := range slices.Sorted(maps.Keys(left.Accounts)) {
		held := "nothing in Clouddriver's cache"
		if types := left.Accounts[a]; len(types) > 0 {
			held = "in Clouddriver's cache: " + strings.Join(types, ", ")
		}
		fmt.Fprintf(out, "  account %s, %s\n", a, held)
	}
	for _, t := range left.Tables {
		fmt.Fprintf(out, "  table %s\n", t)
	}
	return exitRemains
}
