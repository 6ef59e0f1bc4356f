package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func showCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show ACCOUNT", Short: "One account: how it is, since when, why, and what to do", Args: cobra.ExactArgs(1), ValidArgsFunction: o.accounts,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.GetAccount(c.Context(), connect.NewRequest(&adminv1.GetAccountRequest{Name: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { o.printAccount(w, response.Msg, time.Now()) })
		},
	}
}

func (o *options) printAccount(w io.Writer, r *adminv1.GetAccountResponse, now time.Time) {
	a := r.GetAccount()
	row(w, "ACCOUNT", a.GetName())
	row(w, "STATE", a.GetState())
	row(w, "SINCE", ago(a.GetSince(), now))
	row(w, "AGENT", a.GetAgent())
	row(w, "BRIDGES", some(a.GetBridges()))
	row(w, "KUBERNETES", a.GetServerVersion())
	row(w, "NAMESPACES", fmt.Sprint(a.GetNamespaces()))
	row(w, "KINDS LIVE", strings.Join(a.GetKindsLive(), ", "))
	row(w, "KINDS PENDING", strings.Join(a.GetKindsPending(), ", "))
	row(w, "EPOCH", fmt.Sprint(a.GetEpoch()))
	if len(r.GetFindings()) == 0 {
		row(w, "PROBLEMS", "none")
	}
	if o.wide() {
		var declared map[string]any
		if json.Unmarshal([]byte(r.GetDeclaration()), &declared) == nil {
			compact, _ := json.Marshal(declared) // what was read can be written
			row(w, "DECLARED", string(compact))
		}
	}
	for _, f := range r.GetFindings() {
		fmt.Fprintln(w)
		printFinding(w, f, now)
	}
}

// printFinding writes a finding as three lines: how bad, what, and what to do.
func printFinding(w io.Writer, f *adminv1.Finding, now time.Time) {
	since := ""
	if f.GetSince() != nil {
		since = " (since " + ago(f.GetSince(), now) + ")"
	}
	row(w, f.GetLevel(), f.GetCheck()+since)
	row(w, "why", f.GetText())
	if f.GetFix() != "" {
		row(w, "fix", f.GetFix())
	}
}

func listAgentsCommand(o *options) *cobra.Command {
	request := &adminv1.ListAgentsRequest{}
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "The agents of all bridges", Args: cobra.NoArgs,
		Long: "Lists the agents of all bridges. --outdated: those that should be upgraded, among them agents that this bridge turned away within the last hour because\n" +
			"they are too old. An agent is served as long as its capability is not below the oldest that the bridge knows.",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ListAgents(c.Context(), connect.NewRequest(request))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { o.printAgents(w, response.Msg, request.GetOutdated(), time.Now()) })
		},
	}
	list.Flags().BoolVar(&request.Outdated, "outdated", false, "only agents that should be upgraded")
	return list
}

func (o *options) printAgents(w io.Writer, r *adminv1.ListAgentsResponse, outdated bool, now time.Time) {
	if len(r.GetAgents()) == 0 {
		text := "No agent is connected to any bridge."
		if outdated {
			text = fmt.Sprintf("No agent has to be upgraded; this bridge is %s, with capability %d.", r.GetVersion(), r.GetCapability())
		}
		fmt.Fprintln(w, text)
		return
	}
	row(w, o.withMore([]string{"AGENT", "VERSION", "STATE", "SINCE", "BRIDGE", "ACCOUNTS", "OUTDATED"}, "CAPABILITY", "INSTANCE")...)
	for _, a := range r.GetAgents() {
		state := "connected"
		if a.GetRefused() {
			state = "refused"
		}
		row(w, o.withMore([]string{a.GetAgent(), a.GetVersion(), state, ago(a.GetSince(), now), a.GetBridge(), some(a.GetAccounts()), a.GetOutdated()},
			fmt.Sprint(a.GetCapability()), a.GetInstance())...)
	}
}

func logLevelCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "Tell or change how much a bridge logs, until it starts again", Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		Long: "Tells or changes how much a bridge logs, until it starts again (log.level is for good). A bridge or agent that cannot be asked changes between debug and its\n" +
			"own level at each SIGUSR1.",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.SetLogLevel(c.Context(), connect.NewRequest(&adminv1.SetLogLevelRequest{Level: strings.Join(args, "")}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { fmt.Fprintln(w, response.Msg.GetLevel()) })
		},
	}
}
