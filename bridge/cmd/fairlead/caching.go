package main

import (
	"fmt"
	"io"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func releaseCommand(o *options) *cobra.Command {
	var yes bool
	release := &cobra.Command{
		Use: "release ACCOUNT", ValidArgsFunction: o.accounts, Short: "Hand an account back to Clouddriver's own polling", Args: cobra.ExactArgs(1),
		Long: "Hands an account back to Clouddriver's own polling: everything that is cached of it goes, then it leaves the list of accounts, so that an\n" +
			"account of that name in Clouddriver's own configuration holds. Nothing in the cluster changes. Agents that declare it are refused until\n\"fairlead accounts resume\".",
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return usage("account %q would lose its cached rows and its agent would be refused; say --yes to do it", args[0])
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ReleaseAccount(c.Context(), connect.NewRequest(&adminv1.ReleaseAccountRequest{Name: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				fmt.Fprintf(w, "Account %s was released, with %d rows. \"fairlead accounts resume %s\" takes it back.\n", args[0], response.Msg.GetRowsDeleted(), args[0])
			})
		},
	}
	release.Flags().BoolVar(&yes, "yes", false, "do it")
	return release
}

func resumeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "resume ACCOUNT", Short: "Take a released account back, or let a paused one go on", Args: cobra.ExactArgs(1), ValidArgsFunction: o.accounts,
		Long: "Takes a released account back, or ends the pause of one: the agent that declares it caches it again, and what Clouddriver's own polling wrote goes once that is complete.",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ResumeAccount(c.Context(), connect.NewRequest(&adminv1.ResumeAccountRequest{Name: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				fmt.Fprintf(w, "Account %s is taken back as soon as its agent is connected.\n", args[0])
			})
		},
	}
}

func pauseCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "pause ACCOUNT", Short: "Have an account's cache stand still", Args: cobra.ExactArgs(1), ValidArgsFunction: o.accounts,
		Long: "Has what is cached of an account stand still: nobody writes it any more, at any bridge, until \"fairlead account resume\". Spinnaker shows what was there\n" +
			"last. Deploys go on. When it ends everything is compared with the cluster.",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.PauseAccount(c.Context(), connect.NewRequest(&adminv1.PauseAccountRequest{Name: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				fmt.Fprintf(w, "The cache of account %s stands still. \"fairlead account resume %s\" lets it go on.\n", args[0], args[0])
			})
		},
	}
}

func resyncCommand(o *options) *cobra.Command {
	var kind string
	resync := &cobra.Command{
		Use: "resync ACCOUNT", ValidArgsFunction: o.accounts, Short: "Compare what is cached of an account with its cluster, now", Args: cobra.ExactArgs(1),
		Long: "Compares what is cached of an account with what its agent knows of the cluster, the stored bodies included, and waits until all of it agrees.\n" +
			"Bridges do so by themselves every few minutes (cache.checkInterval). Fails if something still differs at the end.",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ResyncAccount(c.Context(), connect.NewRequest(&adminv1.ResyncAccountRequest{Name: args[0], Kind: kind}))
			if err != nil {
				return err
			}
			groups := response.Msg.GetGroups()
			if err := o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { printResync(w, groups) }); err != nil {
				return err
			}
			for _, g := range groups {
				if g.GetGaveUp() {
					return fmt.Errorf("account %q: %s still differs after comparing it twice; the bridge's log says which items cannot be stored", args[0], groupName(g))
				}
			}
			return nil
		},
	}
	resync.Flags().StringVar(&kind, "kind", "", "only this kind (pod, replicaSet, CronTab.stable.example.com) and its links")
	return resync
}

func groupName(g *adminv1.ResyncedGroup) string {
	if g.GetLinkedKind() == "" {
		return g.GetKind()
	}
	return g.GetKind() + " to " + g.GetLinkedKind()
}

func printResync(w io.Writer, groups []*adminv1.ResyncedGroup) {
	row(w, "KIND", "LINKS TO", "RESULT")
	for _, g := range groups {
		result := "agreed"
		switch {
		case g.GetGaveUp():
			result = "still differs"
		case g.GetDiffered():
			result = "differed, agrees now"
		}
		row(w, g.GetKind(), g.GetLinkedKind(), result)
	}
}
