package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// typed runs the program as a shell would, and returns what it says and its exit code.
func typed(t *testing.T, args string) (out string, code int) {
	t.Helper()
	o := &options{patience: time.Hour, terminal: func(any) bool { return false }}
	c := newCommand(o)
	var text bytes.Buffer
	c.SetOut(&text)
	c.SetErr(&text)
	c.SetArgs(strings.Fields(args))
	err := c.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&text, "fairlead: "+err.Error())
	}
	return text.String(), o.codeOf(err)
}

// begin starts a bridge and has the program ask it.
func begin(t *testing.T, version string) (*bridgetest.Bridge, *storetest.DB) {
	t.Helper()
	d := storetest.Start(t).Database(t)
	b := bridgetest.RunVersion(t, bridgetest.Configure(t, d.DSN), version)
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", b.Config.Admin.TokenFile)
	return b, d
}

func TestAnAccountIsShownPausedAndEvictedAtARealBridge(t *testing.T) {
	b, d := begin(t, "v1.1.0")
	agent := b.Agent(bridgetest.Hello("agent-1", "prod", "ill"))
	attached := map[string]bool{}
	agent.Hears("the attach of both", func(f *linkv1.SessionDown) bool {
		attached[f.GetAttached().GetAccount()] = true
		return attached["prod"] && attached["ill"]
	})
	agent.Say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "ill", Problem: `pods is forbidden: User "x" cannot list resource`}}})
	b.Until("the bridge knows the problem", func() bool { out, _ := typed(t, "account list"); return strings.Contains(out, "forbidden") })

	expect := func(args string, code int, wants ...string) string {
		t.Helper()
		out, got := typed(t, args)
		if got != code {
			t.Errorf("fairlead %s: exit code %d, want %d\n%s", args, got, code, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("fairlead %s: no %q in\n%s", args, want, out)
			}
		}
		return out
	}
	expect("account show prod", 0, "STATE          connected", "BRIDGES        test-bridge", "PROBLEMS       none")
	expect("account show ill -o wide", 0, "fault  problem (since 0s ago)", "cannot list resource", "lacks a right: give it the ClusterRole", `DECLARED       {"name":"ill"}`)
	expect("account show nobody", exitNotFound, `account "nobody" is not known`)
	expect("account list -o wide", 0, "EPOCH", "test-bridge")
	var list struct {
		Accounts []struct{ Name, State string }
	}
	if err := yaml.Unmarshal([]byte(expect("account list -o yaml", 0)), &list); err != nil || len(list.Accounts) != 2 || list.Accounts[1].Name != "prod" {
		t.Error(list, err)
	}

	expect("account pause nobody", exitNotFound)
	expect("account pause prod", 0, "stands still")
	agent.Hears("that prod is taken from it", func(f *linkv1.SessionDown) bool { return f.GetDetached().GetAccount() == "prod" })
	expect("account show prod", 0, "STATE          paused", "deploys go on", "fairlead account resume prod")
	expect("account resync prod", exitFailed, `account "prod" is paused since`)
	epoch := d.Count(t, "fairlead_fence", "account = 'prod' AND holder = ''")
	if epoch != 1 {
		t.Error("somebody holds the fence of a paused account")
	}
	expect("account resume prod", 0)
	agent.Hears("the attach of prod after its pause", func(f *linkv1.SessionDown) bool { return f.GetAttached().GetAccount() == "prod" })
	expect("account list", 0, "connected")
	expect("account resume prod", exitNotFound, "is not released and not paused")

	expect("agent list", 0, "agent-1", "v1.0.0", "ill, prod", "it is v1.0.0, and this bridge is v1.1.0: it is served")
	expect("operation list -o wide", 0, "OUTCOME", "REASON")
	expect("operations", 0, "OUTCOME")
	expect("operation show none", exitNotFound)
	expect("account evict prod", exitUsage, "--yes")
	expect("account evict prod --yes", 0, "Account prod was removed")
	expect("log-level", 0, "debug")
	expect("log-level warn", 0, "warn")
	expect("log-level loud", exitUsage, `"loud" is none of`)
	expect("audit list", 0, "account.pause", "account.resume", "account.remove", "log.level")
	expect("status -o wide", 0, "CAPABILITY", "agent-1")
}

