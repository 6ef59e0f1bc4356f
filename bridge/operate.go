package bridge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/doctor"
	"github.com/fairlead/fairlead/bridge/internal/session"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/support"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/logs"
)

// listAgents lists the agents of all bridges by name, those that were turned away here first. Agents without accounts are known to their own
// bridge alone.
func (b *Bridge) listAgents(ctx context.Context) ([]*adminv1.Agent, error) {
	stored, err := b.store.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	agents := map[string]*adminv1.Agent{}
	for _, s := range b.sessions.Sessions() {
		agents[s.Session] = &adminv1.Agent{Agent: s.Agent.GetName(), Instance: s.Agent.GetInstance(), Version: s.Agent.GetVersion(), Capability: s.Agent.GetCapability(),
			Bridge: b.cfg.Name, Since: timestamppb.New(s.Since), Accounts: s.Accounts, Outdated: session.Outdated(s.Agent, b.version)}
	}
	for _, s := range stored {
		if s.Bridge == b.cfg.Name || s.Age > silentBridge.Milliseconds() {
			continue
		}
		a := agents[s.Session]
		if a == nil {
			a = &adminv1.Agent{Agent: s.Agent, Instance: s.Instance, Version: s.Version, Capability: s.Capability, Bridge: s.Bridge, Since: timestamppb.New(time.UnixMilli(s.Since)),
				Outdated: session.Outdated(&linkv1.Agent{Version: s.Version, Capability: s.Capability}, b.version)}
			agents[s.Session] = a
		}
		a.Accounts = append(a.Accounts, s.Account)
	}
	list := b.turnedAway()
	for _, a := range agents {
		slices.Sort(a.GetAccounts())
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, c *adminv1.Agent) int {
		if a.GetRefused() != c.GetRefused() {
			if a.GetRefused() {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.GetAgent(), c.GetAgent()), strings.Compare(a.GetInstance(), c.GetInstance()))
	})
	return list, nil
}

// silentBridge is how long a bridge may be silent before its sessions count as gone (accounts).
const silentBridge = 30 * time.Second

func (b *Bridge) turnedAway() (list []*adminv1.Agent) {
	for _, a := range b.sessions.TurnedAway() {
		list = append(list, &adminv1.Agent{Agent: a.Agent.GetName(), Instance: a.Agent.GetInstance(), Version: a.Agent.GetVersion(), Capability: a.Agent.GetCapability(),
			Bridge: b.cfg.Name, Since: timestamppb.New(a.Last), Outdated: a.Reason, Refused: true})
	}
	return list
}

// diagnose looks for known faults from where this bridge is.
func (b *Bridge) diagnose(ctx context.Context) []doctor.Finding {
	p := &doctor.Patient{Config: b.cfg, Database: b.store, Address: b.store.Address(), Version: b.version, Now: time.Now(), Agents: []doctor.Agent{}}
	seen := b.plugin.Calling()
	p.Plugin = &doctor.Plugin{Version: seen.Version, Calling: seen.Now, Since: b.started}
	if seen.Ever {
		p.Plugin.Last = seen.Since
	}
	for _, s := range b.sessions.Sessions() {
		p.Agents = append(p.Agents, doctor.Agent{Name: s.Agent.GetName(), Version: s.Agent.GetVersion(), Outdated: session.Outdated(s.Agent, b.version)})
	}
	for _, a := range b.turnedAway() {
		p.Agents = append(p.Agents, doctor.Agent{Name: a.GetAgent(), Version: a.GetVersion(), Outdated: a.GetOutdated(), Refused: true})
	}
	if c, err := b.certificate(); err == nil && c.Leaf != nil {
		what := "the bridge"
		if b.trust.given != nil {
			what = fmt.Sprintf("agents.tls.certFile (%s)", b.cfg.Agents.TLS.CertFile)
		}
		p.Certificates = append(p.Certificates, doctor.Certificate{What: what, Leaf: c.Leaf})
	}
	if address := b.agentsAddress(); address != "" {
		p.Dial = &doctor.Dial{Address: address, Pin: b.pin(), Plaintext: b.cfg.Agents.Plaintext || b.cfg.Agents.Proxied}
	}
	return doctor.Examine(ctx, p)
}

