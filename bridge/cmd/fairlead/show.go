package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "How the bridge is, and which agents are connected", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.GetStatus(c.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { o.printStatus(w, response.Msg, time.Now()) })
		},
	}
}

func (o *options) printStatus(w io.Writer, s *adminv1.GetStatusResponse, now time.Time) {
	row(w, "BRIDGE", s.GetBridge())
	row(w, "VERSION", s.GetVersion())
	row(w, "STARTED", ago(s.GetStarted(), now))
	row(w, "CA PIN", s.GetCaPin())
	row(w, "SEALING KEY", s.GetSealingKey(), some(s.GetFormerKeys()))
	row(w, "WRITTEN", fmt.Sprintf("%d rows, %d links", s.GetRowsWritten(), s.GetLinksWritten()))
	row(w, "OPERATIONS", fmt.Sprint(s.GetOperations()))
	if len(s.GetProblems()) == 0 {
		row(w, "PROBLEMS", "none")
	}
	for _, p := range s.GetProblems() {
		row(w, "PROBLEM", p)
	}
	fmt.Fprintln(w)
	if len(s.GetSessions()) == 0 {
		fmt.Fprintln(w, "No agent is connected.")
		return
	}
	row(w, o.withMore([]string{"AGENT", "VERSION", "FROM", "CONNECTED", "ACCOUNTS"}, "CAPABILITY", "INSTANCE", "SESSION", "OUTDATED")...)
	for _, v := range s.GetSessions() {
		row(w, o.withMore([]string{v.GetAgent(), v.GetVersion(), v.GetRemoteAddress(), ago(v.GetSince(), now), some(v.GetAccounts())},
			fmt.Sprint(v.GetCapability()), v.GetInstance(), v.GetSession(), v.GetOutdated())...)
	}
}

// some shows a few items of a list.
func some(list []string) string {
	const shown = 5
	if len(list) <= shown {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:shown], ", "), len(list)-shown)
}

func accountsCommand(o *options) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "All accounts, those with problems first", Args: cobra.NoArgs, Aliases: []string{"ls"},
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ListAccounts(c.Context(), connect.NewRequest(&adminv1.ListAccountsRequest{}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { o.printAccounts(w, response.Msg.GetAccounts(), time.Now()) })
		},
	}
	var yes bool
	evict := &cobra.Command{
		Use: "evict ACCOUNT", Aliases: []string{"remove"}, ValidArgsFunction: o.accounts, Short: "Take an account out of Clouddriver, with everything that is cached of it", Args: cobra.ExactArgs(1),
		Long: "Takes an account out of Clouddriver, with everything that is cached of it. Nothing in the cluster changes. An agent that still has\nthe account in its configuration brings it back; to keep it out, take it from that configuration, or release it.",
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return usage("account %q and its cached rows would be removed; say --yes to do it", args[0])
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.RemoveAccount(c.Context(), connect.NewRequest(&adminv1.RemoveAccountRequest{Name: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				fmt.Fprintf(w, "Account %s was removed, with %d rows.\n", args[0], response.Msg.GetRowsDeleted())
			})
		},
	}
	evict.Flags().BoolVar(&yes, "yes", false, "do it")
	accounts := &cobra.Command{Use: "account", Aliases: []string{"accounts"}, Short: "The accounts that agents serve"}
	accounts.AddCommand(dynamicCommands(o)...)
	accounts.AddCommand(list, showCommand(o), evict, pauseCommand(o), releaseCommand(o), resumeCommand(o), resyncCommand(o))
	return accounts
}

func (o *options) printAccounts(w io.Writer, accounts []*adminv1.Account, now time.Time) {
	if len(accounts) == 0 {
		fmt.Fprintln(w, "No account is known: none has been declared by an agent yet.")
		return
	}
	accounts = slices.Clone(accounts)
	rank := func(a *adminv1.Account) int {
		switch {
		case a.GetProblem() != "":
			return 0
		case a.GetState() != "connected":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(accounts, func(a, b *adminv1.Account) int { return rank(a) - rank(b) })
	row(w, o.withMore([]string{"ACCOUNT", "STATE", "AGENT", "LAST SEEN", "KUBERNETES", "NAMESPACES", "KINDS", "PROBLEM"}, "SINCE", "EPOCH", "BRIDGES", "PENDING")...)
	for _, a := range accounts {
		seen := "now"
		if a.GetState() == "released" {
			seen = "" // by whom it is polled now, nobody here knows
		} else if a.GetState() != "connected" && a.GetState() != "paused" {
			seen = ago(a.GetLastSeen(), now)
		}
		kinds := ""
		if n := len(a.GetKindsLive()) + len(a.GetKindsPending()); n > 0 {
			kinds = fmt.Sprintf("%d of %d live", len(a.GetKindsLive()), n)
		}
		row(w, o.withMore([]string{a.GetName(), a.GetState(), a.GetAgent(), seen, a.GetServerVersion(), fmt.Sprint(a.GetNamespaces()), kinds, a.GetProblem()},
			ago(a.GetSince(), now), fmt.Sprint(a.GetEpoch()), some(a.GetBridges()), some(a.GetKindsPending()))...)
	}
}
