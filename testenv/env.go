package testenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/fairlead/fairlead/testenv/internal/process"
)

// Entries of an environment's directory.
const (
	envFile      = "env.json"
	lockFile     = "lock"
	processesDir = "processes"
)

// Env is a running environment; its JSON form is DIR/env.json.
type Env struct {
	// Clouddriver is nil in an environment without one.
	Clouddriver *Clouddriver `json:"clouddriver"`
	// Clouddrivers are all of them, that one first; Clouddrivers[n] has Bridges[n].
	Clouddrivers []Clouddriver `json:"clouddrivers"`
	MySQL        MySQLServer   `json:"mysql"`
	// Vault is nil in an environment without one.
	Vault    *VaultServer  `json:"vault,omitempty"`
	Clusters []KubeCluster `json:"clusters"`
	Bridges  []Bridge      `json:"bridges"`
	Agents   []Agent       `json:"agents"`
	// Network is nil unless one was asked for.
	Network *Network `json:"network,omitempty"`
	// Kubectl is the program.
	Kubectl string `json:"kubectl"`

	dir            string
	table          *process.Table
	diesWithParent bool
	mu             sync.Mutex // of the pids above
}

// Clouddriver is the environment's Clouddriver; URL is the base of its REST API.
type Clouddriver struct {
	URL     string `json:"url"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Log     string `json:"log"`
}

// MySQLServer is the database; DSN is of a user that may do everything.
type MySQLServer struct {
	DSN string `json:"dsn"`
	PID int    `json:"pid"`
}

// KubeCluster is a cluster. Kubeconfig is of an administrator: neither Clouddriver nor a bridge has it.
type KubeCluster struct {
	Name       string `json:"name"`
	Kubeconfig string `json:"kubeconfig"`
	// Account is the account that the agent serves, empty where there is none; StockAccount the one that Clouddriver serves
	// with kubectl.
	Account      string `json:"account"`
	StockAccount string `json:"stockAccount"`
}

// Bridge is a bridge. Admin and Plugin are base URLs, Agents is HOST:PORT.
type Bridge struct {
	Admin            string `json:"admin"`
	Agents           string `json:"agents"`
	Plugin           string `json:"plugin"`
	PluginSecretFile string `json:"pluginSecretFile"`
	AdminTokenFile   string `json:"adminTokenFile"`
	CAFile           string `json:"caFile"`
	PID              int    `json:"pid"`
	Log              string `json:"log"`
}

// Agent is an agent; Config is its armory-agent.yml.
type Agent struct {
	Cluster string `json:"cluster"`
	Admin   string `json:"admin"`
	Config  string `json:"config"`
	PID     int    `json:"pid"`
	Log     string `json:"log"`
}

// Dir is the environment's directory.
func (e *Env) Dir() string { return e.dir }

// Open finds the environment that was started in dir.
func Open(dir string) (*Env, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(dir, envFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no environment is up in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	e := &Env{dir: dir}
	if err := json.Unmarshal(content, e); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, envFile), err)
	}
	e.table, err = process.OpenTable(filepath.Join(dir, processesDir))
	return e, err
}

// write makes env.json say what e says.
func (e *Env) write() error {
	content, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir, envFile)
	if err := os.WriteFile(path+".part", append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// lock keeps two programs from changing one environment at the same time.
func lock(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("another testenv command is at work in %s", dir)
	}
	return func() { _ = file.Close() }, nil
}
