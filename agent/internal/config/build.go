package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// document mirrors the keys that are used, as far as they are not accounts. Pointers tell "false" and "0" from "not given".
type document struct {
	Clouddriver struct {
		Grpc     string
		Insecure bool
		NoProxy  bool        `yaml:"noProxy"`
		TLS      tlsDocument `yaml:"tls"`
		Auth     authDocument
		Backoff  struct {
			BaseDelay  *int64 `yaml:"baseDelay"`
			MaxDelay   *int64 `yaml:"maxDelay"`
			Multiplier *float64
			Jitter     *float64
		}
	}
	Kubernetes struct {
		NoProxy            bool       `yaml:"noProxy"`
		ReconnectTimeoutMs *int64     `yaml:"reconnectTimeoutMs"`
		ServerSideApply    serverSide `yaml:"serverSideApply"`
		ExecPlugins        []string   `yaml:"execPlugins"`
	}
	Secrets secretsDocument
	Server  struct {
		Host string
		Port *int
	}
	Prometheus struct {
		Enabled       bool
		Port          *int
		ReplacedNames bool `yaml:"replacedNames"`
	}
	Pprof struct {
		Enabled bool
		Port    *int
	}
	Logging struct {
		Level, Format string
		Fields        map[string]any
	}
	TimeoutSeconds int64  `yaml:"timeoutSeconds"`
	ZoneID         string `yaml:"zoneId"`
}

// builder turns checked trees into a Config and collects what is wrong on the way.
type builder struct {
	config *Config
	getenv func(string) string
	errs   []error
	// names of the accounts, served or not.
	names []string
	// origin tells whence an account's node is.
	origin          map[*yaml.Node]string
	accountProblems map[*yaml.Node][]error
}

func build(trees []*tree, getenv func(string) string) (*Config, error) {
	b := &builder{config: defaults(), getenv: getenv, origin: map[*yaml.Node]string{}, accountProblems: map[*yaml.Node][]error{}}
	var root *yaml.Node
	for _, t := range trees {
		b.errs = append(b.errs, t.problems...)
		root = overlay(root, t.root)
	}
	accounts := accountNodes(root)
	b.config.AccountsGiven = child(child(root, "kubernetes"), "accounts") != nil
	for _, t := range trees {
		for _, n := range accountNodes(t.root) {
			b.origin[n] = t.file
		}
		for n, errs := range t.accountProblems {
			b.accountProblems[n] = errs
		}
	}
	var d document
	if root != nil {
		if err := root.Decode(&d); err != nil {
			b.errs = append(b.errs, err)
		}
	}
	for _, n := range accounts {
		if name := child(n, "name"); name != nil && accountName.MatchString(name.Value) {
			b.names = append(b.names, name.Value)
		}
	}
	b.notes(trees, accounts)
	b.clouddriver(&d)
	b.rest(&d)
	b.accounts(accounts)
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return b.config, nil
}

// accountNodes returns the nodes under kubernetes.accounts of a checked tree.
func accountNodes(root *yaml.Node) []*yaml.Node {
	n := root
	for _, name := range strings.Split(accountsPath, ".") {
		n = child(n, name)
	}
	if n == nil {
		return nil
	}
	return n.Content
}

