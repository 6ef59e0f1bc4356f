package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"connectrpc.com/connect"
	_ "github.com/go-sql-driver/mysql" // the database
	"go.yaml.in/yaml/v3"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// open brings the install up and waits until all that the clusters have is in the tables.
func (b *bench) open(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "fairlead-bench-failover-"); err != nil {
		return err
	}
	b.end = append(b.end, func() error { return os.RemoveAll(b.dir) })
	if err := b.makeClusters(ctx); err != nil {
		return err
	}
	b.Tell("%d clusters; three bridges and MariaDB start", b.agents)
	b.env, err = testenv.Up(ctx, testenv.Options{Dir: filepath.Join(b.dir, "env"), Clouddriver: testenv.NoClouddriver, WithoutCluster: true, DiesWithParent: true,
		Bridges: 3, Network: true, ConfigureAgent: func(config map[string]any) {
			// The environment's own agent has one account more; it only shows the fleet how agents are configured.
			config["kubernetes"].(map[string]any)["accounts"] = []any{b.account(0)}
		}})
	if err != nil {
		return err
	}
	b.end = append(b.end, func() error { return b.env.Down(context.WithoutCancel(ctx)) })
	if b.db, err = sql.Open("mysql", b.env.MySQL.DSN); err != nil {
		return err
	}
	b.end = append(b.end, b.db.Close)
	if err := b.env.Stop(ctx, "agent", 0, false); err != nil {
		return err
	}
	if err := b.configureFleet(ctx); err != nil {
		return err
	}
	b.end = append(b.end, func() error { b.stopFleet(); return nil })
	began := time.Now()
	if err := b.startFleet(); err != nil {
		return err
	}
	if err := b.agree(ctx, 10*time.Minute); err != nil {
		return err
	}
	b.Tell("everything is in the tables %s after the fleet's start", time.Since(began).Round(time.Second))
	return b.guard(ctx)
}

func (b *bench) makeClusters(ctx context.Context) error {
	fleet, err := fakekube.New()
	if err != nil {
		return err
	}
	fleetCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(fleetCtx) }()
	b.end = append(b.end, func() error { stop(); return <-ended })
	for i := range b.agents {
		c := fleet.Add(fmt.Sprintf("fleet-%03d", i))
		b.clusters = append(b.clusters, c)
		b.applications = append(b.applications, c.Populate(fakekube.Population{Applications: 2, Pods: 2, Namespaces: 1, Bytes: 2048})...)
		kubeconfig, err := c.Kubeconfig()
		if err != nil {
			return err
		}
		if err := os.WriteFile(b.kubeconfig(i), kubeconfig, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) kubeconfig(i int) string {
	return filepath.Join(b.dir, b.clusters[i].Name+".kubeconfig")
}

func (b *bench) account(i int) map[string]any {
	return map[string]any{"name": b.clusters[i].Name, "kubeconfigFile": b.kubeconfig(i), "kinds": []any{"deployment", "replicaSet", "pod", "service"}}
}

// configureFleet writes each agent's file, like that of the environment's agent.
func (b *bench) configureFleet(ctx context.Context) error {
	client, err := b.env.Bridges[0].AdminClient()
	if err != nil {
		return err
	}
	token, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"fleet-*"}, Description: "bench"}))
	if err != nil {
		return err
	}
	like, err := os.ReadFile(b.env.Agents[0].Config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "token"), []byte(token.Msg.GetToken()), 0o600); err != nil {
		return err
	}
	for i := range b.agents {
		config := map[string]any{}
		if err := yaml.Unmarshal(like, &config); err != nil {
			return err
		}
		config["kubernetes"].(map[string]any)["accounts"] = []any{b.account(i)}
		config["clouddriver"].(map[string]any)["auth"] = map[string]any{"tokenFile": filepath.Join(b.dir, "token")}
		config["server"] = map[string]any{"host": "127.0.0.1", "port": 0}
		config["prometheus"] = map[string]any{"enabled": false}
		config["logging"] = map[string]any{"level": "warn", "format": "text"}
		text, err := yaml.Marshal(config)
		if err != nil {
			return err
		}
		file := filepath.Join(b.dir, b.clusters[i].Name+".yml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		b.files = append(b.files, file)
	}
	return nil
}

// startFleet starts the process with all agents. The program lies beside this one.
func (b *bench) startFleet() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(b.dir, "fleet.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	b.fleet = exec.Command(filepath.Join(filepath.Dir(self), "agent-fleet"), b.files...) //nolint:gosec,noctx // our own program; stopFleet ends it
	b.fleet.Stdout, b.fleet.Stderr = log, log
	b.fleet.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return b.fleet.Start()
}

// stopFleet tells all agents to stop, and waits until they have.
func (b *bench) stopFleet() {
	_ = b.fleet.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = b.fleet.Wait()
}

// close ends everything, the last thing first.
func (b *bench) close() (err error) {
	for i := len(b.end) - 1; i >= 0; i-- {
		err = errors.Join(err, b.end[i]())
	}
	return err
}
