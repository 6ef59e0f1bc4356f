package golden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/fairlead/fairlead/testenv"
)

// Generation says what Generate records, and where to.
type Generation struct {
	// Versions of Clouddriver.
	Versions []string
	// Directory gets a directory of records for each version, in place of what is there.
	Directory string
	// Progress is told what happens.
	Progress io.Writer
}

// Generate starts an environment for each version, with nothing of Fairlead in it, and records what its stock accounts
// make of the corpus.
func Generate(ctx context.Context, g Generation) error {
	for _, version := range g.Versions {
		if err := g.version(ctx, version); err != nil {
			return fmt.Errorf("clouddriver %s: %w", version, err)
		}
	}
	return nil
}

func (g Generation) version(ctx context.Context, version string) (err error) {
	dir, err := os.MkdirTemp("", "fairlead-golden-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	env, err := testenv.Up(ctx, testenv.Options{
		Dir: filepath.Join(dir, "env"), Clouddriver: version, Stock: true, WithoutFairlead: true, DiesWithParent: true,
		Configure: configure, Progress: g.Progress,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Down(context.WithoutCancel(ctx))) }()
	if err := Apply(ctx, env.Clusters[0].Kubeconfig); err != nil {
		return err
	}
	out := filepath.Join(g.Directory, version)
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return Record(ctx, Recording{
		Kubeconfig: env.Clusters[0].Kubeconfig, DSN: env.MySQL.DSN,
		Accounts: []string{env.Clusters[0].StockAccount, "everything", "managed"}, Directory: out,
		Progress: func(text string) { _, _ = fmt.Fprintf(g.Progress, "%s: %s\n", version, text) },
	})
}

// configure makes Clouddriver cache all kinds, every few seconds, for three accounts that see the same cluster: the
// one that is there keeps its settings, two more have settings that change rows.
func configure(config map[string]any) {
	kubernetes, _ := config["kubernetes"].(map[string]any)
	// Kinds that Kubernetes no longer has make the whole poll fail.
	kubernetes["cache"] = map[string]any{"cacheAll": true, "cacheOmitKinds": []string{"podPreset", "podSecurityPolicy"}}
	accounts, _ := kubernetes["accounts"].([]any)
	account := func(name string, more map[string]any) map[string]any {
		settings := maps.Clone(accounts[0].(map[string]any))
		settings["name"] = name
		maps.Copy(settings, more)
		return settings
	}
	// What the first shows already would only make the records longer.
	omit := []string{"clusterRole", "clusterRoleBinding", "apiService", "configMap", "event"}
	kubernetes["accounts"] = []any{
		accounts[0],
		account("everything", map[string]any{
			"cacheAllApplicationRelationships": true, "omitKinds": omit,
			"customResources": []any{map[string]any{"kubernetesKind": "CronTab.stable.example.com", "spinnakerKind": "serverGroups"}},
		}),
		account("managed", map[string]any{"onlySpinnakerManaged": true, "omitKinds": omit}),
	}
	sql, _ := config["sql"].(map[string]any)
	sql["agent"] = map[string]any{"poll": map[string]any{"intervalSeconds": 3}}
}
