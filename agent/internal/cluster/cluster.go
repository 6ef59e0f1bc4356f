package cluster

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"golang.org/x/time/rate"
)

// Options of a cluster.
type Options struct {
	Log *slog.Logger
	// Access is how to reach the API server; nil: as the account says, read once.
	Access *credentials.Access
	// Refused is called when the API server does not take the credentials; it must not block. nil: nobody wants to know.
	Refused func()
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
	server     *server
	timing     timing
	facts      *facts
	reach      reach
	// lists has room for the listings that may run at once.
	lists chan struct{}
	// poked: look at the kinds again; pokes limits how often.
	poked chan struct{}
	pokes *rate.Limiter
	// decided: the policy is another one.
	decided chan struct{}

	mu     sync.Mutex
	states map[cats.Type]*kindState
	// policy is what the bridge's configuration says; nil: not known yet.
	policy *linkv1.CachePolicy
	// definitions are the names of the custom resource definitions, sorted, once they are known. They may not be listed: refused.
	definitions                          []string
	definitionsKnown, definitionsRefused bool
}

const (
	// accountLists is how many listings of an account run at once.
	accountLists = 2
	// pokeInterval and pokeBurst limit how often events about definitions read discovery again.
	pokeInterval = 3 * time.Second
	pokeBurst    = 5
)

// New reads the account's credentials. It does not talk to the API server.
func New(account config.Account, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Shared == nil {
		o.Shared = NewShared()
	}
	connection, err := connect(account, o)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		account: account, log: o.Log.With("account", account.Name), shared: o.Shared,
		connection: connection, kinds: newHolder(connection, o.Shared),
		server: o.Shared.server(connection.server), timing: defaultTiming(), facts: newFacts(account.Name),
		lists: make(chan struct{}, accountLists), states: map[cats.Type]*kindState{},
		poked: make(chan struct{}, 1), decided: make(chan struct{}, 1), pokes: rate.NewLimiter(rate.Every(pokeInterval), pokeBurst),
	}
	c.reach.changed = func() {
		_, problem := c.reach.get()
		if problem != "" {
			problem = fmt.Sprintf("API server %s does not answer: %s", connection.server, problem)
		}
		c.facts.problem("reach", problem)
	}
	c.ownFacts()
	return c, nil
}

// Name is the account's name.
func (c *Cluster) Name() string { return c.account.Name }

// Server is the API server's URL.
func (c *Cluster) Server() string { return c.connection.server }

// Close ends the connections of an account that is served no more, and with them what is still under way on it.
func (c *Cluster) Close() {
	c.server.requests.limit(c, 0)
	c.connection.close()
}
