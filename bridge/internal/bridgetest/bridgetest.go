// Package bridgetest runs a whole bridge inside a test.
package bridgetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/proto/logs"
	"github.com/fairlead/fairlead/testenv"
)

// Bridge is a bridge that runs.
type Bridge struct {
	Config *config.Config
	// URL of the admin endpoint.
	URL string

	t     testing.TB
	token string
	stop  context.CancelFunc
	ended chan error
}

// Configure makes a configuration with free ports and fresh files.
func Configure(t testing.TB, dsn string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := identity.CreateKey(key); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("", fmt.Appendf(nil, `{name: test-bridge, keyFile: %q, database: {dsn: %q}, plugin: {secretFile: %q, address: %q}, admin: {tokenFile: %q, address: %q}, agents: {address: %q}, peers: {address: "127.0.0.1:0"}, metrics: {address: %q}}`,
		key, dsn, filepath.Join(dir, "secret"), address(t), filepath.Join(dir, "token"), address(t), address(t), address(t)), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// address is a loopback address that nobody listens at, and that stays so until the bridge does.
func address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(testenv.FreePort(t)))
}

// Run starts a bridge; it ends with the test.
func Run(t testing.TB, c *config.Config) *Bridge {
	t.Helper()
	return RunVersion(t, c, "test")
}

// RunVersion is Run for a bridge that believes to be of a version.
func RunVersion(t testing.TB, c *config.Config, version string) *Bridge {
	t.Helper()
	level := &slog.LevelVar{}
	level.Set(slog.LevelDebug)
	made, err := bridge.New(c, version, logs.New(t.Output(), logs.Options{Text: true, Level: level, Always: []string{"audit"}}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	b := &Bridge{Config: c, URL: "http://" + c.Admin.Address, t: t, stop: stop, ended: make(chan error, 1)}
	go func() { b.ended <- made.Run(ctx) }()
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Stop ends the bridge and returns what its Run did. It may be called again.
func (b *Bridge) Stop() error {
	b.stop()
	select {
	case err := <-b.ended:
		b.ended <- err
		return err
	case <-time.After(40 * time.Second):
		return fmt.Errorf("the bridge has not stopped")
	}
}

// As is the bridge as the holder of a token calls it.
func (b *Bridge) As(token string) *Bridge {
	as := *b
	as.token = token
	return &as
}

// Get asks the admin endpoint, or another URL; the token is shown.
func (b *Bridge) Get(path string) (code int, body string) {
	b.t.Helper()
	return b.ask(http.MethodGet, path, nil)
}

// Post calls a procedure of the admin endpoint with JSON.
func (b *Bridge) Post(path, content string) (code int, body string) {
	b.t.Helper()
	return b.ask(http.MethodPost, path, strings.NewReader(content))
}

// Ask makes a call with a body.
func (b *Bridge) Ask(method, path, content string) (code int, body string) {
	b.t.Helper()
	return b.ask(method, path, strings.NewReader(content))
}

func (b *Bridge) ask(method, path string, content io.Reader) (code int, body string) {
	b.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = b.URL + path
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, url, content)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if b.token != "" {
		request.Header.Set("Authorization", "Bearer "+b.token)
	} else if token, err := os.ReadFile(b.Config.Admin.TokenFile); err == nil {
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// Until waits until f is true.
func (b *Bridge) Until(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// UntilReady waits until the bridge has started completely.
func (b *Bridge) UntilReady() {
	b.t.Helper()
	b.Until("the bridge is ready", func() bool { code, _ := b.Get("/readyz"); return code == http.StatusOK })
}
