package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

const defaultBridge = "http://127.0.0.1:8082"

// options are the flags that every command has, and what the program knows of its surroundings.
type options struct {
	bridge    string
	tokenFile string
	output    string

	// patience is how long a call may take before it is said that it does.
	patience time.Duration
	// terminal tells whether a person reads along there.
	terminal func(any) bool
	// running is set when flags and arguments have been found to be right.
	running bool
}

const exits = `
Exit codes:
  0    done
  1    it failed; for "kubectl" the command's own exit code
  2    flags or arguments are wrong
  3    the bridge cannot be reached, or is not ready for this yet
  4    the token is wrong, or its role does not allow this
  5    there is no such account, operation or token
  6    "doctor" found a fault, "config check" something that has to be decided
  130  interrupted
`

func command() *cobra.Command {
	return newCommand(&options{patience: 2 * time.Second, terminal: isTerminal})
}

func newCommand(o *options) *cobra.Command {
	root := &cobra.Command{
		Use: "fairlead", Short: "Look after Fairlead's bridges, agents and accounts", Version: bridge.Version(),
		Long:         "Looks after Fairlead's bridges, agents and accounts, through the admin API of a bridge.\n" + exits,
		SilenceUsage: true, SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.bridge, "bridge", cmp.Or(os.Getenv("FAIRLEAD_BRIDGE"), defaultBridge), "admin address of a bridge (FAIRLEAD_BRIDGE)")
	flags.StringVar(&o.tokenFile, "token-file", os.Getenv("FAIRLEAD_ADMIN_TOKEN_FILE"), "file with a token: the bridge's admin.tokenFile, or your own (FAIRLEAD_ADMIN_TOKEN_FILE)")
	flags.StringVarP(&o.output, "output", "o", "table", "table, wide (a table with more columns), json or yaml")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		// Completion asks in its own way, with whatever stands on the line.
		if outputs := []string{"table", "wide", "json", "yaml"}; !slices.Contains(outputs, o.output) {
			return fmt.Errorf("--output: %q is none of %s", o.output, strings.Join(outputs, ", "))
		}
		o.running = true
		return nil
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	root.AddCommand(statusCommand(o), accountsCommand(o), tokenCommand(o), agentCommand(o), pluginCommand(o), keyCommand(o), auditCommand(o), operationsCommand(o), kubectlCommand(o),
		configCommand(o), doctorCommand(o), supportCommand(o), logLevelCommand(o), uninstallCommand(o))
	strict(root)
	return root
}

// strict has commands that only hold others refuse words that name none of them; cobra prints their help and reports success.
func strict(c *cobra.Command) {
	for _, child := range c.Commands() {
		strict(child)
	}
	if !c.HasParent() || c.Runnable() || !c.HasSubCommands() {
		return
	}
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return errors.New(text)
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// client speaks to the bridge.
func (o *options) client() (adminv1connect.AdminServiceClient, error) {
	address, err := url.Parse(o.bridge)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, &failure{code: exitUsage, text: fmt.Sprintf("--bridge: %q is no address; write %s", o.bridge, defaultBridge)}
	}
	if o.tokenFile == "" {
		return nil, &failure{code: exitUsage, text: "--token-file: is not set; name the file of the bridge's admin.tokenFile, or set FAIRLEAD_ADMIN_TOKEN_FILE"}
	}
	content, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return nil, &failure{code: exitUsage, text: fmt.Sprintf("--token-file: %v", err)}
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return nil, &failure{code: exitUsage, text: fmt.Sprintf("--token-file: %s does not hold one token", o.tokenFile)}
	}
	return adminv1connect.NewAdminServiceClient(&http.Client{Transport: http.DefaultTransport}, strings.TrimRight(o.bridge, "/"),
		connect.WithInterceptors(&caller{token: token, options: o})), nil
}

// caller shows the token with each call, and says what a failure means and that a call takes long.
type caller struct {
	token   string
	options *options
}

func (c *caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+c.token)
		done := c.options.progress(os.Stderr, "waiting for "+c.options.bridge)
		response, err := next(ctx, r)
		done()
		return response, c.options.explain(err)
	}
}

func (c *caller) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+c.token)
		return conn
	}
}

func (c *caller) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// accounts completes names of accounts.
func (o *options) accounts(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := o.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(c.Context(), 3*time.Second)
	defer cancel()
	response, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, a := range response.Msg.GetAccounts() {
		names = append(names, cobra.CompletionWithDesc(a.GetName(), a.GetState()))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
