// Package identity asserts who may be which account: real programs, a real database and a real API server, and what a person reads when somebody
// may not.
package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv"
)

// connected is what an agent says when a bridge has let it in.
const connected = `msg="connected to a bridge"`

// patience bounds waits that end by a condition.
const patience = time.Minute

// place is an environment with the programs to start more bridges and agents in it.
type place struct {
	t                  *testing.T
	env                *testenv.Env
	bridge, agent, cli string
	admin              adminv1connect.AdminServiceClient
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, env: testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver})}
	dir := t.TempDir()
	for name, into := range map[string]*string{"bridge/cmd/fairlead-bridge": &p.bridge, "agent/cmd/fairlead-agent": &p.agent, "bridge/cmd/fairlead": &p.cli} {
		*into = filepath.Join(dir, filepath.Base(name))
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", *into, "github.com/fairlead/fairlead/"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var err error
	p.admin, err = p.env.Bridges[0].AdminClient()
	must(t, err)
	return p
}

// on is the place in a subtest.
func (p *place) on(t *testing.T) *place {
	q := *p
	q.t = t
	return &q
}

// running is a program that runs until its test ends.
type running struct {
	t       *testing.T
	command *exec.Cmd
	dir     string
	ended   chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// says waits until the program has said all parts, in any order.
func (r *running) says(parts ...string) {
	r.t.Helper()
	r.after(0, parts...)
}

// after is says for what comes after so many bytes.
func (r *running) after(from int, parts ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := testenv.Wait(ctx, func(context.Context) error {
		for _, part := range parts {
			if !strings.Contains(r.said()[from:], part) {
				return errors.New("does not say " + part)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatalf("%v\nit said:\n%s", err, r.said())
	}
}

func (r *running) stop() {
	_ = r.command.Process.Signal(syscall.SIGTERM) // it may have ended
	<-r.ended
}

func (p *place) start(program string, dir string, arguments ...string) *running {
	p.t.Helper()
	r := &running{t: p.t, dir: dir, ended: make(chan struct{})}
	r.command = exec.CommandContext(context.WithoutCancel(p.t.Context()), program, arguments...)
	r.command.Stdout, r.command.Stderr = r, r
	r.command.WaitDelay = 10 * time.Second
	must(p.t, r.command.Start())
	go func() {
		defer close(r.ended)
		_ = r.command.Wait() // how it ended is asked by what it said
	}()
	p.t.Cleanup(func() {
		r.stop()
		if p.t.Failed() {
			p.t.Logf("%s said:\n%s", filepath.Base(program), tail(r.said()))
		}
	})
	return r
}

func tail(text string) string {
	const most = 6000
	return text[max(0, len(text)-most):]
}

// section returns a section of a configuration, made if it is not there.
func section(config map[string]any, path ...string) map[string]any {
	for _, name := range path {
		next, ok := config[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			config[name] = next
		}
		config = next
	}
	return config
}

func read(t *testing.T, file string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	config := map[string]any{}
	must(t, yaml.Unmarshal(content, &config))
	return config
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	must(t, os.WriteFile(file, content, 0o600))
	return file
}

// another is a bridge beside the environment's own, on the same database, as change wants it.
type another struct {
	*running

	address string
	admin   adminv1connect.AdminServiceClient
}

func (p *place) another(change func(config map[string]any)) *another {
	p.t.Helper()
	dir := p.t.TempDir()
	config := read(p.t, filepath.Join(filepath.Dir(p.env.Bridges[0].AdminTokenFile), "fairlead-bridge.yml"))
	address := func() string { return fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(p.t)) }
	b := &another{address: address()}
	adminAddress := address()
	config["name"] = "another-" + filepath.Base(dir) + "-" + filepath.Base(filepath.Dir(dir))
	config["log"] = map[string]any{"format": "text"}
	section(config, "agents")["address"] = b.address
	section(config, "admin")["address"] = adminAddress
	section(config, "plugin")["address"] = address()
	section(config, "peers")["address"] = address()
	section(config, "metrics")["address"] = address()
	if change != nil {
		change(config)
	}
	text, err := yaml.Marshal(config)
	must(p.t, err)
	b.running = p.start(p.bridge, dir, "--config", write(p.t, dir, "fairlead-bridge.yml", text))
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	must(p.t, testenv.Wait(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+adminAddress+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("%w: %s", err, tail(b.said()))
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	}))
	b.admin, err = testenv.Bridge{Admin: "http://" + adminAddress, AdminTokenFile: p.env.Bridges[0].AdminTokenFile}.AdminClient()
	must(p.t, err)
	return b
}

// agentOf starts an agent that serves accounts of the environment's cluster.
func (p *place) agentOf(bridge string, change func(config map[string]any), accounts ...string) *running {
	p.t.Helper()
	dir := p.t.TempDir()
	text, err := yaml.Marshal(p.agentConfig(bridge, change, accounts...))
	must(p.t, err)
	return p.start(p.agent, dir, "--config", write(p.t, dir, "armory-agent.yml", text))
}

func (p *place) agentConfig(bridge string, change func(config map[string]any), accounts ...string) map[string]any {
	p.t.Helper()
	config := read(p.t, p.env.Agents[0].Config)
	connects := section(config, "clouddriver")
	connects["grpc"] = bridge
	delete(connects, "auth")
	// Tests wait for tries after ones that fail: in nanoseconds.
	connects["backoff"] = map[string]any{"baseDelay": 200_000_000, "maxDelay": 1_000_000_000}
	section(config, "kubernetes")["reconnectTimeoutMs"] = 500
	kubeconfig := filepath.Join(filepath.Dir(p.env.Agents[0].Config), "kubeconfig")
	var list []any
	for _, name := range accounts {
		list = append(list, map[string]any{"name": name, "kubeconfigFile": kubeconfig, "kinds": []any{"deployment"}})
	}
	section(config, "kubernetes")["accounts"] = list
	section(config, "server")["port"] = testenv.FreePort(p.t)
	delete(config, "prometheus")
	if change != nil {
		change(config)
	}
	return config
}

// token makes an enrolment token.
func (p *place) token(uses uint32, accounts ...string) (id, text string) {
	p.t.Helper()
	made, err := p.admin.CreateToken(p.t.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: accounts, Uses: uses}))
	must(p.t, err)
	return made.Msg.GetId(), made.Msg.GetToken()
}

// shows has an agent show a token.
func shows(t *testing.T, token string) func(config map[string]any) {
	t.Helper()
	file := write(t, t.TempDir(), "token", []byte(token+"\n"))
	return func(config map[string]any) { section(config, "clouddriver", "auth")["tokenFile"] = file }
}

// also applies several changes.
func also(changes ...func(map[string]any)) func(map[string]any) {
	return func(config map[string]any) {
		for _, change := range changes {
			change(config)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, config map[string]any) []byte {
	t.Helper()
	text, err := yaml.Marshal(config)
	must(t, err)
	return text
}
