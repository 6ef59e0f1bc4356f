// Package config is fairlead-bridge.yml: which keys there are, what they mean and whether their values make sense.
//
// Every key stands once, in the table of keys.go; documentation is made from it. A file may hold no other key. Each key
// can also be given as an environment variable, which wins: FAIRLEAD_ and the key's path in capitals, so that
// database.passwordFile is FAIRLEAD_DATABASE_PASSWORD_FILE.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Config is what a bridge is told.
type Config struct {
	// File is where it was read; "": from the environment alone.
	File       string
	Name       string
	KeyFile    string
	Database   Database
	Agents     Agents
	Peers      Peers
	Plugin     Plugin
	Admin      Admin
	Metrics    Metrics
	Cache      Cache
	Accounts   Accounts
	Fiat       Fiat
	Operations Operations
	Log        Log
}

// Database is where Clouddriver's database is.
type Database struct {
	DSN            string
	PasswordFile   string
	MaxConnections int
}

// Password reads the password file; "" when there is none.
func (d Database) Password() (string, error) {
	if d.PasswordFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(d.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("database.passwordFile: %w", err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// Agents is where agents dial.
type Agents struct {
	Address   string
	Advertise string
	Plaintext bool
	// Heartbeat is how often agents say that they live; MaximumAge is when a session is moved, ±20 %, 0: never.
	Heartbeat, MaximumAge time.Duration
	// Proxied: something between agents and bridge may end TLS; identities are proven inside the stream then.
	Proxied  bool
	TLSNames []string
	TLS      TLS
	// Certificates and ServiceAccounts say who may serve which accounts by what the bridges did not give.
	Certificates    CertificateRules
	ServiceAccounts ServiceAccountRules
}

// TLS names the files of given certificates; none: the bridges' own CA makes them.
type TLS struct {
	CertFile, KeyFile, KeyPasswordFile, CAFile string
	// ClientCAFile holds the CAs of agents' certificates that the bridges did not give, ClientCRLFile their revocation lists.
	ClientCAFile, ClientCRLFile string
}

// Peers is where other bridges dial.
type Peers struct {
	Address   string
	Advertise string
}

// Plugin is where Clouddriver's plugin calls.
type Plugin struct {
	Address    string
	SecretFile string
	// MutualTLS: the plugin calls over a network and is known by its client certificate, not by the secret.
	MutualTLS bool
	TLS       PluginTLS
	Outlive   time.Duration
}

// PluginTLS is what goes with MutualTLS. Without files the bridges' own CA makes certificates for both sides.
type PluginTLS struct {
	Names                              []string
	CertFile, KeyFile, KeyPasswordFile string
	CAFile                             string
	// ClientCAFile holds the CAs of plugins' certificates that the bridges did not give, ClientCRLFile their revocation lists, ClientNames patterns of
	// the names that such a certificate must have.
	ClientCAFile, ClientCRLFile string
	ClientNames                 []string
}

// Admin is where people and probes call.
type Admin struct {
	Address        string
	TokenFile      string
	OIDC           PeopleRules
	AuditRetention time.Duration
}

// Metrics is where Prometheus scrapes.
type Metrics struct {
	Address string
	// Agents is how often agents send theirs; 0: never.
	Agents time.Duration
}

// Cache is how Clouddriver's tables are written.
type Cache struct {
	TableNamespace   string
	MaximumBodyBytes int
	QueueBytes       int
	// MaximumApplications and MaximumLinks hold each account to so many.
	MaximumApplications, MaximumLinks int
	Workers                           int
	CheckInterval                     time.Duration
	// VerifyRowsPerSecond is how many rows checks may read whole.
	VerifyRowsPerSecond int
	// Policies say what is cached, by account; the first that covers an account holds.
	Policies []CachePolicy
}

// Accounts is how they are served, and when they leave without anybody's doing.
type Accounts struct {
	Policies AccountPolicies
	// RemoveAfter is how long an account may be absent; 0: for ever.
	RemoveAfter time.Duration
	Dynamic     Dynamic
}

// Dynamic is about accounts that are given to agents at run time.
type Dynamic struct {
	// Disabled: none may be added or changed; those that are there stay.
	Disabled bool
	// Servers are the API servers that kubeconfigs may name, with * for any characters; none: every https one.
	Servers []string
}

// Fiat is who decides what people may do.
type Fiat struct{ URL string }

// Operations is how operations are run and remembered.
type Operations struct {
	// Mode is which of an account's agents have its operations: failover or distributed.
	Mode       string
	AbsentWait time.Duration
	Retention  time.Duration
}

// Log is how the bridge logs.
type Log struct {
	Level  string
	Format string
}

// Load reads a configuration: defaults, then the file (none, if file is ""), then the environment. environment looks up a variable
// (os.LookupEnv). All that is wrong is reported at once.
func Load(file string, environment func(string) (string, bool)) (*Config, error) {
	content, err := content(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, content, environment)
}

func content(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return content, nil
}

// LoadDatabase is Load for a program that is no bridge and wants the database alone: nothing else has to be set.
func LoadDatabase(file string, environment func(string) (string, bool)) (*Config, error) {
	content, err := content(file)
	if err != nil {
		return nil, err
	}
	return parse(file, content, environment, (*Config).checkDatabase)
}

// Parse is Load for content that has been read; file is for messages.
func Parse(file string, content []byte, environment func(string) (string, bool)) (*Config, error) {
	return parse(file, content, environment, (*Config).validate)
}

func parse(file string, content []byte, environment func(string) (string, bool), validate func(*Config) []error) (*Config, error) {
	c := &Config{File: file}
	var problems []error
	for i := range keys {
		if k := &keys[i]; k.Default != "" {
			if err := set(k.field(c), k.Default); err != nil {
				problems = append(problems, fmt.Errorf("default of %s: %w", k.Path, err))
			}
		}
	}
	if c.Name == "" {
		if host, err := os.Hostname(); err == nil {
			c.Name = host
		}
	}
	problems = append(problems, readFile(c, file, content)...)
	for i := range keys {
		k := &keys[i]
		if value, given := environment(k.Environment()); given {
			if err := set(k.field(c), value); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", k.Environment(), err))
			}
		}
	}
	if len(problems) == 0 {
		problems = validate(c)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}
