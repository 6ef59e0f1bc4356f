package bridge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBridgeOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	t.Run("lives through start, work and stop", func(t *testing.T) { life(t, server) })
	t.Run("says what it waits for before its database is there, and stays ready when it goes", func(t *testing.T) { outage(t, server) })
	t.Run("a part that cannot listen ends it", func(t *testing.T) { portTaken(t, server) })
	t.Run("another bridge's key file is refused", func(t *testing.T) { otherKey(t, server) })
}

func life(t *testing.T, server *storetest.Server) {
	d := server.Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	for _, path := range []string{"/livez", "/healthz", "/debug/pprof/goroutine?debug=1"} {
		if code, body := b.Get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	withoutToken(t, b)
	var health struct{ Status string }
	if _, body := b.Get("/healthz"); json.Unmarshal([]byte(body), &health) != nil || health.Status != "ok" {
		t.Errorf("healthz: %s", body)
	}
	for _, file := range []string{b.Config.Admin.TokenFile, b.Config.Plugin.SecretFile} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	_, metrics := b.Get("http://" + b.Config.Metrics.Address + "/metrics")
	for _, name := range []string{"fairlead_bridge_info", "fairlead_bridge_sessions", "fairlead_bridge_cache_rows_put_total", "fairlead_bridge_cache_queue_bytes", "go_goroutines"} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
	unknownAgent(t, b)
	if n := d.Count(t, "fairlead_bridge", "name = 'test-bridge'"); n != 1 {
		t.Errorf("%d rows of the bridge", n)
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if n := d.Count(t, "fairlead_bridge", "TRUE"); n != 0 {
		t.Errorf("%d rows of bridges after the stop", n)
	}
}

// withoutToken shows that only health is for everybody.
func withoutToken(t *testing.T, b *bridgetest.Bridge) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/debug/pprof/heap": http.StatusUnauthorized, "/": http.StatusUnauthorized,
		"/fairlead.admin.v1.AdminService/GetStatus": http.StatusUnauthorized,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s without a token: %d, want %d", path, response.StatusCode, want)
		}
	}
}

// unknownAgent shows that the agents' endpoint speaks TLS and gRPC, and lets nobody in without a token.
func unknownAgent(t *testing.T, b *bridgetest.Bridge) {
	t.Helper()
	if conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: x509.NewCertPool()}}).DialContext(t.Context(), "tcp", b.Config.Agents.Address); err == nil {
		_ = conn.Close()
		t.Error("an authority that is not pinned was trusted")
	}
	conn, err := grpc.NewClient(b.Config.Agents.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))) //nolint:gosec // the certificate is not the point here
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, token := range []string{"", "Bearer flt_wrong"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		stream, err := agentv1.NewAgentServiceClient(conn).Session(metadata.AppendToOutgoingContext(ctx, "authorization", token))
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("with %q: %v", token, err)
		}
		cancel()
	}
}

func outage(t *testing.T, server *storetest.Server) {
	if server.PID == 0 {
		t.Skip("the database server is not the test's to stop")
	}
	d := server.Database(t)
	d.Exec(t, "DROP TABLE cats_v1_rel_template")
	stopped := func(signal syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(server.PID, signal); err != nil {
			t.Fatal(err)
		}
	}
	stopped(syscall.SIGSTOP)
	resumed := false
	defer func() {
		if !resumed {
			stopped(syscall.SIGCONT)
		}
	}()
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.Until("it answers", func() bool { code, _ := b.Get("/livez"); return code == http.StatusOK })
	if code, body := b.Get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "waits for its database") {
		t.Errorf("readyz without a database: %d %s", code, body)
	}
	stopped(syscall.SIGCONT)
	resumed = true
	b.UntilReady()
	b.Until("it says that templates are missing", func() bool { _, body := b.Get("/healthz"); return strings.Contains(body, "cats_v1 template tables") })
	d.Exec(t, `CREATE TABLE cats_v1_rel_template LIKE clouddriver.cats_v1_rel_template`)
	b.Until("it is well", func() bool { _, body := b.Get("/healthz"); return strings.Contains(body, `"ok"`) })

	stopped(syscall.SIGSTOP)
	resumed = false
	b.Until("it says that the database is away", func() bool { _, body := b.Get("/healthz"); return strings.Contains(body, "has not answered for") })
	if code, _ := b.Get("/readyz"); code != http.StatusOK {
		t.Errorf("readyz without a database, once started: %d", code)
	}
	if _, metrics := b.Get("http://" + b.Config.Metrics.Address + "/metrics"); !strings.Contains(metrics, "\nfairlead_bridge_database_up 0") {
		t.Error("metrics do not say that the database is away")
	}
	stopped(syscall.SIGCONT)
	resumed = true
	b.Until("it is well again", func() bool { _, body := b.Get("/healthz"); return strings.Contains(body, `"ok"`) })
}

func portTaken(t *testing.T, server *storetest.Server) {
	d := server.Database(t)
	first := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	first.UntilReady()
	for key, edit := range map[string]func(c *bridgetest.Bridge){
		"agents.address":  func(c *bridgetest.Bridge) { c.Config.Agents.Address = first.Config.Agents.Address },
		"plugin.address":  func(c *bridgetest.Bridge) { c.Config.Plugin.Address = first.Config.Plugin.Address },
		"admin.address":   func(c *bridgetest.Bridge) { c.Config.Admin.Address = first.Config.Admin.Address },
		"metrics.address": func(c *bridgetest.Bridge) { c.Config.Metrics.Address = first.Config.Metrics.Address },
	} {
		second := &bridgetest.Bridge{Config: bridgetest.Configure(t, d.DSN)}
		second.Config.KeyFile = first.Config.KeyFile
		edit(second)
		b, err := bridge.New(second.Config, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s is taken: %v", key, err)
		}
	}
}

func otherKey(t *testing.T, server *storetest.Server) {
	d := server.Database(t)
	bridgetest.Run(t, bridgetest.Configure(t, d.DSN)).UntilReady()
	b, err := bridge.New(bridgetest.Configure(t, d.DSN), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "sealed with another key file") {
		t.Error(err)
	}
}

func TestWhatIsWrongWithFilesIsSaidBeforeAnythingStarts(t *testing.T) {
	const dsn = "u@tcp(127.0.0.1:1)/d"
	c := bridgetest.Configure(t, dsn)
	c.KeyFile += "-absent"
	if _, err := bridge.New(c, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "fairlead-bridge key create") {
		t.Error(err)
	}
	c = bridgetest.Configure(t, dsn)
	c.Database.PasswordFile = "/absent"
	if _, err := bridge.New(c, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "database.passwordFile: ") {
		t.Error(err)
	}
	c = bridgetest.Configure(t, dsn)
	if err := os.WriteFile(c.Admin.TokenFile, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.New(c, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "admin.tokenFile: ") {
		t.Error(err)
	}
	if err := os.WriteFile(c.Admin.TokenFile, []byte("long enough for a token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Admin.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.New(c, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Error(err)
	}
}
