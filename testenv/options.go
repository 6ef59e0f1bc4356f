package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// NoClouddriver is the version of an environment without a Clouddriver.
const NoClouddriver = "none"

// DefaultClouddriver is the version that an environment has unless another one is asked for.
const DefaultClouddriver = "2026.2"

// Options say what an environment consists of.
type Options struct {
	// Dir is where everything of the environment lies. It need not exist; if it does, it is empty or of an environment that
	// has ended.
	Dir string `json:"dir"`
	// Clouddriver is one of Versions or NoClouddriver; empty means DefaultClouddriver.
	Clouddriver string `json:"clouddriver"`
	// Stock gives each cluster a second account, NAME-stock, that Clouddriver serves by itself with kubectl.
	Stock bool `json:"stock"`
	// Clusters is how many clusters there are, each with an agent; 0 means 1.
	Clusters int `json:"clusters"`
	// Bridges is how many bridges there are; 0 means 1. The first ones are Clouddrivers' own; the agents are spread over all.
	Bridges int `json:"bridges"`
	// AgentsPerCluster is how many agents serve each cluster's account as replicas; 0 means 1. Agent number n has cluster n / AgentsPerCluster.
	AgentsPerCluster int `json:"agentsPerCluster,omitempty"`
	// Network puts something between agents and bridges that balances and can go wrong (Env.SetNetwork); without it each agent dials one bridge.
	Network bool `json:"network,omitempty"`
	// Clouddrivers is how many Clouddrivers there are, of one version and with one database; 0 means 1. Number n has bridge n.
	Clouddrivers int `json:"clouddrivers"`
	// Kubeconfig, if given, is an administrator's file of a running cluster that is used instead of one of our own. Two service
	// accounts are made in it (kube-system: fairlead-agent, spinnaker-stock) and stay.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// WithoutCluster leaves the control plane out: the agent's accounts are those that ConfigureAgent gives it, with kubeconfigs of their own
	// (fakekube).
	WithoutCluster bool `json:"withoutCluster,omitempty"`
	// WithoutFairlead leaves the bridge, the agents and the plugin out: a stock Clouddriver.
	WithoutFairlead bool `json:"withoutFairlead"`
	// Vault adds a Vault server, as a container of Docker's if VaultContainer is true, else as a process.
	Vault          bool `json:"vault"`
	VaultContainer bool `json:"vaultContainer,omitempty"`
	// DiesWithParent ends all processes with the one that starts them, however that ends.
	DiesWithParent bool `json:"-"`
	// Configure changes Clouddriver's configuration, as clouddriver.yml has it, before it is written; nil means no change.
	Configure func(config map[string]any) `json:"-"`
	// Java are further arguments for Clouddriver's Java. By default it has a small heap and starts quickly, at the price of slow requests.
	Java []string `json:"java,omitempty"`
	// ConfigureBridge and ConfigureAgent do the same with each fairlead-bridge.yml and armory-agent.yml. An agent's enrolment token
	// covers the accounts that its configuration has then.
	ConfigureBridge, ConfigureAgent func(config map[string]any) `json:"-"`
	// Populate is given an administrator's kubeconfig of each cluster as soon as its API server is ready, while the rest starts;
	// the environment is up when it has returned. nil means an empty cluster.
	Populate func(ctx context.Context, kubeconfig string) error `json:"-"`
	// Progress receives a line for each thing that happens; nil means nobody wants to know.
	Progress io.Writer `json:"-"`
}

// Versions are the Clouddriver versions that Up knows, oldest first.
func Versions() []string { return build.ClouddriverVersions() }

// check completes the options and refuses what cannot be.
func (o *Options) check() error {
	if o.Dir == "" {
		return errors.New("no directory given")
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	if o.Clouddriver == "" {
		o.Clouddriver = DefaultClouddriver
	}
	if o.Clouddriver != NoClouddriver && !slices.Contains(Versions(), o.Clouddriver) {
		return fmt.Errorf("no Clouddriver %q: choose %s or %s", o.Clouddriver, strings.Join(Versions(), ", "), NoClouddriver)
	}
	if o.Clusters == 0 {
		o.Clusters = 1
	}
	if o.Clusters < 0 || o.Clusters > 20 {
		return fmt.Errorf("%d clusters: from 1 to 20 fit on a machine", o.Clusters)
	}
	if o.Bridges == 0 {
		o.Bridges = 1
	}
	if o.Bridges < 0 || o.Bridges > 10 {
		return fmt.Errorf("%d bridges: from 1 to 10 fit on a machine", o.Bridges)
	}
	if o.AgentsPerCluster == 0 {
		o.AgentsPerCluster = 1
	}
	if o.AgentsPerCluster < 0 || o.AgentsPerCluster*o.Clusters > 20 {
		return fmt.Errorf("%d agents for each of %d clusters: up to 20 fit on a machine", o.AgentsPerCluster, o.Clusters)
	}
	if o.Clouddrivers == 0 {
		o.Clouddrivers = 1
	}
	if o.Clouddrivers < 0 || o.Clouddrivers > 5 {
		return fmt.Errorf("%d Clouddrivers: from 1 to 5 fit on a machine", o.Clouddrivers)
	}
	if o.Clouddrivers > o.Bridges && !o.WithoutFairlead {
		return fmt.Errorf("%d Clouddrivers and %d bridges: each Clouddriver has a bridge of its own", o.Clouddrivers, o.Bridges)
	}
	if o.Kubeconfig != "" {
		if o.Clusters != 1 {
			return errors.New("a given cluster is the only one: --kubeconfig and --clusters exclude each other")
		}
		if o.Kubeconfig, err = filepath.Abs(o.Kubeconfig); err != nil {
			return err
		}
		if _, err := os.Stat(o.Kubeconfig); err != nil {
			return err
		}
	}
	if o.WithoutCluster && (o.Stock || o.Kubeconfig != "" || o.Clusters != 1 || o.ConfigureAgent == nil || o.Populate != nil) {
		return errors.New("without a cluster there are one cluster's agents, whose accounts ConfigureAgent names, and no account of Clouddriver's own")
	}
	if o.Stock && o.Clouddriver == NoClouddriver {
		return errors.New("a stock account needs a Clouddriver")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return nil
}

// ours are the entries of an environment's directory.
func ours(name string) bool {
	switch name {
	case envFile, processesDir, "mysql", "vault", "clouddriver", "logs", "kubectl", lockFile:
		return true
	}
	return strings.HasPrefix(name, "cluster-") || strings.HasPrefix(name, "clouddriver-") || strings.HasPrefix(name, "bridge-") || strings.HasPrefix(name, "agent-")
}

// clear removes what an earlier environment left in dir; it refuses to touch a directory that is something else.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, processesDir)); err != nil {
		return fmt.Errorf("%s is not empty and not the directory of an earlier environment: choose another one", dir)
	}
	if err := (&mariadb{dir: filepath.Join(dir, "mysql")}).removeData(); err != nil {
		return err
	}
	for _, entry := range entries {
		if ours(entry.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
