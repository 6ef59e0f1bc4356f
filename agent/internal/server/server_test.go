package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sources() Sources {
	account := func(name, state string, dynamic bool) Account {
		return Account{
			Config: AccountConfig{Name: name, Dynamic: dynamic}, State: AccountState{Name: state}, Kinds: []string{"pod"}, Version: "v1.34.2",
			Watches: []Watch{{Kind: "pod", State: "live", Objects: 3}, {Kind: "job", State: "forbidden", Error: "no"}},
		}
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_test", Help: "x"}))
	return Sources{
		Ready: func() []Check { return []Check{{Name: "session"}} },
		Accounts: func() []Account {
			return []Account{account("c", StateDiscoveryError, true), account("a", StateHealthy, false), account("b", StateHealthy, true)}
		},
		Operations: func() []Operation {
			return []Operation{{ID: "2", Started: time.Unix(2, 0).UTC()}, {ID: "1", Started: time.Unix(1, 0).UTC(), Verb: "apply"}}
		},
		Metrics: metrics,
		Version: Version{Version: "v1"},
	}
}

func ask(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	s := sources()
	problem := ""
	s.Ready = func() []Check { return []Check{{Name: "session", Problem: problem}, {Name: "account a"}} }
	h := New(Options{}, s).Handler()
	for _, path := range []string{"/readyz", "/health", "/healthz"} {
		if code, text := ask(t, h, path); code != 200 || text != "[+] session ok\n[+] account a ok\nok\n" {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
	problem = "not connected\nsince 3 s"
	for _, path := range []string{"/readyz", "/health", "/healthz"} {
		if code, text := ask(t, h, path); code != 503 || text != "[-] session: not connected since 3 s\n[+] account a ok\n" {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
	if code, text := ask(t, h, "/livez"); code != 200 || text != "ok\n" {
		t.Errorf("%d %q", code, text)
	}
}

func TestAccountsAreFilteredAndPagedAsBefore(t *testing.T) {
	h := New(Options{}, sources()).Handler()
	for query, want := range map[string]string{
		"": "a b c", "?Config.Name=b": "b", "?Config.Dynamic=true": "b c", "?State.Name=DiscoveryError": "c", "?State.Name=Healthy&Config.Dynamic=true": "b",
		"?limit=1": "a", "?limit=1&offset=1": "b", "?limit=5&offtset=2": "c", "?offset=9": "", "?Config.Name=none": "",
	} {
		code, text := ask(t, h, "/accounts"+query)
		var accounts []Account
		if err := json.Unmarshal([]byte(text), &accounts); err != nil || code != 200 {
			t.Errorf("%s: %d %v %s", query, code, err, text)
		}
		var names []string
		for _, a := range accounts {
			names = append(names, a.Config.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"?limit=x", "?limit=-1", "?Config.Dynamic=perhaps", "?nonsense=1"} {
		if code, text := ask(t, h, "/accounts"+query); code != 400 || text == "" {
			t.Errorf("%s: %d %s", query, code, text)
		}
	}
}

func TestTheOtherPathsShowWhatTheySay(t *testing.T) {
	h := New(Options{}, sources()).Handler()
	for path, want := range map[string]string{
		"/accounts/a/version": `{"account":"a","version":"v1.34.2"}`,
		"/version":            `{"version":"v1"}`,
		"/operations":         `[{"id":"1","account":"","verb":"apply","started":"1970-01-01T00:00:01Z"},{"id":"2","account":"","verb":"","started":"1970-01-01T00:00:02Z"}]`,
	} {
		code, text := ask(t, h, path)
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(text)); err != nil || code != 200 || compact.String() != want {
			t.Errorf("%s: %d %v\n%s", path, code, err, compact.String())
		}
	}
	var watches map[string]map[string][]Watch
	if _, text := ask(t, h, "/watches"); json.Unmarshal([]byte(text), &watches) != nil || watches["a"]["forbidden"][0].Error != "no" || watches["b"]["live"][0].Objects != 3 {
		t.Error(watches)
	}
	if code, _ := ask(t, h, "/accounts/none/version"); code != 404 {
		t.Error(code)
	}
	empty := New(Options{}, Sources{Accounts: func() []Account {
		return []Account{{Config: AccountConfig{Name: "a"}, State: AccountState{Error: "it is down"}}}
	}}).Handler()
	if code, text := ask(t, empty, "/accounts/a/version"); code != 503 || !strings.Contains(text, "it is down") {
		t.Error(code, text)
	}
	for _, path := range []string{"/accounts", "/operations", "/watches", "/readyz"} {
		if code, _ := ask(t, New(Options{}, Sources{}).Handler(), path); code != 200 {
			t.Errorf("%s of nothing: %d", path, code)
		}
	}
	if code, _ := ask(t, h, "/debug/pprof/"); code != 404 {
		t.Error("profiles are shown where nobody asked for them")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestItListensServesAndEnds(t *testing.T) {
	o := Options{Host: "127.0.0.1", Port: freePort(t), MetricsPort: freePort(t), PprofPort: freePort(t), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(o, sources()).Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for url, want := range map[string]string{
		fmt.Sprintf("http://127.0.0.1:%d/readyz", o.Port):                             "ok",
		fmt.Sprintf("http://127.0.0.1:%d/metrics", o.MetricsPort):                     "fairlead_test",
		fmt.Sprintf("http://127.0.0.1:%d/prometheus_metrics", o.MetricsPort):          "fairlead_test",
		fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/goroutine?debug=1", o.PprofPort): "goroutine profile",
	} {
		var text []byte
		for range 200 {
			resp, err := client.Get(url)
			if err == nil {
				text, _ = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s: %s", url, text)
		}
	}
	if err := New(Options{Host: "127.0.0.1", Port: o.Port}, sources()).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "server.port") || !strings.Contains(err.Error(), "choose a port that is free") {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
