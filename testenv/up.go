package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
	"golang.org/x/sync/errgroup"
)

// Up brings an environment up and returns when everything in it is healthy. If something fails or ctx ends, it leaves
// nothing running.
func Up(ctx context.Context, options Options) (*Env, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(options.Dir, 0o755); err != nil {
		return nil, err
	}
	if old, err := Open(options.Dir); err == nil {
		if parts, err := old.Status(ctx); err == nil && len(parts) > 0 {
			return nil, fmt.Errorf("an environment is up in %s: end it first (down)", options.Dir)
		}
	}
	if err := clear(options.Dir); err != nil {
		return nil, err
	}
	u, err := newUp(options)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(options.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := u.run(ctx); err != nil {
		// ctx may have ended; the processes have to end all the same.
		return nil, errors.Join(err, Down(context.WithoutCancel(ctx), options.Dir))
	}
	return u.env, nil
}

// up is an environment on its way. Each part has a method that does everything about it and waits for what it needs of the
// others.
type up struct {
	options  Options
	env      *Env
	cache    *build.Cache
	progress *progress
	clusters []*clusterPart

	database  *mariadb
	vault     *vaultPart // nil: not wanted
	mysqlUp   *later[struct{}]
	kubectl   *later[string]
	bridges   []*bridgePart
	clouddriv []*clouddriverPart
}

// clusterPart is a cluster with its agent.
type clusterPart struct {
	n          int
	name       string
	kube       *kube
	kubeconfig string
	kwokPort   int
	agentPorts []int            // two for each agent: its own, its metrics'
	admin      *later[struct{}] // the kubeconfig is there
	stock      *later[string]   // the stock account's kubeconfig
}

func newUp(options Options) (*up, error) {
	u := &up{
		options: options, progress: newProgress(options.Progress),
		mysqlUp: newLater[struct{}](), kubectl: newLater[string](),
		env: &Env{dir: options.Dir, diesWithParent: options.DiesWithParent, Clusters: []KubeCluster{}, Bridges: []Bridge{}, Agents: []Agent{}},
	}
	var err error
	if u.cache, err = build.Open(); err != nil {
		return nil, err
	}
	u.cache.Tell = func(text string) { u.progress.note(text) }
	if u.env.table, err = process.OpenTable(u.file(processesDir)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(u.file("logs"), 0o755); err != nil {
		return nil, err
	}
	if u.database, err = newMariaDB(u.file("mysql"), options.Clouddriver == NoClouddriver); err != nil {
		return nil, err
	}
	u.env.MySQL.DSN = u.database.dsn(allUser)
	if options.Vault {
		if u.vault, err = newVaultPart(u.file("vault"), u.log("vault"), options.VaultContainer); err != nil {
			return nil, err
		}
		info := u.vault.info()
		u.env.Vault = &info
	}
	if !options.WithoutFairlead {
		for n := range options.Bridges {
			name := partName("bridge", n)
			bridge, err := newBridgePart(name, u.file(name), u.log(name), u.database)
			if err != nil {
				return nil, err
			}
			bridge.n, bridge.configure = n, options.ConfigureBridge
			u.bridges = append(u.bridges, bridge)
			u.env.Bridges = append(u.env.Bridges, bridge.info())
		}
	}
	if options.Network && u.bridges != nil {
		if u.env.Network, err = newNetwork(u.log("network")); err != nil {
			return nil, err
		}
	}
	for n := range options.Clusters {
		if err := u.addCluster(n); err != nil {
			return nil, err
		}
	}
	if options.Clouddriver == NoClouddriver {
		return u, nil
	}
	for n := range options.Clouddrivers {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		name := partName("clouddriver", n)
		c := &clouddriverPart{n: n, name: name, dir: u.file(name), log: u.log(name), version: options.Clouddriver, port: port, database: u.database, configure: options.Configure, javaArguments: options.Java, answers: newLater[struct{}]()}
		u.clouddriv = append(u.clouddriv, c)
		u.env.Clouddrivers = append(u.env.Clouddrivers, Clouddriver{URL: c.url(), Version: build.ClouddriverRelease(options.Clouddriver), Log: c.log})
	}
	u.env.Clouddriver = &u.env.Clouddrivers[0]
	return u, nil
}

func (u *up) file(name string) string { return filepath.Join(u.options.Dir, name) }

func (u *up) log(name string) string { return filepath.Join(u.options.Dir, "logs", name+".log") }

// addCluster lays out cluster n: demo, demo-2, demo-3, …
func (u *up) addCluster(n int) error {
	name := "demo"
	if n > 0 {
		name = fmt.Sprintf("demo-%d", n+1)
	}
	dir := u.file("cluster-" + name)
	plane, err := newKube(filepath.Join(dir, "kube"))
	if err != nil {
		return err
	}
	agents := u.options.AgentsPerCluster
	ports, err := freePorts(1 + 2*agents)
	if err != nil {
		return err
	}
	c := &clusterPart{
		n: n, name: name, kube: plane, kubeconfig: plane.kubeconfig(),
		kwokPort: ports[0], agentPorts: ports[1:],
		admin: newLater[struct{}](), stock: newLater[string](),
	}
	if u.options.Kubeconfig != "" {
		c.kube, c.kubeconfig = nil, u.options.Kubeconfig
	}
	u.clusters = append(u.clusters, c)
	info := KubeCluster{Name: name, Kubeconfig: c.kubeconfig}
	if u.options.Stock {
		info.StockAccount = name + "-stock"
	}
	if u.bridges != nil {
		if !u.options.WithoutCluster {
			info.Account = name
		}
		for range agents {
			u.env.Agents = append(u.env.Agents, Agent{Cluster: name})
		}
	}
	u.env.Clusters = append(u.env.Clusters, info)
	return nil
}

// run makes all parts at once and writes env.json when all are there.
func (u *up) run(outer context.Context) error {
	group, ctx := errgroup.WithContext(outer)
	part := func(name string, work func(context.Context) error) {
		group.Go(func() error {
			if err := work(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("mysql", u.startMySQL)
	part("kubectl", u.buildKubectl)
	if u.vault != nil {
		part("vault", u.startVault)
	}
	for _, c := range u.clusters {
		if !u.options.WithoutCluster {
			part("kube", func(ctx context.Context) error { return u.startCluster(ctx, c) })
		}
		if u.options.Populate != nil {
			part("populate", func(ctx context.Context) error { return u.populate(ctx, c) })
		}
		if u.bridges != nil {
			for i := range u.options.AgentsPerCluster {
				part("agent", func(ctx context.Context) error { return u.startAgent(ctx, c, i) })
			}
		}
	}
	if u.env.Network != nil {
		part("network", u.startNetwork)
	}
	for _, b := range u.bridges {
		part("bridge", func(ctx context.Context) error { return u.startBridge(ctx, b) })
	}
	for _, c := range u.clouddriv {
		part("clouddriver", func(ctx context.Context) error { return u.startClouddriver(ctx, c) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			return u.finish(outer)
		case <-again.C:
			u.progress.waiting(10 * time.Second)
		}
	}
}

// finish makes sure that no part ended while others were starting.
func (u *up) finish(ctx context.Context) error {
	parts, err := u.env.table.List()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if !p.Alive() {
			return fmt.Errorf("%s ended while the rest was starting; end of %s:\n%s", p.Name, p.Log, tailOf(p.Log))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return u.env.write()
}

// start starts a part.
func (u *up) start(ctx context.Context, spec process.Spec) (*process.Process, error) {
	spec.DiesWithParent = u.options.DiesWithParent
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return u.env.table.Start(spec)
}

func (u *up) startMySQL(ctx context.Context) error {
	u.progress.begin("mysql", "makes the data directory")
	spec, err := u.database.install(ctx, u.cache)
	if err != nil {
		return err
	}
	spec.Log, spec.Health = u.log("mysql"), mysqlHealth+u.database.dsn(allUser)
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	u.env.MySQL.PID = p.PID
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.ready("mysql", "ready on %s", loopback(u.database.port))
	u.mysqlUp.set(struct{}{})
	return nil
}

func (u *up) buildKubectl(ctx context.Context) error {
	u.progress.begin("kubectl", "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Kubectl())
	if err != nil {
		return err
	}
	// The cache's name of it says nothing to a reader of ps, nor to one of Clouddriver's logs.
	if err := os.Symlink(program, u.file("kubectl")); err != nil {
		return err
	}
	u.env.Kubectl = u.file("kubectl")
	u.progress.ready("kubectl", "built")
	u.kubectl.set(u.env.Kubectl)
	return nil
}

func (u *up) startCluster(ctx context.Context, c *clusterPart) error {
	name := partName("kube", c.n)
	if c.kube == nil {
		u.progress.begin(name, "the given cluster is asked")
		if err := probe(ctx, kubeHealth+c.kubeconfig); err != nil {
			return fmt.Errorf("the cluster of %s: %w", c.kubeconfig, err)
		}
		u.progress.ready(name, "uses the cluster of %s", c.kubeconfig)
	} else if err := u.startPlane(ctx, name, c); err != nil {
		return err
	}
	c.admin.set(struct{}{})
	if u.options.Stock {
		if err := u.makeStockAccess(ctx, c); err != nil {
			return err
		}
	}
	if c.kube == nil {
		return nil // it has nodes of its own
	}
	return u.startKwok(ctx, c)
}

func (u *up) startPlane(ctx context.Context, name string, c *clusterPart) error {
	u.progress.begin(name, "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Kube())
	if err != nil {
		return err
	}
	u.progress.begin(name, "etcd, API server, controllers, scheduler start")
	spec := c.kube.spec(program, u.log(name))
	spec.Name, spec.Health = name, kubeHealth+c.kubeconfig
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	if err := c.kube.ready(ctx, p); err != nil {
		return err
	}
	u.progress.ready(name, "cluster %s ready on %s", c.name, loopback(c.kube.port))
	return nil
}

func (u *up) populate(ctx context.Context, c *clusterPart) error {
	if _, err := c.admin.get(ctx); err != nil {
		return err
	}
	return u.options.Populate(ctx, c.kubeconfig)
}

func (u *up) makeStockAccess(ctx context.Context, c *clusterPart) error {
	kubeconfig, err := serviceAccountKubeconfig(ctx, c.kubeconfig, "spinnaker-stock")
	if err != nil {
		return err
	}
	path := filepath.Join(u.file("cluster-"+c.name), "stock-kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return err
	}
	c.stock.set(path)
	return nil
}

func (u *up) startKwok(ctx context.Context, c *clusterPart) error {
	name := partName("kwok", c.n)
	u.progress.begin(name, "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Kwok())
	if err != nil {
		return err
	}
	stages, err := u.cache.KwokStages(ctx)
	if err != nil {
		return err
	}
	u.progress.begin(name, "nodes of cluster %s start", c.name)
	p, err := u.start(ctx, kwokSpec(name, program, stages, c.kubeconfig, u.file("cluster-"+c.name), u.log(name), c.kwokPort))
	if err != nil {
		return err
	}
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	client, err := newKubeClient(c.kubeconfig)
	if err != nil {
		return err
	}
	if err := awaitPart(ctx, p, time.Minute, func(ctx context.Context) error { return makeNodes(ctx, client) }); err != nil {
		return err
	}
	u.progress.ready(name, "%d nodes ready", len(nodeNames))
	return nil
}
