package operations

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// Failover gives an account's operations to the agent that also caches it, Distributed to all agents of the account in turns.
const (
	Failover    = "failover"
	Distributed = "distributed"
)

// modesInterval is how often modes are read: how soon one that was set at another bridge holds here.
const modesInterval = 5 * time.Second

// ValidMode tells whether there is such a mode.
func ValidMode(mode string) bool { return mode == Failover || mode == Distributed }

// ModeStore keeps what was said at run time (store.Store).
type ModeStore interface {
	Modes(ctx context.Context) ([]store.Mode, error)
	SetMode(ctx context.Context, pattern, mode string) error
}

// Modes knows which of an account's agents have its operations. All bridges of a database have the same ones, seconds after they were set.
type Modes struct {
	store     ModeStore
	otherwise string
	matches   func(pattern, account string) bool
	log       *slog.Logger

	current atomic.Pointer[[]store.Mode]
	reading sync.Mutex // so that an older reading does not replace a newer one
}

// NewModes makes modes; otherwise holds for accounts that no pattern covers.
func NewModes(s ModeStore, otherwise string, matches func(pattern, account string) bool, log *slog.Logger) *Modes {
	return &Modes{store: s, otherwise: otherwise, matches: matches, log: log}
}

// Default is the mode of accounts that no pattern covers.
func (m *Modes) Default() string { return m.otherwise }

// Spread tells whether all agents of an account share its operations. Of several patterns the longest holds, of equally long ones the first in order.
func (m *Modes) Spread(account string) bool {
	mode, longest := m.otherwise, -1
	if current := m.current.Load(); current != nil {
		for _, rule := range *current {
			if len(rule.Pattern) > longest && m.matches(rule.Pattern, account) {
				mode, longest = rule.Mode, len(rule.Pattern)
			}
		}
	}
	return mode == Distributed
}

// Set changes the mode of a pattern; "" takes it away. Here it holds at once.
func (m *Modes) Set(ctx context.Context, pattern, mode string) error {
	if err := m.store.SetMode(ctx, pattern, mode); err != nil {
		return err
	}
	return m.Read(ctx)
}

// Read takes over what the database has.
func (m *Modes) Read(ctx context.Context) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	list, err := m.store.Modes(ctx)
	if err != nil {
		return err
	}
	m.current.Store(&list)
	return nil
}

// Run follows what other bridges set, until ctx ends. While the database is away the last known modes hold.
func (m *Modes) Run(ctx context.Context) error {
	ticker := time.NewTicker(modesInterval)
	defer ticker.Stop()
	for failing := false; ; {
		attempt, cancel := context.WithTimeout(ctx, modesInterval)
		err := m.Read(attempt)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			m.log.Warn("modes of operations cannot be read, going on with what is known", "error", err.Error())
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
