package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// missing says what to do about a mandatory key without a value.
func missing(path, value, fix string) []error {
	if value != "" {
		return nil
	}
	return []error{fmt.Errorf("%s: is not set; %s (or set %s)", path, fix, find(path).Environment())}
}

// checkDatabase is the part of validate that is about how to reach the database.
func (c *Config) checkDatabase() (problems []error) {
	problems = missing("database.dsn", c.Database.DSN, "write clouddriver@tcp(HOST:3306)/clouddriver")
	if scheme, _, found := strings.Cut(c.Database.DSN, "://"); found && !strings.ContainsAny(scheme, "@(") {
		return append(problems, fmt.Errorf("database.dsn: begins with %q: bridges write Clouddriver's tables in MySQL or MariaDB, in no other database; write USER@tcp(HOST:3306)/clouddriver (docs/install.md#mysql)", scheme+"://"))
	}
	if c.Database.DSN == "" {
		return problems
	}
	// The error may quote the DSN, and that may hold a password.
	if cfg, err := mysql.ParseDSN(c.Database.DSN); err != nil || cfg.DBName == "" {
		problems = append(problems, errors.New("database.dsn: is not a data source name with a database in it; write USER@tcp(HOST:3306)/clouddriver"))
	}
	return problems
}

// validate says what values make no sense, each with its key and what to do.
func (c *Config) validate() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	mandatory := func(path, value, fix string) { problems = append(problems, missing(path, value, fix)...) }
	if c.Name == "" || len(c.Name) > 190 {
		bad("name: %q must have 1 to 190 characters", c.Name)
	}
	mandatory("keyFile", c.KeyFile, "make a key with \"fairlead-bridge key create FILE\", give it to every bridge of this install, and name the file")
	problems = append(problems, c.checkDatabase()...)
	if !c.Plugin.MutualTLS {
		mandatory("plugin.secretFile", c.Plugin.SecretFile, "name a file on a volume that Clouddriver's container mounts too; it is made if it is absent")
	}
	mandatory("admin.tokenFile", c.Admin.TokenFile, "name a file; it is made if it is absent")
	for _, a := range []struct{ path, value string }{
		{"agents.address", c.Agents.Address}, {"peers.address", c.Peers.Address}, {"peers.advertise", c.Peers.Advertise}, {"agents.advertise", c.Agents.Advertise}, {"plugin.address", c.Plugin.Address}, {"admin.address", c.Admin.Address}, {"metrics.address", c.Metrics.Address},
	} {
		if mayBeEmpty := a.path == "metrics.address" || a.path == "peers.address" || strings.HasSuffix(a.path, ".advertise"); mayBeEmpty && a.value == "" {
			continue
		}
		if err := checkAddress(a.value); err != nil {
			bad("%s: %q: %w; write HOST:PORT or :PORT", a.path, a.value, err)
		}
	}
	for path, names := range map[string][]string{"agents.tls.names": c.Agents.TLSNames, "plugin.tls.names": c.Plugin.TLS.Names} {
		for _, name := range names {
			if strings.ContainsAny(name, "/: ") && net.ParseIP(name) == nil {
				bad("%s: %q is neither a DNS name nor an IP address; leave out scheme and port", path, name)
			}
		}
	}
	problems = append(problems, c.checkIdentity()...)
	if n := c.Database.MaxConnections; n < 8 || n > 1000 {
		bad("database.maxConnections: %d is not between 8 and 1000", n)
	}
	if n := c.Cache.Workers; n < 1 || n > 64 || n+4 > c.Database.MaxConnections {
		bad("cache.workers: %d is not between 1 and 64, or leaves fewer than 4 of database.maxConnections (%d) to others", n, c.Database.MaxConnections)
	}
	if d := c.Cache.CheckInterval; d < time.Second || d > 24*time.Hour {
		bad("cache.checkInterval: %s is not between 1s and 24h", d)
	}
	if n := c.Cache.VerifyRowsPerSecond; n < 0 || n > 1_000_000 {
		bad("cache.verifyRowsPerSecond: %d is not between 0 and 1000000", n)
	}
	if n := c.Cache.MaximumBodyBytes; n < 64<<10 || n > 16<<20 {
		bad("cache.maximumBodyBytes: %d is not between 65536 (64 KiB) and 16777216 (16 MiB)", n)
	}
	if n := c.Cache.QueueBytes; n < 4*c.Cache.MaximumBodyBytes {
		bad("cache.queueBytes: %d is less than four times cache.maximumBodyBytes (%d)", n, c.Cache.MaximumBodyBytes)
	}
	for _, r := range c.Cache.TableNamespace {
		if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			bad("cache.tableNamespace: %q may hold letters, digits and underscores only, as Clouddriver's sql.table-namespace", c.Cache.TableNamespace)
			break
		}
	}
	if c.Metrics.Agents != 0 && c.Metrics.Agents < time.Second {
		bad("metrics.agents: %s: at least 1s, or 0 for never", c.Metrics.Agents)
	}
	if c.Plugin.Outlive < 0 {
		bad("plugin.outlive: %s is negative", c.Plugin.Outlive)
	}
	if m := c.Operations.Mode; m != "failover" && m != "distributed" {
		bad("operations.mode: %q is neither failover nor distributed", m)
	}
	if h := c.Agents.Heartbeat; h < time.Second || h > 5*time.Minute {
		bad("agents.heartbeat: %s is not between 1s and 5m", h)
	}
	if age := c.Agents.MaximumAge; age != 0 && age < 10*time.Second {
		bad("agents.maximumAge: %s is less than 10s; sessions would do little else than begin (0: they have no age)", age)
	}
	if c.Operations.AbsentWait < 0 {
		bad("operations.absentWait: %s is negative", c.Operations.AbsentWait)
	}
	if address, err := url.Parse(c.Fiat.URL); c.Fiat.URL != "" && (err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https") {
		bad("fiat.url: %q is no address; write http://spin-fiat:7003", c.Fiat.URL)
	}
	if c.Accounts.RemoveAfter != 0 && c.Accounts.RemoveAfter < time.Hour {
		bad("accounts.removeAfter: %s: at least 1h, or 0 for never: an agent may be away for as long while its node is replaced", c.Accounts.RemoveAfter)
	}
	if c.Operations.Retention <= 0 {
		bad("operations.retention: %s is not above zero", c.Operations.Retention)
	}
	if l := c.Log.Level; !levels[l] {
		bad("log.level: %q is none of debug, info, warn, error", l)
	}
	if f := c.Log.Format; f != "json" && f != "text" {
		bad("log.format: %q is neither json nor text", f)
	}
	return problems
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("is no address")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return errors.New("has no port between 0 and 65535")
	}
	return nil
}
