package plugin

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry is a registry of accounts that a test sets.
type registry struct {
	mu       sync.Mutex
	all      []Account
	complete bool
	changed  chan struct{}
	// let is closed when a HoldNew has ended; unread is why it cannot begin.
	let    chan struct{}
	unread error
}

func newRegistry(all ...Account) *registry {
	return &registry{all: all, complete: true, changed: make(chan struct{}), let: make(chan struct{})}
}

func (r *registry) List() ([]Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all, r.complete
}

func (r *registry) Get(name string) (Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.all {
		if a.Declared.GetName() == name {
			return a, true
		}
	}
	return Account{}, false
}

func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *registry) HoldNew(ctx context.Context, held func() error) error {
	if r.unread != nil {
		return r.unread
	}
	if err := held(); err != nil {
		return err
	}
	<-ctx.Done()
	close(r.let)
	return nil
}

func (r *registry) set(complete bool, all ...Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.complete = all, complete
	close(r.changed)
	r.changed = make(chan struct{})
}

type runner func(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error)

func (r runner) Run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error) {
	return r(ctx, account, op, mutation, output)
}

func account(name string, namespaces ...string) Account {
	a := Account{Declared: &linkv1.Account{Name: name}}
	if namespaces != nil {
		a.Facts = &linkv1.Facts{Account: name, Namespaces: namespaces}
	}
	return a
}

// endpoint is a running server and what is needed to call it as the plugin does.
type endpoint struct {
	t      *testing.T
	url    string
	file   string
	client *http.Client
	stop   func()
}

func serve(t *testing.T, accounts Accounts, r Runner) *endpoint {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	s, err := New(Options{
		Address: "127.0.0.1:0", SecretFile: file, Accounts: accounts, Runner: r,
		Status: func() Status {
			return Status{Version: "v1", Agents: 2, Accounts: 3, AccountsConnected: 1, Problems: []string{"database is away"}}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	e := &endpoint{t: t, url: "http://" + listener.Addr().String(), file: file, client: &http.Client{Transport: &http.Transport{}}}
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		e.client.CloseIdleConnections()
	})
	t.Cleanup(e.stop)
	return e
}

func (e *endpoint) request(ctx context.Context, method, call, contentType string, body []byte) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, e.url+"/fairlead.clouddriver.v1.ClouddriverService/"+call, bytes.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if e.file != "" {
		secret, err := os.ReadFile(e.file)
		if err != nil {
			e.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Connect-Protocol-Version", "1")
	return r
}

// send sends a request; the answer's body is closed with the test.
func (e *endpoint) send(r *http.Request) *http.Response {
	e.t.Helper()
	response, err := e.client.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { response.Body.Close() })
	return response
}

func (e *endpoint) stream(ctx context.Context, call string, message any) *http.Response {
	e.t.Helper()
	content, err := json.Marshal(message)
	if err != nil {
		e.t.Fatal(err)
	}
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(content)))
	return e.send(e.request(ctx, "POST", call, "application/connect+json", append(body, content...)))
}

// frame is what the plugin sees of one envelope.
type frame struct {
	end      bool
	Stdout   []byte
	Stderr   []byte
	Exit     *struct{ Code, Killed any }
	Error    *struct{ Code, Message string }
	Revision string
	Complete bool
	Accounts []struct {
		Name                 string
		Definition           map[string]any
		CachingAgents, Types []string
	}
}

func next(t *testing.T, r io.Reader) frame {
	t.Helper()
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatalf("envelope: %v", err)
	}
	content := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, content); err != nil {
		t.Fatal(err)
	}
	f := frame{end: head[0]&2 != 0}
	if err := json.Unmarshal(content, &f); err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	if len(f.Stdout) > frameBytes || len(f.Stderr) > frameBytes {
		t.Errorf("frame of %d bytes", len(content))
	}
	return f
}

// execution is a whole command as the plugin sees it.
type execution struct {
	stdout, stderr, exit, callError string
}

func (e *endpoint) execute(message map[string]any) execution {
	e.t.Helper()
	response := e.stream(e.t.Context(), "Execute", message)
	x := execution{}
	for {
		f := next(e.t, response.Body)
		if f.end {
			if f.Error != nil {
				x.callError = f.Error.Code + ": " + f.Error.Message
			}
			return x
		}
		if x.exit != "" {
			e.t.Error("a frame after the exit")
		}
		x.stdout += string(f.Stdout)
		x.stderr += string(f.Stderr)
		if f.Exit != nil {
			x.exit = fmt.Sprintf("code=%v killed=%v", f.Exit.Code, f.Exit.Killed)
		}
	}
}

func get(account string, arguments ...string) map[string]any {
	return map[string]any{"account": account, "arguments": arguments, "timeoutMs": 60000}
}
