package plugin

import (
	"context"
	"io"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Account is what the endpoint needs to know of an account.
type Account struct {
	// Declared is what the agent said; Declared.Name is the account's name.
	Declared *linkv1.Account
	// Facts is the last that an agent reported of the cluster; nil if none ever did.
	Facts *linkv1.Facts
	// Types are table types in which the account has rows beyond the default ones and the declared kinds; may be empty.
	Types []cats.Type
}

// Accounts is the registry of accounts.
type Accounts interface {
	// List returns all accounts sorted by name. complete is false while accounts may exist that the bridge does not know yet.
	List() (all []Account, complete bool)
	// Get returns one account.
	Get(name string) (account Account, known bool)
	// Changed returns a channel that is closed at the next change of what List returns.
	Changed() <-chan struct{}
	// HoldNew reads the accounts from the database and calls held; from before that until ctx ends no account gets rows that List lacks then.
	HoldNew(ctx context.Context, held func() error) error
}

// Runner runs operations on the accounts' agents. Operation output goes to output as it comes, and is complete when Run returns.
// An error instead of an outcome that proves that nothing began has a method NotStarted() bool that says so.
type Runner interface {
	Run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error)
}

// Status is what Clouddriver shows of its bridge in /health.
type Status struct {
	Version           string
	Agents            int
	Accounts          int
	AccountsConnected int
	// Problems are sentences for a person; empty when all is well.
	Problems []string
}

// A Caller is who stands behind an operation, as far as Clouddriver said.
type Caller struct{ User, Execution string }

type callerKey struct{}

// WithCaller is how the endpoint tells the Runner who asked; it is for the operation history alone.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller that WithCaller put into ctx.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
