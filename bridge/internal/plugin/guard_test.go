package plugin

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyWhoKnowsTheSecretAndCallsLoopbackIsHeard(t *testing.T) {
	e := serve(t, newRegistry(), nil)
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		status int
		text   string
	}{
		{"right", func(*http.Request) {}, 200, `"version":"v1"`},
		{"localhost", func(r *http.Request) { r.Host = "localhost:9092" }, 200, `"agents":2`},
		{"IPv6 loopback", func(r *http.Request) { r.Host = "[::1]:9092" }, 200, `database is away`},
		{"no secret", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "unauthenticated"},
		{"wrong secret", func(r *http.Request) { r.Header.Set("Authorization", "Bearer nonsense") }, 401, "unauthenticated"},
		{"secret without Bearer", func(r *http.Request) {
			r.Header.Set("Authorization", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}, 401, "unauthenticated"},
		{"another host", func(r *http.Request) { r.Host = "evil.example" }, 403, "not a loopback name"},
		{"a host that begins like loopback", func(r *http.Request) { r.Host = "127.0.0.1.evil.example:9092" }, 403, "not a loopback name"},
		{"GET", func(r *http.Request) { r.Method = "GET" }, 405, "only POST"},
		{"form", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415, "Content-Type must be"},
		{"text", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "Content-Type must be"},
		{"protobuf", func(r *http.Request) { r.Header.Set("Content-Type", "application/proto") }, 415, "Content-Type must be"},
		{"unknown call", func(r *http.Request) { r.URL.Path = "/fairlead.clouddriver.v1.ClouddriverService/Frobnicate" }, 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := e.request(t.Context(), "POST", "GetStatus", "application/json", []byte("{}"))
			test.change(r)
			response := e.send(r)
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != test.status || !strings.Contains(string(body), test.text) {
				t.Errorf("%d %s", response.StatusCode, body)
			}
		})
	}
}

func TestAWrongSecretOnAStreamIsAnErrorOfTheCall(t *testing.T) {
	e := serve(t, newRegistry(), nil)
	r := e.request(t.Context(), "POST", "Execute", "application/connect+json", []byte{0, 0, 0, 0, 2, '{', '}'})
	r.Header.Set("Authorization", "Bearer nonsense")
	f := next(t, e.send(r).Body)
	if !f.end || f.Error == nil || f.Error.Code != "unauthenticated" {
		t.Errorf("%+v", f)
	}
}

func TestAReplacedSecretHoldsAtOnce(t *testing.T) {
	e := serve(t, newRegistry(), nil)
	old := e.request(t.Context(), "POST", "GetStatus", "application/json", []byte("{}"))
	if err := os.WriteFile(e.file, []byte("another-secret-of-a-person\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := e.send(old).StatusCode; got != 401 {
		t.Errorf("old secret: %d", got)
	}
	if got := e.send(e.request(t.Context(), "POST", "GetStatus", "application/json", []byte("{}"))).StatusCode; got != 200 {
		t.Errorf("new secret: %d", got)
	}
}

func TestAnOversizeRequestIsRefused(t *testing.T) {
	e := serve(t, newRegistry(account("a")), nil)
	x := e.execute(map[string]any{"account": "a", "arguments": []string{"apply"}, "stdin": make([]byte, maximumRequestBytes)})
	if !strings.HasPrefix(x.callError, "resource_exhausted") || x.exit != "" {
		t.Errorf("%+v", x)
	}
}

func TestTheSecretFileIsMadeForItsOwnerAlone(t *testing.T) {
	e := serve(t, newRegistry(), nil)
	info, err := os.Stat(e.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(e.file), ".fairlead-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct{ address, file, want string }{
		{"0.0.0.0:9092", "x", "needs plugin.mutualTLS"},
		{":9092", "x", "needs plugin.mutualTLS"},
		{"9092", "x", `plugin.address "9092"`},
		{"127.0.0.1:0", "", "plugin.secretFile"},
		{"127.0.0.1:0", filepath.Join(dir, "missing", "secret"), "no such file or directory"},
		{"127.0.0.1:0", write("short", "short\n", 0o600), "too few for a secret"},
		{"127.0.0.1:0", write("open", "long-enough-for-a-secret", 0o604), "chmod 0600"},
	} {
		_, err := New(Options{Address: test.address, SecretFile: test.file, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.address, test.file, err, test.want)
		}
	}
}
