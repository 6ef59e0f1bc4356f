package bridge

import (
	"context"
	"os"
	"reflect"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/config"
)

// lookInterval is between two looks at the configuration's file. A change counts once two looks have seen the same, so that no half of a file
// that is being written does.
const lookInterval = 2 * time.Second

func (b *Bridge) policy(account string) accounts.Policy { return b.policies.Load().of(account) }

// followConfig takes other policies as the file gives them; everything else waits for a restart.
func (b *Bridge) followConfig(ctx context.Context) error {
	if b.cfg.File == "" {
		return nil
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	look := func() string {
		content, err := os.ReadFile(b.cfg.File)
		if err != nil {
			return "error: " + err.Error()
		}
		return string(content)
	}
	inForce := look()
	for seen := inForce; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := look()
		settled := now == seen
		if seen = now; settled && now != inForce {
			inForce = now
			b.reload()
		}
	}
}

// reload puts the file's policies in force, unless something is wrong with it.
func (b *Bridge) reload() {
	cfg, err := LoadConfig(b.cfg.File)
	if err != nil {
		b.log.Error("configuration refused, the one before stays in force", "file", b.cfg.File, "error", err.Error())
		return
	}
	if next := policiesOf(cfg); !reflect.DeepEqual(next, b.policies.Load()) {
		b.policies.Store(next)
		b.log.Info("other policies for accounts are in force", "file", b.cfg.File)
		b.sessions.Reconsider()
	}
	if !reflect.DeepEqual(withoutPolicies(cfg), withoutPolicies(b.cfg)) {
		b.log.Warn("the configuration has changes that take effect when the bridge starts again", "file", b.cfg.File)
	}
}

func withoutPolicies(c *config.Config) config.Config {
	rest := *c
	rest.Cache.Policies, rest.Accounts.Policies = nil, nil
	return rest
}
