package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

// maximumInput is what the bridge takes on standard input.
const maximumInput = 16 << 20

func kubectlCommand(o *options) *cobra.Command {
	var timeout time.Duration
	kubectl := &cobra.Command{
		Use: "kubectl ACCOUNT -- ARGUMENT…", ValidArgsFunction: o.accounts, Short: "Run a kubectl command line on an account, as Clouddriver would",
		Example: "  fairlead kubectl prod-eu -- -o json get pod --namespace=web\n  fairlead kubectl prod-eu -- apply -o json -f - < deployment.yml",
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("write: fairlead kubectl ACCOUNT -- ARGUMENT…")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			stdin, err := input(args[1:])
			if err != nil {
				return err
			}
			return o.execute(c.Context(), client, &adminv1.ExecuteRequest{
				Account: args[0], Arguments: args[1:], Stdin: stdin, TimeoutMs: uint64(max(timeout, 0).Milliseconds()), //nolint:gosec // not negative
			}, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	kubectl.Flags().DurationVar(&timeout, "timeout", 0, "how long it may take; 0: the bridge's own limit, 10 minutes")
	return kubectl
}

// input reads standard input when the command line asks for it ("-f -") and it is not a terminal: a pipe that nobody closes must not hold
// up a command that does not read it.
func input(arguments []string) ([]byte, error) {
	if !slices.ContainsFunc(arguments, func(a string) bool { return a == "-" || strings.HasSuffix(a, "=-") || a == "-f-" }) {
		return nil, nil
	}
	info, err := os.Stdin.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeCharDevice != 0 {
		return nil, errors.New("the command reads standard input, and that is a terminal: give it a file or a pipe")
	}
	content, err := io.ReadAll(io.LimitReader(os.Stdin, maximumInput+1))
	if err == nil && len(content) > maximumInput {
		err = fmt.Errorf("standard input has more than %d bytes", maximumInput)
	}
	return content, err
}

// execute passes output on as it comes, and the exit code.
func (o *options) execute(ctx context.Context, client adminv1connect.AdminServiceClient, request *adminv1.ExecuteRequest, stdout, stderr io.Writer) error {
	stream, err := client.Execute(ctx, connect.NewRequest(request))
	if err != nil {
		return o.explain(err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		switch f := stream.Msg().GetFrame().(type) {
		case *adminv1.ExecuteResponse_Stdout:
			_, err = stdout.Write(f.Stdout)
		case *adminv1.ExecuteResponse_Stderr:
			_, err = stderr.Write(f.Stderr)
		case *adminv1.ExecuteResponse_ExitCode:
			if f.ExitCode != 0 {
				return exitCode(f.ExitCode)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return o.explain(err)
	}
	return errors.New("the bridge ended the command without an exit code")
}
