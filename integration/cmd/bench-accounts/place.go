package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// place is an environment whose agent serves fake clusters, as many as a figure wants.
type place struct {
	sizes

	dir   string
	env   *testenv.Env
	fleet *fakekube.Fleet
	admin adminv1connect.AdminServiceClient
	end   []func() error
	lines []line
	// own is Clouddriver's start without accounts to speak of.
	own time.Duration
	// stockEach is what a stock account adds to it; 0: not measured.
	stockEach time.Duration
	// served and late are entries of accounts that are reached, present those that the agent has now.
	served, late, present []any
}

func newPlace(ctx context.Context, s sizes) (*place, error) {
	p := &place{sizes: s}
	if err := p.open(ctx); err != nil {
		return nil, p.close(err)
	}
	return p, nil
}

func (p *place) open(ctx context.Context) (err error) {
	if p.dir, err = os.MkdirTemp("", "fairlead-bench-accounts-"); err != nil {
		return err
	}
	p.end = append(p.end, func() error { return os.RemoveAll(p.dir) })
	if p.fleet, err = fakekube.New(); err != nil {
		return err
	}
	fleet, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- p.fleet.Run(fleet) }()
	p.end = append(p.end, func() error { stop(); return <-ended })
	first, err := p.account("first", nil)
	if err != nil {
		return err
	}
	p.env, err = testenv.Up(ctx, testenv.Options{
		Dir: filepath.Join(p.dir, "env"), Clouddriver: p.clouddriver, WithoutCluster: true, DiesWithParent: true,
		ConfigureBridge: quiet("log"),
		ConfigureAgent: func(config map[string]any) {
			config["kubernetes"].(map[string]any)["accounts"] = []any{first}
			quiet("logging")(config)
		},
	})
	if err != nil {
		return err
	}
	p.end = append(p.end, func() error { return p.env.Down(context.WithoutCancel(ctx)) })
	if p.admin, err = p.env.Bridges[0].AdminClient(); err != nil {
		return err
	}
	token, err := p.admin.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"*"}}))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.env.Agents[0].Config), "token"), []byte(token.Msg.GetToken()), 0o600); err != nil {
		return err
	}
	return p.env.Restart(ctx, "agent", 0, false)
}

func quiet(section string) func(map[string]any) {
	return func(config map[string]any) { config[section] = map[string]any{"level": "warn", "format": "text"} }
}

// close ends everything, the last thing first.
func (p *place) close(err error) error {
	for _, end := range slices.Backward(p.end) {
		err = errors.Join(err, end())
	}
	p.end = nil
	return err
}

// account makes a cluster with an application in it, and the entry of an account for it. One kind is cached of it, so that two thousand of them fit on a
// machine; Clouddriver sees no difference.
func (p *place) account(name string, fill func(*fakekube.Cluster)) (map[string]any, error) {
	c := p.fleet.Add(name)
	c.Populate(fakekube.Population{Applications: 1, Pods: 1, Namespaces: 3, Bytes: 1024})
	if fill != nil {
		fill(c)
	}
	content, err := c.Kubeconfig()
	if err != nil {
		return nil, err
	}
	return p.entry(name, content)
}

func (p *place) entry(name string, kubeconfig []byte) (map[string]any, error) {
	file := filepath.Join(p.dir, name+".kubeconfig")
	return map[string]any{"name": name, "kubeconfigFile": file, "kinds": []any{"deployment"}}, os.WriteFile(file, kubeconfig, 0o600)
}

// declare gives the agent these accounts.
func (p *place) declare(accounts []any) error {
	content, err := os.ReadFile(p.env.Agents[0].Config)
	if err != nil {
		return err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(content, &config); err != nil {
		return err
	}
	config["kubernetes"].(map[string]any)["accounts"] = accounts
	if content, err = yaml.Marshal(config); err != nil {
		return err
	}
	part := p.env.Agents[0].Config + ".part"
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return err
	}
	return os.Rename(part, p.env.Agents[0].Config)
}

// patience bounds each wait for all accounts.
const patience = 15 * time.Minute

// awaitBridge waits until the bridge has so many accounts, and knows the namespaces of so many.
func (p *place) awaitBridge(ctx context.Context, accounts, reached int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return testenv.Wait(ctx, func(ctx context.Context) error {
		answer, err := p.admin.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
		if err != nil {
			return err
		}
		seen := 0
		for _, a := range answer.Msg.GetAccounts() {
			if a.GetServerVersion() != "" {
				seen++
			}
		}
		if n := len(answer.Msg.GetAccounts()); n != accounts || seen < reached {
			return fmt.Errorf("the bridge has %d accounts and has seen %d; %d and %d are wanted", n, seen, accounts, reached)
		}
		return nil
	})
}

// removeOthers takes accounts out whose name begins otherwise.
func (p *place) removeOthers(ctx context.Context, prefix string) error {
	answer, err := p.admin.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return err
	}
	for _, a := range answer.Msg.GetAccounts() {
		if strings.HasPrefix(a.GetName(), prefix) || a.GetState() == "connected" {
			continue
		}
		if _, err := p.admin.RemoveAccount(ctx, connect.NewRequest(&adminv1.RemoveAccountRequest{Name: a.GetName()})); err != nil {
			return err
		}
	}
	return nil
}

// listed asks Clouddriver for its accounts.
func (p *place) listed(ctx context.Context, want int) error {
	names, err := p.env.REST().Accounts(ctx)
	if err == nil && len(names) != want {
		err = fmt.Errorf("clouddriver lists %d accounts of %d", len(names), want)
	}
	return err
}

// start starts a Clouddriver that knows nothing of before, and returns how long it took until it listed so many accounts.
func (p *place) start(ctx context.Context, accounts int) (time.Duration, error) {
	if err := os.RemoveAll(filepath.Join(p.env.Dir(), "clouddriver", "plugin-state", "accounts.json")); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	healthy := make(chan error, 1)
	go func() { healthy <- p.env.Start(ctx, "clouddriver", 0) }()
	err := testenv.Wait(ctx, func(ctx context.Context) error { return p.listed(ctx, accounts) })
	took := time.Since(began)
	return took, errors.Join(err, <-healthy)
}

// starts is the median of several, each after an end.
func (p *place) starts(ctx context.Context, accounts int) (time.Duration, error) {
	var all []time.Duration
	for range p.rounds {
		if err := p.env.Stop(ctx, "clouddriver", 0, false); err != nil {
			return 0, err
		}
		took, err := p.start(ctx, accounts)
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	slices.Sort(all)
	tell("starts with %d accounts: %v", accounts, all)
	return all[len(all)/2], nil
}

func definition(n int) (name string, content []byte, resource fakekube.Resource) {
	r := fakekube.Resource{Group: "bench.example.com", Version: "v1", Kind: fmt.Sprintf("Thing%d", n), Plural: fmt.Sprintf("thing%ds", n), Custom: true}
	content, _ = json.Marshal(map[string]any{"spec": map[string]any{"group": r.Group, "scope": "Namespaced", "names": map[string]any{"kind": r.Kind, "plural": r.Plural},
		"versions": []any{map[string]any{"name": r.Version, "served": true, "storage": true}}}})
	return r.Plural + "." + r.Group, content, r
}
