package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func operationsCommand(o *options) *cobra.Command {
	request := &adminv1.ListOperationsRequest{}
	var since time.Duration
	run := func(c *cobra.Command, _ []string) error {
		if since < 0 {
			return usage("--since: %s is negative", since)
		}
		request.SinceSeconds = uint64(since.Seconds())
		return o.listOperations(c, request)
	}
	all := &cobra.Command{
		Use: "operations", Aliases: []string{"operation", "ops"}, Short: "What was done to the clusters, for whom and how it ended, latest first", Args: cobra.NoArgs, RunE: run,
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "The same, in full: operations list", Args: cobra.NoArgs, RunE: run}
	for _, c := range []*cobra.Command{all, list} {
		flags := c.Flags()
		flags.StringVar(&request.Account, "account", "", "only of this account")
		flags.StringVar(&request.Verb, "verb", "", "only this verb: get, apply, scale, \"rollout undo\" …")
		flags.StringVar(&request.Outcome, "outcome", "", "only with this outcome: running, succeeded, failed, not_started, cancelled, result_lost, unknown, absent, \"caller gone\"")
		flags.StringVar(&request.User, "user", "", "only for this user of Spinnaker")
		flags.StringVar(&request.Execution, "execution", "", "only of this pipeline execution")
		flags.BoolVar(&request.Mutations, "changes", false, "only what may have changed something")
		flags.DurationVar(&since, "since", 0, "only what was received within this time, 1h30m")
		flags.Uint32Var(&request.Limit, "limit", 50, "at most so many, up to 1000")
		flags.Uint32Var(&request.Offset, "offset", 0, "leave out so many at the start")
	}
	show := &cobra.Command{
		Use: "show ID", Short: "One operation, with the time of each hop", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ListOperations(c.Context(), connect.NewRequest(&adminv1.ListOperationsRequest{Id: args[0], Limit: 1}))
			if err != nil {
				return err
			}
			if len(response.Msg.GetOperations()) == 0 {
				return &failure{exitNotFound, fmt.Sprintf("operation %q is not in the history", args[0])}
			}
			found := response.Msg.GetOperations()[0]
			return o.print(c.OutOrStdout(), found, func(w io.Writer) { printOperation(w, found) })
		},
	}
	all.AddCommand(list, show, modeCommand(o))
	return all
}

func (o *options) listOperations(c *cobra.Command, request *adminv1.ListOperationsRequest) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	response, err := client.ListOperations(c.Context(), connect.NewRequest(request))
	if err != nil {
		return err
	}
	return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
		row(w, o.withMore([]string{"RECEIVED", "ACCOUNT", "VERB", "TARGET", "OUTCOME", "TOOK", "IN AGENT", "USER", "EXECUTION", "ID"}, "BRIDGE", "AGENT", "REASON")...)
		for _, p := range response.Msg.GetOperations() {
			row(w, o.withMore([]string{p.GetReceived().AsTime().Format(time.RFC3339), p.GetAccount(), p.GetVerb(), p.GetTarget(), p.GetOutcome(), between(p.GetReceived(), p.GetAnswered()),
				between(p.GetStarted(), p.GetFinished()), p.GetUser(), p.GetExecution(), p.GetId()}, p.GetBridge(), p.GetAgent(), p.GetReason())...)
		}
	})
}

func between(from, to *timestamppb.Timestamp) string {
	if from == nil || to == nil {
		return ""
	}
	return to.AsTime().Sub(from.AsTime()).String()
}

func printOperation(w io.Writer, p *adminv1.Operation) {
	for _, line := range [][2]string{
		{"ID", p.GetId()}, {"ACCOUNT", p.GetAccount()}, {"VERB", p.GetVerb()}, {"TARGET", p.GetTarget()}, {"OUTCOME", p.GetOutcome()}, {"REASON", p.GetReason()},
		{"USER", p.GetUser()}, {"EXECUTION", p.GetExecution()}, {"BRIDGE", p.GetBridge()}, {"AGENT", p.GetAgent()},
		{"RECEIVED", p.GetReceived().AsTime().Format(time.RFC3339Nano)},
	} {
		row(w, line[0], line[1])
	}
	for _, hop := range []struct {
		name string
		at   *timestamppb.Timestamp
	}{{"SENT", p.GetSent()}, {"STARTED", p.GetStarted()}, {"FINISHED", p.GetFinished()}, {"ANSWERED", p.GetAnswered()}} {
		after := ""
		if hop.at != nil {
			after = "+" + between(p.GetReceived(), hop.at)
		}
		row(w, hop.name, after)
	}
	row(w, "IN API SERVER", fmt.Sprintf("%dms", p.GetServerMs()))
}

func modeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "mode [ACCOUNTS failover|distributed|default]", Short: "Which agents of an account have its operations",
		Long: "Shows which agents of an account have its operations, or changes it at run time: failover, the one that also caches it;\n" +
			"distributed, all of them in turns; default, what operations.mode of the bridges says. ACCOUNTS is a name or a pattern (\"prod-*\").\n" +
			"Of several patterns that cover an account the longest holds. What is under way stays where it is.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return fmt.Errorf("%d arguments; write none, or ACCOUNTS and a mode", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				mode := strings.TrimSuffix(args[1], "default")
				if _, err := client.SetOperationsMode(c.Context(), connect.NewRequest(&adminv1.SetOperationsModeRequest{Pattern: args[0], Mode: mode})); err != nil {
					return err
				}
			}
			response, err := client.ListOperationsModes(c.Context(), connect.NewRequest(&adminv1.ListOperationsModesRequest{}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				row(w, "ACCOUNTS", "MODE", "SINCE")
				for _, m := range response.Msg.GetModes() {
					row(w, m.GetPattern(), m.GetMode(), ago(m.GetSince(), time.Now()))
				}
				row(w, "(others)", response.Msg.GetDefaultMode(), "")
			})
		},
	}
}
