package credentials

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/agent/internal/secrets"
)

// Options of all keepers.
type Options struct {
	Policy  Policy
	Secrets *secrets.Reader
	// Refresh is how often a secret is read again; 0: every 30 seconds.
	Refresh time.Duration
	// Reads counts what was read, by result (NewReads); nil: nobody counts.
	Reads *prometheus.CounterVec
	Log   *slog.Logger
}

// What becomes of a look at a source.
const (
	readSame    = "unchanged"
	readChanged = "changed"
	readFailed  = "failed"
)

// NewReads makes the counter of all keepers.
func NewReads() *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_agent_credentials_reads_total",
		Help: "Looks at the sources of accounts' credentials (files, secrets, Vault), by what became of them."}, []string{"result"})
	for _, result := range []string{readSame, readChanged, readFailed} {
		v.WithLabelValues(result)
	}
	return v
}

// Keeper keeps one account's access up to date.
type Keeper struct {
	source *source
	reads  *prometheus.CounterVec
	log    *slog.Logger
	// poked: look now.
	poked chan struct{}

	mu      sync.Mutex
	current *Access
	problem string
}

// ErrNone: the credentials have not been read yet.
var ErrNone = errors.New("the credentials have not been read yet")

// New makes a keeper. It reads nothing.
func New(account string, spec Spec, o Options) *Keeper {
	every := o.Refresh
	switch {
	case spec.Secret == nil:
		every = fileInterval
	case every <= 0:
		every = secretInterval
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		source: &source{spec: spec, policy: o.Policy, secrets: o.Secrets, every: every},
		reads:  o.Reads, log: o.Log.With("account", account), poked: make(chan struct{}, 1), problem: ErrNone.Error(),
	}
}

// firstRetry is the pause after a failure; it doubles up to the usual interval.
const firstRetry = time.Second

// Look reads the source once; false: there is no other Access than before. It is called by one goroutine at a time: by Run's, once that runs.
func (k *Keeper) Look(ctx context.Context) (*Access, bool) {
	access, err := k.source.read(ctx)
	if ctx.Err() != nil {
		return nil, false
	}
	other := k.take(access, err)
	if k.reads != nil {
		result := readSame
		switch {
		case err != nil:
			result = readFailed
		case other:
			result = readChanged
		}
		k.reads.WithLabelValues(result).Inc()
	}
	return access, other
}

// Run reads the source until ctx ends, and calls changed with each other Access.
func (k *Keeper) Run(ctx context.Context, changed func(*Access)) {
	pause := firstRetry
	for {
		if access, other := k.Look(ctx); other {
			changed(access)
		}
		wait := k.source.every
		if _, problem := k.Current(); problem != "" {
			wait = min(pause, wait)
			pause = min(2*pause, k.source.every)
		} else {
			pause = firstRetry
		}
		if !k.wait(ctx, spread(wait)) {
			return
		}
	}
}

// take notes what was read; true: it is another Access.
func (k *Keeper) take(access *Access, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if k.problem != err.Error() {
			k.log.Error("credentials cannot be read", "error", err.Error(), "last_good", k.current != nil)
		}
		k.problem = err.Error()
		return false
	}
	if access == nil {
		return false
	}
	if k.problem != "" && k.current != nil {
		k.log.Info("credentials can be read again")
	}
	k.problem = ""
	if k.current != nil && k.current.Stamp == access.Stamp {
		return false
	}
	if k.current != nil {
		k.log.Info("credentials have changed", "source", k.source.spec.String())
	}
	k.current = access
	return true
}

// leastPause is between two looks that somebody asked for.
const leastPause = time.Second

// wait returns after d, or when somebody asks for a look; false: ctx ended.
func (k *Keeper) wait(ctx context.Context, d time.Duration) bool {
	first, rest := min(leastPause, d), max(d-leastPause, 0)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(first):
	}
	select {
	case <-ctx.Done():
		return false
	case <-k.poked:
		return true
	case <-time.After(rest):
		return true
	}
}

// Poke has the source looked at soon: the API server does not take the credentials any more.
func (k *Keeper) Poke() {
	select {
	case k.poked <- struct{}{}:
	default:
	}
}

// Current returns the last good Access, nil if there was none, and what is wrong now, "" if nothing is.
func (k *Keeper) Current() (*Access, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current, k.problem
}

// Load reads the credentials once.
func Load(ctx context.Context, spec Spec, o Options) (*Access, error) {
	return New("", spec, o).source.read(ctx)
}

// spread keeps accounts from reading at the same moment.
func spread(d time.Duration) time.Duration {
	return d - d/8 + rand.N(d/4+1)
}
