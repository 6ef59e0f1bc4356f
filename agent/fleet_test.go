package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/fairlead/fairlead/agent/internal/cloud"
	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/execute"
	"github.com/fairlead/fairlead/agent/internal/session"
	"github.com/fairlead/fairlead/proto/cats"
)

// TestMain looks for goroutines that were left; idle connections of the process's clients are none.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// place is an agent's directory, and what its session is told.
type place struct {
	t     *testing.T
	dir   string
	fleet *fleet
	level *slog.LevelVar

	mu      sync.Mutex
	served  map[string]session.Account
	removed []string
	told    int
}

// patience bounds waits that end by a condition.
const patience = 30 * time.Second

func newPlace(t *testing.T) *place {
	t.Helper()
	t.Setenv("FAIRLEAD_TOKEN", "token")
	p := &place{t: t, dir: t.TempDir(), served: map[string]session.Account{}, level: &slog.LevelVar{}}
	return p
}

func (p *place) file(name string) string { return filepath.Join(p.dir, name) }

// write replaces a file in one step, as careful programs do.
func (p *place) write(name, content string) {
	p.t.Helper()
	part := p.file(name) + ".part"
	if err := os.WriteFile(part, []byte(strings.ReplaceAll(content, "DIR", p.dir)), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(part, p.file(name)); err != nil {
		p.t.Fatal(err)
	}
}

// kubeconfig writes one for a server that nobody asks.
func (p *place) kubeconfig(name, server, token string) {
	p.t.Helper()
	content, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": server}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": token}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name, string(content))
}

func (p *place) source() config.Options { return config.Options{File: p.file("armory-agent.yml")} }

func (p *place) load() *config.Config {
	p.t.Helper()
	cfg, err := config.Load(p.source())
	if err != nil {
		p.t.Fatal(err)
	}
	return cfg
}

// start makes a fleet of what armory-agent.yml says, and has it followed until the test ends.
func (p *place) start() *reloader {
	p.t.Helper()
	cfg := p.load()
	log := slog.New(slog.DiscardHandler)
	p.fleet = &fleet{log: log, clouds: cloud.New(nil), shared: cluster.NewShared(), schemas: execute.NewSchemas(),
		changed: make(chan struct{}, 1), settings: settingsOf(cfg), members: map[string]*member{}}
	p.fleet.tell = func(served []session.Account, removed []string) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.served = map[string]session.Account{}
		for _, a := range served {
			p.served[a.Declared.GetName()] = a
		}
		p.removed = append(p.removed, removed...)
		p.told++
		return nil
	}
	p.fleet.apply(p.t.Context(), cfg)
	_ = p.fleet.tell(p.fleet.present())
	r := newReloader(cfg, p.fleet, Options{Source: p.source(), Level: p.level, Log: log})
	ctx, stop := context.WithCancel(context.WithoutCancel(p.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = p.fleet.run(ctx) })
	running.Go(func() { _ = r.run(ctx) })
	p.t.Cleanup(func() { stop(); running.Wait() })
	return r
}

// records tells accounts apart: they are others once an account was started anew.
func (p *place) records() map[string]*cats.Inventory {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]*cats.Inventory{}
	for name, a := range p.served {
		all[name] = a.Records
	}
	return all
}

func (p *place) eventually(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func names(served map[string]*cats.Inventory) []string { return slices.Sorted(maps.Keys(served)) }

func three(p *place) {
	for _, name := range []string{"a", "b", "c"} {
		p.kubeconfig(name+".kubeconfig", "https://"+name+".example.com", "token")
	}
}

func TestOnlyWhatChangedStartsAnew(t *testing.T) {
	p := newPlace(t)
	three(p)
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: b, kubeconfigFile: DIR/b.kubeconfig}, {name: c, kubeconfigFile: DIR/c.kubeconfig}]}`)
	r := p.start()
	before := p.records()
	if diff := cmp.Diff([]string{"a", "b", "c"}, names(before)); diff != "" {
		t.Fatal(diff)
	}
	p.write("armory-agent.yml", `# another order, another style
