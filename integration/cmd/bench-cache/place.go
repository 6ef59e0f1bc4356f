package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	_ "github.com/go-sql-driver/mysql" // the database

	"github.com/fairlead/fairlead/proto/cats"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// place is an environment whose agent serves a fleet of fake clusters, through a wire that counts.
type place struct {
	bench    *bench
	env      *testenv.Env
	fleet    *fakekube.Fleet
	clusters []*fakekube.Cluster
	wire     *wire
	db       *sql.DB
	admin    adminv1connect.AdminServiceClient
	// agentMetrics is where the agent shows its metrics.
	agentMetrics string
	// agentProfiles is its pprof endpoint; "": none are wanted.
	agentProfiles string
	end           []func() error
}

// newPlace brings an environment up with so many accounts; fill puts objects in their clusters before that.
func (b *bench) newPlace(ctx context.Context, accounts int, clouddriver string, fill func(i int, c *fakekube.Cluster)) (*place, error) {
	p := &place{bench: b}
	if err := p.open(ctx, accounts, clouddriver, fill); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *place) open(ctx context.Context, accounts int, clouddriver string, fill func(i int, c *fakekube.Cluster)) error {
	dir, err := os.MkdirTemp("", "fairlead-bench-cache-")
	if err != nil {
		return err
	}
	p.end = append(p.end, func() error { return os.RemoveAll(dir) })
	if p.fleet, err = fakekube.New(); err != nil {
		return err
	}
	fleetCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- p.fleet.Run(fleetCtx) }()
	p.end = append(p.end, func() error { stop(); return <-ended })
	p.end = append(p.end, func() error {
		if p.wire == nil {
			return nil
		}
		return p.wire.close()
	})
	var declared []any
	for i := range accounts {
		c := p.fleet.Add(fmt.Sprintf("fleet-%03d", i))
		p.clusters = append(p.clusters, c)
		fill(i, c)
		kubeconfig, err := c.Kubeconfig()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, c.Name+".kubeconfig")
		if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
			return err
		}
		declared = append(declared, map[string]any{"name": c.Name, "kubeconfigFile": file})
	}
	p.bench.Tell("%d accounts with %d objects; bridge, agent and MariaDB start", accounts, p.objects())
	p.env, err = testenv.Up(ctx, testenv.Options{
		Dir: filepath.Join(dir, "env"), Clouddriver: clouddriver, WithoutCluster: true, DiesWithParent: true, Java: p.bench.java,
		ConfigureAgent: func(config map[string]any) {
			config["kubernetes"].(map[string]any)["accounts"] = declared
			config["logging"] = map[string]any{"level": "warn", "format": "text"}
			link := config["clouddriver"].(map[string]any)
			if p.wire == nil {
				p.wire = newWire(link["grpc"].(string))
			}
			link["grpc"] = p.wire.address()
			if port := p.bench.pprofPort(); port > 0 {
				config["pprof"] = map[string]any{"enabled": true, "port": port}
				p.agentProfiles = "http://127.0.0.1:" + strconv.Itoa(port) + "/debug/pprof/"
			}
			p.agentMetrics = "http://127.0.0.1:" + strconv.Itoa(config["prometheus"].(map[string]any)["port"].(int)) + "/metrics"
		},
	})
	if err != nil {
		return err
	}
	p.end = append(p.end, func() error { return p.env.Down(context.WithoutCancel(ctx)) })
	if p.db, err = sql.Open("mysql", p.env.MySQL.DSN); err != nil {
		return err
	}
	p.end = append(p.end, p.db.Close)
	p.admin, err = p.env.Bridges[0].AdminClient()
	return err
}

// close ends everything, the last thing first.
func (p *place) close() (err error) {
	for i := len(p.end) - 1; i >= 0; i-- {
		err = errors.Join(err, p.end[i]())
	}
	p.end = nil
	return err
}

// objects is how many there are of the kinds that are cached.
func (p *place) objects() (n int) {
	for _, c := range p.clusters {
		for _, plural := range []string{"deployments", "replicasets", "pods", "services"} {
			n += c.Count(plural)
		}
	}
	return n
}

// awaitLive waits until the rows of every account agree with its cluster.
func (p *place) awaitLive(ctx context.Context) error {
	return p.await(ctx, "up to date", func(a *adminv1.Account) bool {
		for _, kind := range cats.DefaultTypes() {
			if !slices.Contains(a.GetKindsLive(), string(kind)) {
				return false
			}
		}
		return len(a.GetKindsPending()) == 0
	})
}

// awaitConnected waits until a session of each account has its caching.
func (p *place) awaitConnected(ctx context.Context) error {
	return p.await(ctx, "attached", func(*adminv1.Account) bool { return true })
}

func (p *place) await(ctx context.Context, what string, is func(*adminv1.Account) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all accounts are %s after %s", what, patience))
	defer cancel()
	said := time.Now()
	for {
		answer, err := p.admin.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
		so, present := 0, 0
		if err == nil {
			for _, a := range answer.Msg.GetAccounts() {
				if a.GetState() != "connected" {
					continue
				}
				present++
				if is(a) {
					so++
				}
			}
		}
		if so == len(p.clusters) {
			return nil
		}
		if time.Since(said) > 10*time.Second {
			p.bench.Tell("%d of %d accounts are connected, %d %s", present, len(p.clusters), so, what)
			said = time.Now()
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
}

// patience bounds each wait for all accounts.
const patience = 20 * time.Minute

// rowsChanged is how many rows were ever written in the cache's tables: bodies and links.
func (p *place) rowsChanged(ctx context.Context) (bodies, links int64, err error) {
	tables, err := p.env.RowsChanged(ctx)
	for name, n := range tables {
		switch {
		case !strings.HasPrefix(name, "cats_v1_"):
		case strings.HasSuffix(name, "_rel"):
			links += n
		default:
			bodies += n
		}
	}
	return bodies, links, err
}

const testenvNone = testenv.NoClouddriver

func isCache(table string) bool { return strings.HasPrefix(table, "cats_v1_") }
func isLinks(table string) bool { return isCache(table) && strings.HasSuffix(table, "_rel") }

func join(a, b error) error { return errors.Join(a, b) }