func TestATooOldAgentIsToldAtBothEnds(t *testing.T) {
	b, _ := begin(t, "test")
	old := bridgetest.Hello("relic", "prod")
	old.Capability = 0
	told := b.Agent(old).Hears("the refusal", func(f *linkv1.SessionDown) bool { return f.GetClose() != nil }).GetClose()
	if told.GetCode() != linkv1.Close_CODE_REFUSED || !strings.Contains(told.GetReason(), `agent version "v1.0.0" has capability 0 and this bridge needs at least 1: upgrade the agent`) {
		t.Error(told)
	}
	b.Agent(bridgetest.Hello("fresh", "prod")).Hears("the welcome", func(f *linkv1.SessionDown) bool { return f.GetWelcome() != nil })
	for args, want := range map[string]bool{"agent list --outdated": false, "agent list": true} {
		b.Until("the agents are listed", func() bool { out, _ := typed(t, "agent list"); return strings.Contains(out, "fresh") })
		out, code := typed(t, args)
		if code != 0 || !strings.Contains(out, "relic") || !strings.Contains(out, "refused") || !strings.Contains(out, "it is not served: it has capability 0") || strings.Contains(out, "fresh") != want {
			t.Errorf("%s: %d\n%s", args, code, out)
		}
	}
	if out, code := typed(t, "doctor"); code != exitFault || !strings.Contains(out, "agent relic (version v1.0.0) is too old") || !strings.Contains(out, "upgrade the agent to the bridge's version") {
		t.Errorf("%d\n%s", code, out)
	}
	if _, metrics := b.Get("http://" + b.Config.Metrics.Address + "/metrics"); !strings.Contains(metrics, "\nfairlead_bridge_agents_outdated{served=\"no\"} 1\n") {
		t.Error("no metric tells of it")
	}
	again := bridgetest.Hello("relic", "prod")
	b.Agent(again).Hears("the welcome of the upgraded agent", func(f *linkv1.SessionDown) bool { return f.GetWelcome() != nil })
	if out, _ := typed(t, "agent list --outdated"); !strings.Contains(out, "No agent has to be upgraded") {
		t.Error(out)
	}
}