logging: {level: debug}
kubernetes:
  accounts:
  - {name: c, kubeconfigFile: DIR/c.kubeconfig, namespaces: [x]}
  - {name: a, kubeconfigFile: DIR/a.kubeconfig}
  - {name: b, kubeconfigFile: DIR/b.kubeconfig, permissions: {READ: [ops]}}
`)
	p.eventually("c is watched anew", func() bool { return p.records()["c"] != before["c"] })
	after := p.records()
	if after["a"] != before["a"] || after["b"] != before["b"] {
		t.Error("accounts that did not change, or declare something else, were started anew")
	}
	p.mu.Lock()
	if roles := p.served["b"].Declared.GetPermissions()["READ"].GetRoles(); !cmp.Equal(roles, []string{"ops"}) {
		t.Errorf("b declares %v", roles)
	}
	p.mu.Unlock()
	if p.level.Level() != slog.LevelDebug {
		t.Error("the log's level is", p.level.Level())
	}
	if state := r.shown(); state.Problem != "" || len(state.AfterRestart) > 0 {
		t.Errorf("%+v", state)
	}
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}]}`)
	p.eventually("b and c have left", func() bool { return len(p.records()) == 1 })
	if slices.Sort(p.removed); !cmp.Equal(p.removed, []string{"b", "c"}) {
		t.Error("removed", p.removed)
	}
}

func TestWhatIsWrongLeavesInForceWhatWas(t *testing.T) {
	p := newPlace(t)
	three(p)
	good := `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: b, kubeconfigFile: DIR/b.kubeconfig}]}`
	p.write("armory-agent.yml", good)
	r := p.start()
	before := p.records()
	for content, want := range map[string]string{
		"kubernetes: {accounts: [{name: a, kube":   "not YAML",
		"kubernets: {}":                            "did you mean kubernetes?",
		"":                                         "kubernetes.accounts is not there any more",
		"kubernetes:\n  accounts:\n":               "kubernetes.accounts is not there any more",
		"clouddriver: {grpc: nonsense}\n" + good:   "clouddriver.grpc",
		"logging: {level: loud}\nkubernetes: null": "logging.level",
	} {
		p.write("armory-agent.yml", content)
		p.eventually("it is refused: "+want, func() bool { return strings.Contains(r.shown().Problem, want) })
		if diff := cmp.Diff(names(before), names(p.records())); diff != "" || len(p.removed) > 0 {
			t.Errorf("%q\n%s removed %v", content, diff, p.removed)
		}
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(r.metrics()...)
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "fairlead_agent_config_valid" && f.GetMetric()[0].GetGauge().GetValue() != 0 {
			t.Error("the metric says that what is in the file is in force")
		}
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if err := os.Remove(p.file("armory-agent.yml")); err != nil {
		t.Fatal(err)
	}
	p.eventually("a file that has gone is told", func() bool { return strings.Contains(r.shown().Problem, "no such file") })

	// One entry is wrong: that account stays as it was, the others follow.
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig, permissions: {READ: []}}, {name: b, kubeconfigFile: DIR/b.kubeconfig, namespaces: [x]}]}`)
	p.eventually("b is watched anew", func() bool { return p.records()["b"] != before["b"] })
	if p.records()["a"] != before["a"] || len(p.removed) > 0 {
		t.Error("the account whose entry is wrong did not stay as it was")
	}
	// Reading it again, as long as it is refused in part, tells the session nothing new.
	p.mu.Lock()
	told := p.told
	p.mu.Unlock()
	r.reload(t.Context(), false)
	p.fleet.poke()
	p.eventually("the fleet has looked", func() bool { return len(p.fleet.changed) == 0 })
	p.mu.Lock()
	if p.told != told {
		t.Errorf("the session was told %d times, before %d", p.told, told)
	}
	p.mu.Unlock()
	if all := p.fleet.all(); !strings.Contains(all[0].problem, "its configuration is not in force") || all[0].state() != "troubled" || all[1].state() != "served" {
		t.Errorf("%+v", all)
	}
	p.write("armory-agent.yml", "kubernetes: {accounts: []}")
	p.eventually("all have left, since somebody says so", func() bool { return len(p.records()) == 0 })
}

func TestTheLastOfTwoQuickChangesCounts(t *testing.T) {
	p := newPlace(t)
	three(p)
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}]}`)
	p.start()
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: b, kubeconfigFile: DIR/b.kubeconfig}]}`)
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: c, kubeconfigFile: DIR/c.kubeconfig}]}`)
	p.eventually("the last one is in force", func() bool { return cmp.Equal(names(p.records()), []string{"a", "c"}) })
	for _, name := range p.removed {
		if name != "b" {
			t.Error("removed", p.removed)
		}
	}
}

