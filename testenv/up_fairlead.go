package testenv

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

func (u *up) startBridge(ctx context.Context, b *bridgePart) error {
	name := b.name
	u.progress.begin(name, "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Bridge())
	if err != nil {
		return err
	}
	if _, err := u.mysqlUp.get(ctx); err != nil {
		return err
	}
	if first := u.bridges[0]; b != first {
		// All bridges of an install have one key file.
		if _, err := first.up.get(ctx); err != nil {
			return err
		}
		b.keyFile = first.keyFile
	}
	spec, err := b.install(program)
	if err != nil {
		return err
	}
	u.progress.begin(name, "starts")
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	u.env.Bridges[b.n].PID = p.PID
	// Clouddriver is given its start, not its readiness: a plugin that finds no bridge yet has to cope, and a bridge may
	// need the tables that Clouddriver makes.
	b.up.set(u.env.Bridges[b.n])
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.ready(name, "ready, agents on %s, admin on %s", u.env.Bridges[b.n].Agents, u.env.Bridges[b.n].Admin)
	b.ok.set(u.env.Bridges[b.n])
	return nil
}

// startAgent starts the replica i of a cluster's agent.
func (u *up) startAgent(ctx context.Context, c *clusterPart, i int) error {
	n := c.n*u.options.AgentsPerCluster + i
	name := partName("agent", n)
	u.progress.begin(name, "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Agent())
	if err != nil {
		return err
	}
	u.progress.begin(name, "waits for its cluster and the bridge")
	var kubeconfig []byte
	if !u.options.WithoutCluster {
		if _, err := c.admin.get(ctx); err != nil {
			return err
		}
		if kubeconfig, err = serviceAccountKubeconfig(ctx, c.kubeconfig, "fairlead-agent"); err != nil {
			return err
		}
	}
	bridge, err := u.bridges[n%len(u.bridges)].ok.get(ctx)
	if err != nil {
		return err
	}
	address := bridge.Agents
	if u.env.Network != nil {
		address = u.env.Network.Address
	}
	agent := &agentPart{
		name: name, dir: u.file(name), log: u.log(name), port: c.agentPorts[2*i], metric: c.agentPorts[2*i+1],
		bridge: address, account: c.name, configure: u.options.ConfigureAgent,
	}
	token, pin, err := enrol(ctx, bridge, agent.accounts())
	if err != nil {
		return err
	}
	spec, err := agent.install(program, token, pin, kubeconfig)
	if err != nil {
		return err
	}
	u.progress.begin(name, "starts")
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	u.env.Agents[n] = Agent{Cluster: c.name, Admin: agent.admin(), Config: agent.file("armory-agent.yml"), PID: p.PID, Log: agent.log}
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.ready(name, "ready, serves account %s", c.name)
	return nil
}

func (u *up) startClouddriver(ctx context.Context, c *clouddriverPart) error {
	name := c.name
	u.progress.begin(name, "Java and the class path are looked for, or fetched")
	var err error
	if c.java, err = u.cache.Tool(ctx, build.Java()); err != nil {
		return err
	}
	if c.classPath, err = u.cache.ClouddriverClassPath(ctx, c.version); err != nil {
		return err
	}
	if u.bridges != nil {
		u.progress.begin(name, "the plugin is looked for, or built")
		if c.jar, err = u.cache.PluginJar(ctx); err != nil {
			return err
		}
	}
	u.progress.begin(name, "waits for its database, bridge and accounts")
	if _, err := u.mysqlUp.get(ctx); err != nil {
		return err
	}
	if u.bridges != nil {
		bridge, err := u.bridges[c.n].up.get(ctx)
		if err != nil {
			return err
		}
		c.bridge, c.secretFile = bridge.Plugin, bridge.PluginSecretFile
	}
	if u.options.Stock {
		if err := u.collectStock(ctx, c); err != nil {
			return err
		}
	}
	spec, err := c.install()
	if err != nil {
		return err
	}
	if first := u.clouddriv[0]; c != first {
		// Clouddrivers that find an empty database make the same tables, and fail.
		if _, err := first.answers.get(ctx); err != nil {
			return err
		}
	}
	u.progress.begin(name, "%s starts, half a minute on two cores", build.ClouddriverRelease(c.version))
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	u.env.Clouddrivers[c.n].PID = p.PID
	if err := awaitPart(ctx, p, healthLimit(p.Name), c.answering); err != nil {
		return err
	}
	c.answers.set(struct{}{})
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.begin(name, "is up; waits for its accounts")
	if err := awaitPart(ctx, p, 2*time.Minute, func(ctx context.Context) error { return u.accountsLoaded(ctx, &REST{URL: c.url()}) }); err != nil {
		return err
	}
	u.progress.ready(name, "ready on %s", c.url())
	return nil
}

// collectStock waits until the stock accounts have what they need.
func (u *up) collectStock(ctx context.Context, c *clouddriverPart) error {
	kubectl, err := u.kubectl.get(ctx)
	if err != nil {
		return err
	}
	for _, cluster := range u.clusters {
		kubeconfig, err := cluster.stock.get(ctx)
		if err != nil {
			return err
		}
		c.stock = append(c.stock, stockAccount{name: cluster.name + "-stock", kubeconfig: kubeconfig, kubectl: kubectl})
	}
	return nil
}

// accountsLoaded tells whether a Clouddriver has all accounts of the environment.
func (u *up) accountsLoaded(ctx context.Context, rest *REST) error {
	names, err := rest.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, cluster := range u.env.Clusters {
		for _, account := range []string{cluster.Account, cluster.StockAccount} {
			if account != "" && !slices.Contains(names, account) {
				return fmt.Errorf("account %s is not among Clouddriver's: %v", account, names)
			}
		}
	}
	return nil
}
