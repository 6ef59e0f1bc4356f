package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// dynamicCommands are about accounts that are given to agents at run time.
func dynamicCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		addAccountCommand(o), dynamicListCommand(o),
		wishCommand(o, "activate", "Give accounts to agents", ""),
		wishCommand(o, "deactivate", "Take accounts out of Clouddriver; their definitions stay", ""),
		wishCommand(o, "delete", "Take accounts out of Clouddriver, with their definitions", "they and their cached rows would be removed"),
	}
}

// adding are the flags of "account add".
type adding struct {
	kubeconfig, file, zone string
	labels                 map[string]string
	namespaces             []string
	inactive, dryRun       bool
	wait                   time.Duration
}

func addAccountCommand(o *options) *cobra.Command {
	var f adding
	add := &cobra.Command{
		Use: "add ACCOUNT --kubeconfig FILE | add --file FILE", Short: "Give agents accounts at run time", Args: cobra.MaximumNArgs(1),
		Long: "Stores an account, sealed, and gives it to agents whose identity allows its name: those of --zone, or of whichever zone can reach its API server.\n" +
			"An account that is there gets the new kubeconfig and settings. --file holds one definition or a list of them, as JSON, with kubeconfigContents:\n" +
			"what Clouddriver and the replaced product's API take.",
		RunE: func(c *cobra.Command, args []string) error {
			definitions, err := f.definitions(args)
			if err != nil {
				return err
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.PutDynamicAccounts(c.Context(), connect.NewRequest(&adminv1.PutDynamicAccountsRequest{Definitions: definitions, Activate: !f.inactive, DryRun: f.dryRun, WaitMs: waitMs(f.wait)}))
			if err != nil {
				return err
			}
			return results(o, c, response.Msg.GetResults())
		},
	}
	flags := add.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the account's kubeconfig, with inline data only")
	flags.StringVarP(&f.file, "file", "f", "", "definitions as JSON; - for standard input")
	flags.StringVar(&f.zone, "zone", "", "only agents of this zone may have it")
	flags.StringSliceVar(&f.namespaces, "namespaces", nil, "only these namespaces")
	flags.StringToStringVar(&f.labels, "labels", nil, "labels, NAME=VALUE,…")
	flags.BoolVar(&f.inactive, "inactive", false, "store it and give it to nobody yet")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would happen, and do nothing")
	flags.DurationVar(&f.wait, "wait", 30*time.Second, "how long to wait until it is served")
	return add
}

func (f *adding) definitions(args []string) ([]string, error) {
	switch {
	case f.file != "" && (len(args) > 0 || f.kubeconfig != ""):
		return nil, errors.New("--file: names the accounts itself; leave out ACCOUNT and --kubeconfig")
	case f.file != "":
		return readDefinitions(f.file)
	case len(args) == 0 || f.kubeconfig == "":
		return nil, errors.New("name an account and its --kubeconfig, or --file")
	}
	content, err := os.ReadFile(f.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	d := map[string]any{"name": args[0], "kubeconfigContents": string(content)}
	if f.zone != "" {
		d["zoneId"] = f.zone
	}
	if len(f.labels) > 0 {
		d["labels"] = f.labels
	}
	if len(f.namespaces) > 0 {
		d["namespaces"] = f.namespaces
	}
	text, err := json.Marshal(d)
	return []string{string(text)}, err
}

func readDefinitions(file string) ([]string, error) {
	var content []byte
	var err error
	if file == "-" {
		content, err = io.ReadAll(os.Stdin)
	} else {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	var list []json.RawMessage
	if json.Unmarshal(content, &list) != nil {
		list = []json.RawMessage{content}
	}
	texts := make([]string, 0, len(list))
	for _, d := range list {
		if !json.Valid(d) {
			return nil, fmt.Errorf("--file: %s holds neither a JSON object nor a list of them", file)
		}
		texts = append(texts, string(d))
	}
	return texts, nil
}

func waitMs(d time.Duration) uint32 { return uint32(max(min(d, 2*time.Minute), 0).Milliseconds()) } //nolint:gosec // bounded

func dynamicListCommand(o *options) *cobra.Command {
	var m adminv1.ListDynamicAccountsRequest
	list := &cobra.Command{
		Use: "dynamic [PATTERN…]", Short: "The accounts that were given to agents at run time, with their states",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			m.Names = args
			response, err := client.ListDynamicAccounts(c.Context(), connect.NewRequest(&m))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { printDynamic(w, response.Msg.GetAccounts(), time.Now()) })
		},
	}
	list.Flags().StringVar(&m.State, "state", "", "only those in a state, for instance FAILED")
	list.Flags().StringVar(&m.Zone, "zone", "", "only those of a zone")
	list.Flags().StringToStringVar(&m.Labels, "labels", nil, "only those with these labels, NAME=VALUE,…")
	return list
}

func printDynamic(w io.Writer, accounts []*adminv1.DynamicAccount, now time.Time) {
	if len(accounts) == 0 {
		fmt.Fprintln(w, "There is no such account; \"fairlead account add\" makes one.")
		return
	}
	row(w, "ACCOUNT", "STATE", "FOR", "AT", "AGENT", "FROM", "REASON")
	for _, a := range accounts {
		row(w, a.GetName(), a.GetState(), strings.TrimSuffix(ago(a.GetSince(), now), " ago"), a.GetPlace(), a.GetAgent(), a.GetSource(), a.GetReason())
	}
}

func wishCommand(o *options, change, short, danger string) *cobra.Command {
	m := adminv1.ChangeDynamicAccountsRequest{Change: change}
	var yes bool
	var wait time.Duration
	c := &cobra.Command{
		Use: change + " ACCOUNT|PATTERN…", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if danger != "" && !yes && !m.DryRun {
				return fmt.Errorf("%s: %s; say --yes to do it", strings.Join(args, ", "), danger)
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			m.Names, m.WaitMs = args, waitMs(wait)
			response, err := client.ChangeDynamicAccounts(c.Context(), connect.NewRequest(&m))
			if err != nil {
				return err
			}
			return results(o, c, response.Msg.GetResults())
		},
	}
	c.Flags().BoolVar(&m.DryRun, "dry-run", false, "say what would happen, and do nothing")
	c.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait until it is done")
	if change == "activate" {
		c.Flags().StringVar(&m.Zone, "zone", "", "the zone whose agents may have them from now on")
	}
	if danger != "" {
		c.Flags().BoolVar(&yes, "yes", false, "do it")
	}
	return c
}

// results shows what became of accounts; it fails if something was not done.
func results(o *options, c *cobra.Command, list []*adminv1.DynamicResult) error {
	bad := 0
	err := o.print(c.OutOrStdout(), &adminv1.PutDynamicAccountsResponse{Results: list}, func(w io.Writer) {
		row(w, "ACCOUNT", "RESULT", "STATE", "AT", "REASON")
		for _, r := range list {
			state, reason := r.GetAccount().GetState(), r.GetReason()
			if r.GetAccount() == nil && r.GetReason() == "" {
				state = "gone"
			}
			if reason == "" {
				reason = r.GetAccount().GetReason()
			}
			row(w, r.GetName(), r.GetCode(), state, r.GetAccount().GetPlace(), reason)
		}
	})
	for _, r := range list {
		if r.GetReason() != "" || r.GetAccount().GetState() == "FAILED" || r.GetAccount().GetState() == "DELETE_FAILED" {
			bad++
		}
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d accounts are not as they should be", bad, len(list))
	}
	return err
}