func TestASwappedConfigMapTakesEffect(t *testing.T) {
	p := newPlace(t)
	three(p)
	// As the kubelet mounts one: the file is a link into ..data, which is a link to a directory.
	publish := func(version, content string) {
		t.Helper()
		if err := os.Mkdir(p.file(version), 0o700); err != nil {
			t.Fatal(err)
		}
		p.write(version+"/armory-agent.yml", content)
		if err := os.Symlink(version, p.file("..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(p.file("..data_tmp"), p.file("..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}]}`)
	if err := os.Symlink("..data/armory-agent.yml", p.file("armory-agent.yml")); err != nil {
		t.Fatal(err)
	}
	p.start()
	before := p.records()["a"]
	publish("..2", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: b, kubeconfigFile: DIR/b.kubeconfig}]}`)
	p.eventually("b is there", func() bool { return len(p.records()) == 2 })
	if p.records()["a"] != before {
		t.Error("a was started anew")
	}
}

func TestCredentialsThatChangeStartNothingAnewUnlessTheyAreForAnotherServer(t *testing.T) {
	p := newPlace(t)
	three(p)
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: b, kubeconfigFile: DIR/b.kubeconfig}]}`)
	p.start()
	before := p.records()
	p.kubeconfig("a.kubeconfig", "https://a.example.com", "rotated")
	p.eventually("the token is another one", func() bool {
		p.fleet.mu.Lock()
		defer p.fleet.mu.Unlock()
		access, _ := p.fleet.members["a"].keeper.Current()
		return access.Config.BearerToken == "rotated"
	})
	if p.records()["a"] != before["a"] {
		t.Error("another token started the account anew")
	}
	p.write("a.kubeconfig", "nonsense")
	p.eventually("the account is troubled", func() bool { return p.fleet.all()[0].state() == "troubled" })
	if p.records()["a"] != before["a"] {
		t.Error("a broken kubeconfig started the account anew")
	}
	p.kubeconfig("a.kubeconfig", "https://other.example.com", "rotated")
	p.eventually("the account is started anew", func() bool { return p.records()["a"] != before["a"] })
	if p.records()["b"] != before["b"] || len(p.removed) > 0 {
		t.Error("another account was touched, or one removed", p.removed)
	}
}

func TestAnAccountComesOnceItsCredentialsCanBeRead(t *testing.T) {
	p := newPlace(t)
	three(p)
	p.write("bad.kubeconfig", "apiVersion: v1\nkind: Config\n")
	p.write("armory-agent.yml", `kubernetes: {accounts: [{name: a, kubeconfigFile: DIR/a.kubeconfig}, {name: late, kubeconfigFile: DIR/bad.kubeconfig}]}`)
	p.start()
	if got := names(p.records()); !cmp.Equal(got, []string{"a"}) {
		t.Fatal(got)
	}
	if all := p.fleet.all(); all[1].state() != "waiting" || !strings.Contains(all[1].problem, "current-context") {
		t.Errorf("%+v", all[1])
	}
	p.kubeconfig("bad.kubeconfig", "https://late.example.com", "x")
	p.eventually("it is served", func() bool { return len(p.records()) == 2 })
}
