package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func tokenCommand(o *options) *cobra.Command {
	token := &cobra.Command{Use: "token", Aliases: []string{"tokens"}, Short: "Enrolment tokens, by which agents are known"}
	token.AddCommand(createTokenCommand(o), listTokensCommand(o), revokeTokenCommand(o))
	return token
}

func createTokenCommand(o *options) *cobra.Command {
	var accounts []string
	var ttl time.Duration
	var description, role string
	var uses uint32
	create := &cobra.Command{
		Use: "create --accounts PATTERN,…", Short: "Make an enrolment token, or one for a person (--role); it is shown this once", Args: cobra.NoArgs,
		Long: "Makes a token. Without --role it is an agent's: who holds it may serve the accounts that the patterns cover, and no others. An agent exchanges it\n" +
			"at each start for a certificate of 24 hours, so it may be kept in its Secret; \"fairlead token revoke\" ends what it opened within seconds.\n\n" +
			"With --uses it is good for so many agents, each of which must keep its certificate (clouddriver.auth.certificateFile or certificateSecret),\n" +
			"and --ttl is the time in which they have to come. Without --uses access itself ends after --ttl.\n\n" +
			"With --role it is a person's: viewer, account-manager (of --accounts), operator.",
		RunE: func(c *cobra.Command, _ []string) error {
			if ttl < 0 || ttl > 0 && ttl < time.Second {
				return usage("--ttl: %s is shorter than a second; leave it out for a token that does not expire", ttl)
			}
			if role == "" && len(accounts) == 0 {
				return usage("--accounts: is not set; name the accounts that the agent may serve, * for any characters, or --role for a person's token")
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.CreateToken(c.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{
				Accounts: accounts, TtlSeconds: uint64(ttl / time.Second), Description: description, Uses: uses, Role: role, //nolint:gosec // not negative
			}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) {
				row(w, "TOKEN", response.Msg.GetToken())
				row(w, "ID", response.Msg.GetId())
				if role != "" {
					fmt.Fprintf(w, "\nA person with this token is %s. It is not shown again. Put it into a file that only they can read, and name the file by --token-file.\n", roleOf(role, accounts))
					return
				}
				row(w, "CA PIN", response.Msg.GetCaPin())
				fmt.Fprintf(w, "\nAn agent with this token may serve the accounts %s.\nIt is not shown again. Give it to the agent with the pin: clouddriver.auth.tokenFile and clouddriver.tls.pin.\n", strings.Join(accounts, ", "))
			})
		},
	}
	create.Flags().StringSliceVar(&accounts, "accounts", nil, "accounts that the agent may serve; * stands for any characters")
	create.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good for, for instance 720h; 0: for ever")
	create.Flags().StringVar(&description, "description", "", "what it is for")
	create.Flags().Uint32Var(&uses, "uses", 0, "how many agents may enrol with it; 0: any number")
	create.Flags().StringVar(&role, "role", "", "make it a person's: viewer, account-manager or operator")
	return create
}

// roleOf words what a person's token allows.
func roleOf(role string, accounts []string) string {
	if len(accounts) == 0 {
		return role
	}
	return role + " of the accounts " + strings.Join(accounts, ", ")
}

func listTokensCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "The enrolment tokens, without their texts", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.ListTokens(c.Context(), connect.NewRequest(&adminv1.ListTokensRequest{}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { printTokens(w, response.Msg.GetTokens(), time.Now()) })
		},
	}
}

func printTokens(w io.Writer, tokens []*adminv1.Token, now time.Time) {
	if len(tokens) == 0 {
		fmt.Fprintln(w, "There is no enrolment token; \"fairlead token create --accounts PATTERN\" makes one.")
		return
	}
	row(w, "ID", "FOR", "ACCOUNTS", "USES", "CREATED", "EXPIRES", "LAST USED", "DESCRIPTION")
	for _, t := range tokens {
		expires, used := until(t.GetExpires(), now), "never"
		if t.GetRevoked() {
			expires = "revoked"
		}
		if t.GetLastUsed() != nil {
			used = ago(t.GetLastUsed(), now)
		}
		uses, whose := "any", cmp.Or(t.GetRole(), "agents")
		if t.GetUses() > 0 {
			uses = fmt.Sprintf("%d of %d", t.GetUsed(), t.GetUses())
		}
		row(w, t.GetId(), whose, some(t.GetAccounts()), uses, ago(t.GetCreated(), now), expires, used, t.GetDescription())
	}
}

func revokeTokenCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a token and the sessions that it opened", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			response, err := client.RevokeToken(c.Context(), connect.NewRequest(&adminv1.RevokeTokenRequest{Id: args[0]}))
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), response.Msg, func(w io.Writer) { fmt.Fprintf(w, "Token %s is revoked.\n", args[0]) })
		},
	}
}