// Examine looks for known faults with the configuration alone, for a bridge that does not start. The findings begin with what keeps it from
// starting.
func Examine(ctx context.Context, cfg *config.Config, profiles []doctor.Profile) []doctor.Finding {
	p := &doctor.Patient{Config: cfg, Version: Version(), Profiles: profiles, Now: time.Now()}
	password, err := cfg.Database.Password()
	if err != nil {
		return append([]doctor.Finding{{Check: "database-password", Level: doctor.Fault, Text: err.Error(), Fix: "mount the Secret with the password there, readable by the bridge's user"}}, doctor.Examine(ctx, p)...)
	}
	opened, err := store.Open(store.Options{DSN: cfg.Database.DSN, Password: password, MaxConnections: 1})
	if err != nil {
		return append([]doctor.Finding{{Check: "database-dsn", Level: doctor.Fault, Text: err.Error(), Fix: "write database.dsn as user@tcp(host:3306)/database"}}, doctor.Examine(ctx, p)...)
	}
	defer func() { _ = opened.Close() }()
	p.Database, p.Address = opened, opened.Address()
	if file := cfg.Agents.TLS.CertFile; file != "" {
		p.Certificates = append(p.Certificates, givenCertificate(cfg))
	}
	return append(keyFindings(ctx, cfg, opened), doctor.Examine(ctx, p)...)
}

// mostFile bounds one file of a support bundle.
const mostFile = 8 << 20

// support makes what helps somebody else to understand this bridge, without secrets. It tells what it cannot.
func (b *Bridge) support(ctx context.Context) []*adminv1.SupportFile {
	redactor := support.NewRedactor(b.secrets()...)
	var files []*adminv1.SupportFile
	add := func(name string, content []byte, err error) {
		if err != nil {
			content = fmt.Appendf(nil, "could not be had: %v\n", err)
		}
		content = redactor.Redact(content)
		files = append(files, &adminv1.SupportFile{Name: name, Content: content[:min(len(content), mostFile)]})
	}
	asJSON := func(name string, value any, err error) {
		var content []byte
		if err == nil {
			content, err = json.MarshalIndent(value, "", "  ")
		}
		add(name, content, err)
	}
	info, _ := debug.ReadBuildInfo()
	add("build.txt", fmt.Appendf(nil, "bridge %s, %s, started %s, %d goroutines\n%s", b.version, runtime.Version(), b.started.UTC().Format(time.RFC3339), runtime.NumGoroutine(), info), nil)
	settings := map[string]any{}
	for _, s := range b.cfg.Settings() {
		settings[s.Path] = s.Value
	}
	asJSON("configuration.json", settings, nil)
	add("log.txt", logs.Of(b.log).Tail(), nil)
	text, err := b.metricsText()
	add("metrics.txt", text, err)
	var stacks bytes.Buffer
	err = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	add("goroutines.txt", stacks.Bytes(), err)
	bridges, err := b.store.Bridges(ctx)
	asJSON("bridges.json", bridges, err)
	operations, err := b.store.Operations(ctx, store.OperationFilter{Limit: 500})
	asJSON("operations.json", operations, err)
	audit, err := b.store.Audits(ctx, 0, 200)
	asJSON("audit.json", audit, err)
	examination, err := b.store.Examine(ctx)
	asJSON("database.json", examination, err)
	return files
}

// secrets are the contents of the files that hold some.
func (b *Bridge) secrets() (list []string) {
	for _, file := range []string{b.cfg.KeyFile, b.cfg.Database.PasswordFile, b.cfg.Plugin.SecretFile, b.cfg.Admin.TokenFile, b.cfg.Agents.TLS.KeyPasswordFile, b.cfg.Agents.TLS.KeyFile,
		b.cfg.Plugin.TLS.KeyPasswordFile, b.cfg.Plugin.TLS.KeyFile} {
		if file == "" {
			continue
		}
		if content, err := os.ReadFile(file); err == nil {
			// A file may hold several, one a line.
			list = append(append(list, string(content)), strings.Fields(string(content))...)
		}
	}
	return append(list, config.Password(b.cfg.Database.DSN))
}

func (b *Bridge) metricsText() ([]byte, error) {
	families, err := b.metrics.Gather()
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), err
}
