package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

const defaultBridge = "http://127.0.0.1:8082"

// options are the flags that every command has.
type options struct {
	bridge    string
	tokenFile string
	output    string
}

func command() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "fairlead", Short: "Look after Fairlead's bridges, agents and accounts", Version: bridge.Version(),
		SilenceUsage: true, SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.bridge, "bridge", cmp.Or(os.Getenv("FAIRLEAD_BRIDGE"), defaultBridge), "admin address of a bridge (FAIRLEAD_BRIDGE)")
	flags.StringVar(&o.tokenFile, "token-file", os.Getenv("FAIRLEAD_ADMIN_TOKEN_FILE"), "file with a token: the bridge's admin.tokenFile, or your own (FAIRLEAD_ADMIN_TOKEN_FILE)")
	flags.StringVarP(&o.output, "output", "o", "table", "table, or json for programs")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if o.output != "table" && o.output != "json" {
			return fmt.Errorf("--output: %q is neither table nor json", o.output)
		}
		return nil
	}
	root.AddCommand(statusCommand(o), accountsCommand(o), tokenCommand(o), agentCommand(o), pluginCommand(o), keyCommand(o), auditCommand(o), operationsCommand(o), kubectlCommand(o), configCommand(), uninstallCommand(o))
	return root
}

// client speaks to the bridge.
func (o *options) client() (adminv1connect.AdminServiceClient, error) {
	address, err := url.Parse(o.bridge)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, fmt.Errorf("--bridge: %q is no address; write %s", o.bridge, defaultBridge)
	}
	if o.tokenFile == "" {
		return nil, errors.New("--token-file: is not set; name the file of the bridge's admin.tokenFile, or set FAIRLEAD_ADMIN_TOKEN_FILE")
	}
	content, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return nil, fmt.Errorf("--token-file: %s does not hold one token", o.tokenFile)
	}
	return adminv1connect.NewAdminServiceClient(&http.Client{Transport: http.DefaultTransport}, strings.TrimRight(o.bridge, "/"),
		connect.WithInterceptors(&caller{token: token, options: o})), nil
}

// caller shows the token with each call, and says what a failure means.
type caller struct {
	token   string
	options *options
}

func (c *caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+c.token)
		response, err := next(ctx, r)
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

// explain turns a failed call into what a person can act on.
func (o *options) explain(err error) error {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return err
	}
	switch {
	case failure.Code() == connect.CodeUnauthenticated:
		return fmt.Errorf("the bridge at %s does not know the token of %s: use the file of that bridge's admin.tokenFile, or a token of \"fairlead token create --role ROLE\" that has not ended", o.bridge, o.tokenFile)
	case failure.Code() == connect.CodeUnimplemented || failure.Code() == connect.CodeUnknown && strings.Contains(failure.Message(), "content-type"):
		return fmt.Errorf("what answers at %s is not a bridge's admin API (%s): --bridge names its admin.address, by default port 8082", o.bridge, failure.Message())
	case !connect.IsWireError(err) && failure.Code() == connect.CodeUnavailable:
		return fmt.Errorf("no bridge answers at %s (%s): is it running, and is that its admin.address? In Kubernetes: kubectl port-forward POD 8082", o.bridge, failure.Message())
	case failure.Code() == connect.CodeCanceled:
		return errors.New("interrupted")
	}
	return errors.New(failure.Message())
}
