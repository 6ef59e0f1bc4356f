package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestAnAccountsLogHasTheLevelThatTheBridgeGivesIt(t *testing.T) {
	var out bytes.Buffer
	process := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	own := &ownLevel{}
	log := own.of(process).With("account", "prod").WithGroup("g")
	says := func(level string) string {
		out.Reset()
		own.set(level)
		log.Debug("d")
		log.Info("i")
		log.Error("e")
		process.Debug("of another")
		var said []string
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, "account=prod") {
				t.Errorf("%s", line)
			}
			_, message, _ := strings.Cut(line, "msg=")
			said = append(said, message[:1])
		}
		return strings.Join(said, "")
	}
	for _, step := range []struct{ level, want string }{{"", "ie"}, {"debug", "die"}, {"error", "e"}, {"new word", "ie"}, {"warn", "e"}, {"", "ie"}} {
		if got := says(step.level); got != step.want {
			t.Errorf("level %q says %s, want %s", step.level, got, step.want)
		}
	}
}

func TestSettingsOfTheBridgeStayWhenAnAccountsCredentialsAndWatchesAreOthers(t *testing.T) {
	p := newPlace(t)
	p.kubeconfig("one", "https://one.example.com", "token")
	p.kubeconfig("two", "https://two.example.com", "token")
	p.write("armory-agent.yml", "kubernetes: {accounts: [{name: prod, kubeconfigFile: DIR/one}]}")
	p.start()
	p.eventually("it is served", func() bool { return len(p.records()) == 1 })
	before := p.records()["prod"]
	p.mu.Lock()
	served := p.served["prod"]
	p.mu.Unlock()
	served.Configure(&linkv1.AccountSettings{LogLevel: "debug"})
	if p.records()["prod"] != before {
		t.Error("the account was started anew")
	}
	level := func() bool {
		p.fleet.mu.Lock()
		defer p.fleet.mu.Unlock()
		return p.fleet.members["prod"].log.Enabled(t.Context(), slog.LevelDebug)
	}
	if !level() {
		t.Error("the level is not in force")
	}
	p.write("armory-agent.yml", "kubernetes: {accounts: [{name: prod, kubeconfigFile: DIR/two}]}")
	p.eventually("it is started anew", func() bool { return p.records()["prod"] != before })
	if !level() {
		t.Error("the level was forgotten")
	}
	p.mu.Lock()
	served = p.served["prod"]
	p.mu.Unlock()
	served.Configure(&linkv1.AccountSettings{})
	if level() {
		t.Error("the level stays though the bridge has taken it back")
	}
}
