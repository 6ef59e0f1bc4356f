// Package parity compares the cached views of Clouddriver's REST API between accounts that Clouddriver polls with kubectl and accounts of
// an agent, of one cluster: docs/parity.md says which views, and what differs on purpose.
package parity

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/golden"
)

func TestMain(m *testing.M) {
	// Idle connections to servers that have ended are nobody's goroutines.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

// pair is a stock account and an agent's account that show the same.
type pair struct {
	stock, agent string
	// everything tells whether the pair caches all kinds, not only those of Spinnaker's screens.
	everything bool
}

func (p pair) accounts() [2]string { return [2]string{p.stock, p.agent} }

// suite is an environment with two pairs of accounts of one cluster.
type suite struct {
	*testenv.Env

	cluster *golden.Cluster
	db      *sql.DB
	pairs   []pair
	*generator
}

// everything is the name of the second pair.
const everything = "everything"

// moved is an account of the agent that Clouddriver's configuration has too, with so many polls, by namespaces: see handBack.
const (
	moved        = "handed-over"
	movedThreads = 2
)

// omitted are kinds that the second pair leaves out: Kubernetes no longer has the first two, and stock Clouddriver's whole poll would
// fail of them; events never rest.
var omitted = []string{"podPreset", "podSecurityPolicy", "event"}

// customResources makes server groups of a custom resource, and leaves others to be found.
var customResources = []any{map[string]any{"kubernetesKind": "CronTab.stable.example.com", "spinnakerKind": "serverGroups"}}

// up brings an environment up whose cluster holds the corpus and random objects.
func up(t *testing.T, version string, seed uint64) *suite {
	t.Helper()
	g := newGenerator(seed)
	env := testenv.UpForTest(t, testenv.Options{
		Clouddriver: version, Stock: true, Configure: configureClouddriver, ConfigureBridge: configureBridge, ConfigureAgent: configureAgent,
		Populate: func(ctx context.Context, kubeconfig string) error { return populate(ctx, kubeconfig, g) },
	})
	s := &suite{Env: env, generator: g, pairs: []pair{
		{stock: env.Clusters[0].StockAccount, agent: env.Clusters[0].Account},
		{stock: everything + "-stock", agent: everything, everything: true},
	}}
	var err error
	s.cluster, err = golden.OpenCluster(env.Clusters[0].Kubeconfig)
	must(t, err)
	s.db, err = sql.Open("mysql", env.MySQL.DSN)
	must(t, err)
	t.Cleanup(func() { _ = s.db.Close() })
	must(t, testenv.Wait(within(t, 2*time.Minute), s.accountsLoaded))
	return s
}

// configureClouddriver gives Clouddriver the second stock account, and its polls an interval in which none comes unasked: see cycle.
func configureClouddriver(config map[string]any) {
	kubernetes := config["kubernetes"].(map[string]any)
	// It holds for all stock accounts; the first one narrows it by its kinds.
	kubernetes["cache"] = map[string]any{"cacheAll": true, "cacheOmitKinds": omitted}
	first := kubernetes["accounts"].([]any)[0].(map[string]any)
	second := maps.Clone(first)
	first["kinds"] = defaultKinds()
	second["name"], second["cacheAllApplicationRelationships"], second["customResources"] = everything+"-stock", true, customResources
	third := maps.Clone(first)
	third["name"], third["cacheThreads"] = moved, movedThreads
	kubernetes["accounts"] = []any{first, second, third}
	config["sql"].(map[string]any)["agent"] = map[string]any{"poll": map[string]any{
		"intervalSeconds": pollInterval, "errorIntervalSeconds": pollErrorInterval, "timeoutSeconds": pollTimeout,
	}}
}

func configureBridge(config map[string]any) {
	config["cache"] = map[string]any{"policies": []any{map[string]any{"accounts": []string{everything}, "all": true, "omitKinds": omitted}}}
}

func configureAgent(config map[string]any) {
	kubernetes := config["kubernetes"].(map[string]any)
	accounts := kubernetes["accounts"].([]any)
	second := maps.Clone(accounts[0].(map[string]any))
	second["name"], second["cacheAllApplicationRelationships"], second["customResources"] = everything, true, customResources
	// The stock account's kinds narrow some views too.
	accounts[0].(map[string]any)["kinds"] = defaultKinds()
	third := maps.Clone(accounts[0].(map[string]any))
	third["name"] = moved
	kubernetes["accounts"] = append(accounts, second, third)
}

func defaultKinds() []string {
	var kinds []string
	for _, t := range cats.DefaultTypes() {
		kinds = append(kinds, string(t))
	}
	return kinds
}

func (s *suite) accountsLoaded(ctx context.Context) error {
	names, err := s.REST().Accounts(ctx)
	if err != nil {
		return err
	}
	for _, account := range s.accounts() {
		if !slices.Contains(names, account) {
			return fmt.Errorf("account %s is not among Clouddriver's: %v", account, names)
		}
	}
	return nil
}

// accounts are the names of all accounts.
func (s *suite) accounts() []string {
	return []string{s.Clusters[0].StockAccount, s.Clusters[0].Account, everything + "-stock", everything, moved}
}

// within bounds a step.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
