package main

import (
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func auditCommand(o *options) *cobra.Command {
	var limit uint32
	var before uint64
	list := &cobra.Command{
		Use: "list", Short: "What was changed and by whom, latest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ListAudit(c.Context(), connect.NewRequest(&adminv1.ListAuditRequest{Limit: limit, Before: before}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				row(w, "ID", "AT", "WHO", "ROLE", "FROM", "DID", "TO", "DETAIL", "OUTCOME")
				for _, e := range response.Msg.GetEntries() {
					row(w, fmt.Sprint(e.GetId()), e.GetAt().AsTime().Format(time.RFC3339), e.GetActor(), e.GetRole(), e.GetRemoteAddress(), e.GetAction(), e.GetTarget(), e.GetDetail(), e.GetOutcome())
				}
			})
		},
	}
	list.Flags().Uint32Var(&limit, "limit", 50, "at most so many")
	list.Flags().Uint64Var(&before, "before", 0, "only entries before this id")
	audit := &cobra.Command{Use: "audit", Short: "The audit trail"}
	audit.AddCommand(list)
	return audit
}

func keyCommand(o *options) *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Seal everything that is stored encrypted with the newest key of the key file", Args: cobra.NoArgs,
		Long: "Seals everything that is stored encrypted with the newest key of the key file. Before: \"fairlead-bridge key add FILE\", and the file given to every\n" +
			"bridge. Afterwards: \"fairlead-bridge key drop FILE\". It may be repeated, and it refuses as long as a running bridge lacks the key.",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.RotateKey(c.Context(), connect.NewRequest(&adminv1.RotateKeyRequest{}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				fmt.Fprintf(w, "Everything is sealed with key %s; %d secrets were sealed anew.\n", response.Msg.GetKeyId(), response.Msg.GetSealed())
			})
		},
	}
	key := &cobra.Command{Use: "key", Short: "The key that seals what is stored encrypted"}
	key.AddCommand(rotate)
	return key
}