func TestExitCodesAreThoseThatAreDocumented(t *testing.T) {
	b, _ := begin(t, "test")
	page, err := os.ReadFile("../../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	out, _ := typed(t, "--help")
	for _, line := range regexp.MustCompile(`(?m)^  (\d+) +(.*)$`).FindAllStringSubmatch(exits, -1) {
		if !strings.Contains(out, line[0]) || !bytes.Contains(page, []byte("| "+line[1]+" | "+line[2]+" |")) {
			t.Errorf("exit code %s (%s) is not in the help, or not in docs/operate.md", line[1], line[2])
		}
	}
	viewer, _ := typed(t, "token create --role viewer -o yaml")
	file := filepath.Join(t.TempDir(), "viewer")
	token := regexp.MustCompile(`fla_\S+`).FindString(viewer)
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil || token == "" {
		t.Fatal(err, viewer)
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"statos", exitUsage, `unknown command "statos"`},
		{"account lits", exitUsage, `unknown command "lits" for "fairlead account"; did you mean list?`},
		{"account", 0, "Available Commands"},
		{"status --no-such-flag", exitUsage, "unknown flag"},
		{"account show", exitUsage, "accepts 1 arg"},
		{"agent join", exitUsage, "--account"},
		{"status -o xml", exitUsage, "none of table, wide, json, yaml"},
		{"status --bridge nonsense", exitUsage, "is no address"},
		{"status --bridge http://127.0.0.1:1", exitUnreachable, "no bridge answers"},
		{"doctor --bridge http://127.0.0.1:1", exitUnreachable, "no bridge answers"},
		{"log-level debug --token-file " + file, exitDenied, "needs the role operator"},
		{"support-bundle --token-file " + file, exitDenied, "needs the role operator"},
		{"status --token-file " + file, 0, "test-bridge"},
		{"token revoke nothing", exitNotFound, "no such token"},
		{"kubectl nobody -- get pod", exitNotFound, "is not known"},
		{"config check", exitUsage, "no file is named"},
		{"doctor --profile /absent", exitUsage, "--profile"},
		{"config check --bridge-config " + file, exitFault, "wrong"},
		{"completion bash", 0, "bash completion"},
	} {
		if out, code := typed(t, c.args); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("fairlead %s: exit code %d, want %d and %q\n%s", c.args, code, c.code, c.want, out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := &options{patience: time.Hour, terminal: isTerminal}
	interrupted := newCommand(o)
	interrupted.SetArgs([]string{"status"})
	if err := interrupted.ExecuteContext(ctx); o.codeOf(err) != exitInterrupted {
		t.Error(err)
	}
	if out, _ := typed(t, cobra.ShellCompRequestCmd+" status --output "); !strings.Contains(out, "wide") {
		t.Error(out)
	}
	b.Agent(bridgetest.Hello("agent-1", "prod-eu"))
	b.Until("accounts are completed", func() bool {
		out, _ := typed(t, cobra.ShellCompRequestCmd+" account show p")
		return strings.Contains(out, "prod-eu\tconnected")
	})
}

// screen is a terminal that a person reads.
type screen struct {
	mu    sync.Mutex
	text  strings.Builder
	lines chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	select {
	case s.lines <- struct{}{}:
	default:
	}
	return len(p), nil
}

func TestWhatTakesLongIsSaidOnATerminalAndNowhereElse(t *testing.T) {
	s := &screen{lines: make(chan struct{}, 1)}
	o := &options{patience: 0, terminal: func(w any) bool { return w == any(s) }}
	done := o.progress(s, "waiting for the bridge")
	<-s.lines
	done()
	if text := s.text.String(); !strings.Contains(text, "waiting for the bridge… 0s") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("%q", text)
	}
	var file bytes.Buffer
	o.progress(&file, "x")()
	if file.Len() > 0 {
		t.Error(file.String())
	}
	s.text.Reset()
	o.patience = time.Hour
	o.progress(s, "x")()
	if s.text.Len() > 0 {
		t.Errorf("%q", s.text.String())
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	table := "ACCOUNT  STATE      PROBLEM\nprod     connected  -\nold      stale      connected to nothing\n"
	for name, c := range map[string]struct {
		terminal bool
		no, term string
		colours  bool
	}{"terminal": {true, "", "xterm", true}, "pipe": {false, "", "xterm", false}, "NO_COLOR": {true, "1", "xterm", false}, "dumb": {true, "", "dumb", false}} {
		t.Setenv("NO_COLOR", c.no)
		t.Setenv("TERM", c.term)
		o := &options{terminal: func(any) bool { return c.terminal }}
		got := o.painted(io.Discard, table)
		if c.colours != strings.Contains(got, green+"connected"+plain) || c.colours != strings.Contains(got, red+"stale"+plain) || strings.Contains(got, "connected"+plain+" to") {
			t.Errorf("%s: %q", name, got)
		}
		if stripped := regexp.MustCompile(`\x1b\[[0-9]*m`).ReplaceAllString(got, ""); stripped != table {
			t.Errorf("%s: %q", name, stripped)
		}
	}
}

func TestASupportBundleHoldsWhatHelpsAndNoSecret(t *testing.T) {
	d := storetest.Start(t).Database(t)
	dsn := d.Restricted(t)
	c := bridgetest.Configure(t, dsn)
	password := regexp.MustCompile(`:([^@]+)@`).FindStringSubmatch(dsn)[1]
	if err := os.WriteFile(c.Admin.TokenFile, []byte("fla_plantedAdminToken0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Plugin.SecretFile, []byte("plantedPluginSecret0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	b := bridgetest.Run(t, c)
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", c.Admin.TokenFile)
	// Secrets where they may turn up: a description, an operation's reason and target, an account's problem, a refused call.
	planted := []string{password, "plantedAdminToken", "plantedPluginSecret", "hunter2hunter2"}
	for _, word := range strings.Fields(string(key)) {
		if len(word) > 20 {
			planted = append(planted, word)
		}
	}
	typed(t, "token create --accounts * --description password=hunter2hunter2")
	d.Exec(t, `INSERT INTO fairlead_operation (id, account, verb, target, mutation, user, execution, bridge, agent, started, waited_ms, duration_ms, server_ms, outcome, reason)
 VALUES ('op-1', 'prod', 'apply', 'secret default/x', TRUE, 'u', '', 'b', 'a', 1, 1, 1, 1, 'failed', 'Bearer hunter2hunter2 -----BEGIN PRIVATE KEY-----hunter2hunter2')`)
	agent := b.Agent(bridgetest.Hello("agent-1", "prod"))
	agent.Say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "prod", Problem: `Get "https://u:hunter2hunter2@10.0.0.1": no route; token=` + password}}})
	b.Until("the problem is known", func() bool { out, _ := typed(t, "account list"); return strings.Contains(out, "no route") })
	b.As("flt_hunter2hunter2").Get("/debug/pprof/")

	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if out, code := typed(t, "support-bundle -f "+file); code != 0 || !strings.Contains(out, "Look through it") {
		t.Fatal(code, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if out, code := typed(t, "support-bundle -f "+file); code != exitUsage {
		t.Errorf("a file was replaced: %d %s", code, out)
	}
	files := unpack(t, file)
	for name, want := range map[string]string{
		"configuration.json": `"keyFile": "`, "log.txt": "bridge is ready", "metrics.txt": "fairlead_bridge_sessions 1", "goroutines.txt": "goroutine profile", "operations.json": "op-1",
		"audit.json": "token.create", "database.json": "utf8mb4", "status.json": "agent-1", "accounts.json": "no route", "agents.json": "agent-1", "doctor.json": "database-reachable",
		"operation-modes.json": "failover", "build.txt": "bridge test", "bridges.json": "test-bridge", "command.txt": "fairlead",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s: no %q in %.300q", name, want, files[name])
		}
	}
	for name, content := range files {
		for _, secret := range planted {
			if strings.Contains(content, secret) {
				t.Errorf("%s holds %s", name, secret)
			}
		}
	}
	if !strings.Contains(files["configuration.json"], "«hidden»") {
		t.Error("the DSN's password was not replaced")
	}
}

func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(header.Name, "fairlead-support/")] = string(text)
	}
}
