// Package config reads an agent's configuration: `armory-agent.yml` as the replaced product wrote it, or
// `fairlead-agent.yml`, which has the same keys.
//
// Invariants:
//   - every documented key of the replaced product is known: it is used, accepted with one line in the log (Note), or refused
//     with what to do instead;
//   - any other key is refused, with file, line and the nearest key that is known;
//   - what is wrong with one account refuses that account and leaves the others working; what is wrong with the rest of the
//     file refuses the file;
//   - anything about permissions that cannot be understood refuses its account, it never widens access;
//   - a secret is a Secret: it does not print, log or marshal.
//
// The package reads files and the environment given to Load; it starts nothing and keeps nothing.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/proto/logs"
)

// Config is a complete, valid configuration.
type Config struct {
	// Files that were read, base first; empty when the agent runs on defaults.
	Files []string
	// Fingerprint tells contents of the files apart.
	Fingerprint string

	Clouddriver Clouddriver
	Kubernetes  Kubernetes
	Secrets     Secrets
	// AccountsGiven: kubernetes.accounts is there, be it empty.
	AccountsGiven bool
	// Accounts that can be served, in the order of the file.
	Accounts []Account
	// Refused are accounts that cannot be served, each with everything that is wrong with it.
	Refused []Refused

	Server     Server
	Prometheus Prometheus
	Pprof      Pprof
	Logging    Logging
	// Timeout bounds each request to an API server other than a watch; 0: none.
	Timeout time.Duration
	// Zone groups the replicas of an agent; "": derived from where it runs.
	Zone string

	// Notes are for the log: keys that are accepted and do nothing (yet), choices that a person should know of.
	Notes []Note
}

// Clouddriver says how to reach the bridges.
type Clouddriver struct {
	// Address is host:port of a bridge, or of what is in front of them.
	Address string
	// Insecure: plaintext, because the configuration says so explicitly.
	Insecure bool
	// NoProxy ignores HTTPS_PROXY for the bridge.
	NoProxy bool
	// Token is the enrolment token, ServiceAccountToken a projected one; at most one of them is set.
	Token, ServiceAccountToken TokenSource
	Identity                   Identity
	TLS                        TLS
	Backoff                    Backoff
}

// TLS says how the agent recognises a bridge.
type TLS struct {
	// Pin is "sha256:" and the lower-case hex SHA-256 of the CA's SubjectPublicKeyInfo.
	Pin        string
	CACertFile string
	ServerName string
	// Proxied: TLS ends before the bridge, which proves itself inside the stream.
	Proxied bool
}

// Backoff is the pause before connecting again: Base·Multiplierⁿ, at most Max, ± Jitter.
type Backoff struct {
	Base, Max          time.Duration
	Multiplier, Jitter float64
}

// Kubernetes holds what all accounts share.
type Kubernetes struct {
	// NoProxy ignores HTTPS_PROXY for API servers.
	NoProxy bool
	// Reconnect is the pause after a session ended before the next one is tried.
	Reconnect time.Duration
	// ServerSideApply is how manifests are applied.
	ServerSideApply ServerSideApply
	// ExecPlugins are the commands that kubeconfigs may have run.
	ExecPlugins []string
}

// Server is the agent's HTTP endpoint for health and administration.
type Server struct {
	// Host "" listens on all addresses, as probes from the kubelet need.
	Host string
	Port int
}

// Prometheus is the metrics endpoint.
type Prometheus struct {
	Enabled bool
	Port    int
	// ReplacedNames adds the seven metrics of the replaced product under their names.
	ReplacedNames bool
}

// Pprof is the profiling endpoint.
type Pprof struct {
	Enabled bool
	Port    int
}

// Logging says how to log.
type Logging struct {
	Level slog.Level
	// Format is "text" or "json".
	Format string
	// Fields are in each line.
	Fields map[string]string
}

// Refused is an account that is not served.
type Refused struct {
	// Name may be empty: that is one of the reasons.
	Name string
	Err  error
}

// Note is one line for the log.
type Note struct {
	// Key is the path in the configuration: "kubernetes.accounts[].oAuthScopes".
	Key  string
	Text string
	// Warning: a person should act on it.
	Warning bool
	// Accounts that have the key, at most a few of them.
	Accounts []string
}

func (n Note) String() string {
	if len(n.Accounts) == 0 {
		return n.Key + ": " + n.Text
	}
	return fmt.Sprintf("%s (%s): %s", n.Key, strings.Join(n.Accounts, ", "), n.Text)
}

// Secret is a string that only its owner sees.
type Secret string

const redacted = "(secret)"

// String hides the secret, as do the other ways to print it.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }

// TokenSource gives the enrolment token. A file is read each time, so that a rotated token is used at the next connect.
type TokenSource struct {
	value Secret
	file  string
}

// Format hides the token from every verb: fmt does not ask the methods of a field that is not exported.
func (t TokenSource) Format(f fmt.State, _ rune) {
	if t.file != "" {
		_, _ = io.WriteString(f, "token in "+t.file)
		return
	}
	_, _ = io.WriteString(f, redacted)
}

// StaticToken makes a source of one value.
func StaticToken(value string) TokenSource { return TokenSource{value: Secret(value)} }

// FileToken makes a source that reads a file.
func FileToken(file string) TokenSource { return TokenSource{file: file} }

// Token returns the token.
func (t TokenSource) Token() (Secret, error) {
	if t.file == "" {
		return t.value, nil
	}
	content, err := os.ReadFile(t.file)
	if err != nil {
		return "", fmt.Errorf("clouddriver.auth.tokenFile: %w; mount the agent's token there, `fairlead token create` makes one", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("clouddriver.auth.tokenFile: %s is empty; put the token that `fairlead token create` prints into it", t.file)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("clouddriver.auth.tokenFile: %s holds more than one word; it must hold the token and nothing else", t.file)
	}
	return Secret(token), nil
}

// defaults are those of the replaced product, but for insecure: plaintext there, TLS here.
func defaults() *Config {
	return &Config{
		Clouddriver: Clouddriver{
			Address: "spin-clouddriver-grpc:9091",
			Backoff: Backoff{Base: time.Second, Max: 2 * time.Minute, Multiplier: 1.6, Jitter: 0.2},
		},
		Kubernetes: Kubernetes{Reconnect: 5 * time.Second},
		Server:     Server{Port: 8082},
		Prometheus: Prometheus{Port: 8008},
		Pprof:      Pprof{Port: 6060},
		Logging:    Logging{Level: slog.LevelInfo, Format: "text"},
	}
}

// Logger makes a logger that writes as configured, from level on.
func (l Logging) Logger(w io.Writer, level *slog.LevelVar) *slog.Logger {
	log := logs.New(w, logs.Options{Text: l.Format != "json", Level: level})
	for _, name := range slices.Sorted(maps.Keys(l.Fields)) {
		log = log.With(name, l.Fields[name])
	}
	return log
}