func child(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func (b *builder) fail(format string, arguments ...any) {
	b.errs = append(b.errs, fmt.Errorf(format, arguments...))
}

func (b *builder) warn(key, text string) {
	b.config.Notes = append(b.config.Notes, Note{Key: key, Text: text, Warning: true})
}

// notes makes one line of each key that is accepted and does nothing, however many accounts have it.
func (b *builder) notes(trees []*tree, live []*yaml.Node) {
	at := map[string]int{}
	for _, t := range trees {
		for _, seen := range t.notes {
			if seen.account != nil && !slices.Contains(live, seen.account) {
				continue // the account was replaced by the local file
			}
			i, known := at[seen.path]
			if !known {
				i = len(b.config.Notes)
				at[seen.path] = i
				b.config.Notes = append(b.config.Notes, Note{Key: seen.path, Text: seen.note})
			}
			if seen.account == nil {
				continue
			}
			n := &b.config.Notes[i]
			name := "?"
			if v := child(seen.account, "name"); v != nil {
				name = v.Value
			}
			switch enough := 5; {
			case len(n.Accounts) < enough:
				n.Accounts = append(n.Accounts, name)
			case len(n.Accounts) == enough:
				n.Accounts = append(n.Accounts, "…")
			}
		}
	}
}

var pinPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (b *builder) clouddriver(d *document) {
	in, out := &d.Clouddriver, &b.config.Clouddriver
	if in.Grpc != "" {
		out.Address = in.Grpc
	}
	if host, port, err := net.SplitHostPort(out.Address); err != nil || host == "" || !validPort(port) {
		b.fail("clouddriver.grpc: %q: want host:port, as in spin-clouddriver-grpc:9091, without a scheme", out.Address)
	}
	out.TLS = TLS{Pin: strings.ToLower(strings.TrimSpace(in.TLS.Pin)), CACertFile: path(in.TLS.CacertFile), ServerName: in.TLS.ServerName, Proxied: in.TLS.Proxied}
	if out.TLS.Pin != "" && !pinPattern.MatchString(out.TLS.Pin) {
		b.fail("clouddriver.tls.pin: %q: want sha256: and 64 hexadecimal digits, the CA pin that `fairlead status` shows", in.TLS.Pin)
	}
	if out.TLS.Pin == "" && out.TLS.Proxied {
		b.fail("clouddriver.tls.proxied: needs clouddriver.tls.pin, by which the bridge behind the proxy is known: the CA PIN that `fairlead status` shows")
	}
	if out.TLS.Pin != "" && out.TLS.CACertFile != "" && !out.TLS.Proxied {
		b.warn("clouddriver.tls.cacertFile", "not used, because clouddriver.tls.pin says which CA to trust")
	}
	out.Insecure, out.NoProxy = in.Insecure, in.NoProxy
	switch {
	case out.Insecure && (out.TLS.CACertFile != "" || out.TLS.Proxied):
		b.fail("clouddriver.insecure: true means plaintext, which contradicts clouddriver.tls; remove one of them")
	case out.Insecure && out.TLS.Pin != "":
		b.warn("clouddriver.insecure", "true: everything between this agent and its bridge travels in plaintext; both prove themselves inside the stream")
	case out.Insecure:
		b.warn("clouddriver.insecure", "true: everything between this agent and its bridge, token included, travels in plaintext")
	}
	b.identity(&in.Auth, &in.TLS)
	b.backoff(d)
}

func (b *builder) token(value, file, environment string) {
	out := &b.config.Clouddriver.Token
	switch {
	case value != "" && file != "":
		b.fail("clouddriver.auth.token and tokenFile %q: give one of them", file)
	case environment != "":
		*out = StaticToken(environment)
		if value != "" || file != "" {
			b.warn("clouddriver.auth", "not used, because the environment holds FAIRLEAD_TOKEN")
		}
	case value != "":
		*out = StaticToken(value)
	case file != "":
		*out = FileToken(file)
	default:
		b.fail("clouddriver.auth.tokenFile: missing; an agent must show who it is: `%s` makes a token, put it into a file "+
			"and name the file here, or into the environment as FAIRLEAD_TOKEN", b.joinCommand())
		return
	}
	if _, err := out.Token(); err != nil {
		b.errs = append(b.errs, err)
	}
}

// joinCommand is what an operator types for the accounts of this configuration: one account's agent is installed anew in the same breath.
func (b *builder) joinCommand() string {
	switch names := b.names; len(names) {
	case 0:
		return "fairlead token create --accounts NAME"
	case 1:
		return "fairlead agent join --account " + names[0]
	default:
		return "fairlead token create --accounts " + strings.Join(names, ",")
	}
}

func (b *builder) backoff(d *document) {
	in, out := &d.Clouddriver.Backoff, &b.config.Clouddriver.Backoff
	if in.BaseDelay != nil {
		out.Base = time.Duration(*in.BaseDelay)
	}
	if in.MaxDelay != nil {
		out.Max = time.Duration(*in.MaxDelay)
	}
	if in.Multiplier != nil {
		out.Multiplier = *in.Multiplier
	}
	if in.Jitter != nil {
		out.Jitter = *in.Jitter
	}
	switch {
	case out.Base < time.Millisecond:
		b.fail("clouddriver.backoff.baseDelay: %d: is in nanoseconds, at least 1000000 (a millisecond)", out.Base)
	case out.Max < out.Base:
		b.fail("clouddriver.backoff.maxDelay: %d: is in nanoseconds, at least baseDelay (%d)", out.Max, out.Base)
	case out.Multiplier < 1:
		b.fail("clouddriver.backoff.multiplier: %v: at least 1", out.Multiplier)
	case out.Jitter < 0 || out.Jitter > 1:
		b.fail("clouddriver.backoff.jitter: %v: from 0 to 1", out.Jitter)
	}
}

func (b *builder) rest(d *document) {
	c := b.config
	c.Kubernetes.NoProxy = d.Kubernetes.NoProxy
	if ms := d.Kubernetes.ReconnectTimeoutMs; ms != nil {
		c.Kubernetes.Reconnect = time.Duration(*ms) * time.Millisecond
		if *ms < 0 {
			b.fail("kubernetes.reconnectTimeoutMs: %d: must not be negative", *ms)
		}
	}
	b.serverSide(d.Kubernetes.ServerSideApply)
	c.Kubernetes.ExecPlugins = d.Kubernetes.ExecPlugins
	b.secrets(&d.Secrets)
	c.Server.Host = d.Server.Host
	if strings.Contains(c.Server.Host, ":") && net.ParseIP(c.Server.Host) == nil {
		b.fail("server.host: %q: want a host without a port; the port goes into server.port", c.Server.Host)
	}
	b.port("server.port", d.Server.Port, &c.Server.Port)
	c.Prometheus.Enabled, c.Pprof.Enabled = d.Prometheus.Enabled, d.Pprof.Enabled
	c.Prometheus.ReplacedNames = d.Prometheus.ReplacedNames
	b.port("prometheus.port", d.Prometheus.Port, &c.Prometheus.Port)
	b.port("pprof.port", d.Pprof.Port, &c.Pprof.Port)
	c.Zone = strings.TrimSpace(d.ZoneID)
	if d.TimeoutSeconds < 0 || d.TimeoutSeconds > math.MaxInt32 {
		b.fail("timeoutSeconds: %d: want 0 (none) or more", d.TimeoutSeconds)
	}
	c.Timeout = time.Duration(d.TimeoutSeconds) * time.Second
	b.logging(d)
	if b.getenv("ARMORY_HUB") != "" {
		c.Notes = append(c.Notes, Note{Key: "ARMORY_HUB", Text: "obsolete: Armory Cloud is no more"})
	}
}

// port allows 0 for tests, where the system chooses.
func (b *builder) port(name string, in *int, out *int) {
	if in == nil {
		return
	}
	if *in < 0 || *in > 65535 {
		b.fail("%s: %d: want 1 to 65535", name, *in)
	}
	*out = *in
}

func validPort(port string) bool {
	n, err := strconv.Atoi(port)
	return err == nil && n > 0 && n < 65536
}

// levels are those of the replaced product's logger.
var levels = map[string]slog.Level{
	"panic": slog.LevelError, "fatal": slog.LevelError, "error": slog.LevelError, "warn": slog.LevelWarn, "warning": slog.LevelWarn,
	"info": slog.LevelInfo, "debug": slog.LevelDebug, "trace": slog.LevelDebug,
}

func (b *builder) logging(d *document) {
	level, source := d.Logging.Level, "logging.level"
	if l := b.getenv("LOG_LEVEL"); l != "" {
		level, source = l, "LOG_LEVEL"
	}
	if level != "" {
		l, ok := levels[strings.ToLower(level)]
		if !ok {
			b.fail("%s: %q: want error, warn, info or debug", source, level)
		}
		b.config.Logging.Level = l
	}
	b.fields(d.Logging.Fields)
	switch format := strings.ToLower(d.Logging.Format); format {
	case "":
	case "text", "json":
		b.config.Logging.Format = format
	default:
		b.fail("logging.format: %q: want text or json", d.Logging.Format)
	}
}

// fields are what logs bear in each line. agentNamespace without a value is the pod's namespace; agentCluster cannot be known here.
func (b *builder) fields(in map[string]any) {
	for name, value := range in {
		text := strings.TrimSpace(fmt.Sprint(value))
		switch value.(type) {
		case string, bool, int, float64:
		case nil:
			if text = ""; name == "agentNamespace" {
				text = b.getenv("POD_NAMESPACE")
			}
		default:
			b.fail("logging.fields.%s: want a text", name)
			continue
		}
		if text == "" {
			b.warn("logging.fields."+name, "has no value, and is left out")
			continue
		}
		if b.config.Logging.Fields == nil {
			b.config.Logging.Fields = map[string]string{}
		}
		b.config.Logging.Fields[name] = text
	}
}
