package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/execute"
	"github.com/fairlead/fairlead/agent/internal/session"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// accounts makes what serves each account. Refused ones are logged; that all are is an error.
func accounts(cfg *config.Config, version string, log *slog.Logger) ([]session.Account, error) {
	for _, r := range cfg.Refused {
		log.Error("account refused", "account", r.Name, "error", r.Err.Error())
	}
	shared, schemas := cluster.NewShared(), execute.NewSchemas()
	var served []session.Account
	var refused []error
	for _, a := range cfg.Accounts {
		c, err := cluster.New(a, cluster.Options{Log: log, Shared: shared, NoProxy: cfg.Kubernetes.NoProxy, RequestTimeout: cfg.Timeout,
			UserAgent: "fairlead-agent/" + version})
		if err != nil {
			err = fmt.Errorf("account %q: %w", a.Name, err)
			log.Error("account refused", "account", a.Name, "error", err.Error())
			refused = append(refused, err)
			continue
		}
		declared := a.Link()
		served = append(served, session.Account{
			Declared: declared,
			Records:  cats.NewInventory(a.Name, cats.Options{OnlySpinnakerManaged: a.OnlySpinnakerManaged, AllApplicationRelationships: a.CacheAllApplicationRelationships}),
			Cluster:  c,
			Executor: execute.New(c, execute.Options{Log: log, Schemas: schemas, ServerSide: cfg.Kubernetes.ServerSideApply}),
		})
	}
	if len(served) == 0 && len(refused)+len(cfg.Refused) > 0 {
		for _, r := range cfg.Refused {
			refused = append(refused, r.Err)
		}
		return nil, fmt.Errorf("no account can be served: %w", errors.Join(refused...))
	}
	if len(served) == 0 {
		log.Warn("no account is configured (kubernetes.accounts); the agent connects and serves none")
	}
	return served, nil
}

// describe names this process.
func describe(cfg *config.Config) *linkv1.Agent {
	var instance [16]byte
	_, _ = rand.Read(instance[:]) // never fails (crypto/rand)
	name, err := os.Hostname()
	if err != nil {
		name = "agent"
	}
	return &linkv1.Agent{Instance: hex.EncodeToString(instance[:]), Name: name, Group: cfg.Zone, Zone: cfg.Zone, Version: Version()}
}
