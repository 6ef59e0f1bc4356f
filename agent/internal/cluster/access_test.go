package cluster

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
)

// echo is a server over TLS that answers with the credentials it was shown, and refuses those that are revoked: what an API server does with them.
func echo(t *testing.T, revoked *atomic.Value) (server *httptest.Server, ca []byte) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if revoked != nil && revoked.Load() == token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, token)
	}))
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func access(server string, ca []byte, token string) *credentials.Access {
	return &credentials.Access{Config: &rest.Config{Host: server, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, Namespace: "default"}
}

// shown asks with an account's credentials, and returns what the server saw.
func shown(ctx context.Context, c *Cluster) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server()+"/api", nil)
	if err != nil {
		return "", err
	}
	answer, err := c.connection.routes.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func made(t *testing.T, account config.Account, o Options) *Cluster {
	t.Helper()
	account.Name = "acct"
	c, err := New(account, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestOtherCredentialsForTheSameServerTakeOver(t *testing.T) {
	var revoked atomic.Value
	server, ca := echo(t, &revoked)
	refused := 0
	c := made(t, config.Account{}, Options{Access: access(server.URL, ca, "one"), Refused: func() { refused++ }})
	if got, err := shown(t.Context(), c); err != nil || got != "one" {
		t.Fatal(got, err)
	}
	revoked.Store("one")
	if _, err := shown(t.Context(), c); err != nil || refused != 1 {
		t.Errorf("%d refusals were told, %v", refused, err)
	}
	for range mostFormer + 3 {
		if err := c.Renew(access(server.URL, ca, "two")); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := shown(t.Context(), c); err != nil || got != "two" || refused != 1 {
		t.Error(got, err, refused)
	}
	if n := len(c.connection.routes.former); n > mostFormer {
		t.Errorf("%d former routes are kept", n)
	}
	err := c.Renew(access("https://other.example.com", ca, "three"))
	if !errors.Is(err, ErrOtherServer) || !strings.Contains(err.Error(), "https://other.example.com, not "+server.URL) {
		t.Error(err)
	}
	if err := c.Renew(access(server.URL, []byte("no certificate"), "three")); err == nil || strings.Contains(err.Error(), "three") {
		t.Error(err)
	}
	if got, err := shown(t.Context(), c); err != nil || got != "two" {
		t.Error("a refused change has an effect:", got, err)
	}
}

func TestTLSIsAsTheAccountSays(t *testing.T) {
	server, ca := echo(t, nil)
	for name, c := range map[string]struct {
		account config.Account
		edit    func(*rest.Config)
		works   bool
	}{
		"with its authority":            {edit: func(*rest.Config) {}, works: true},
		"without":                       {edit: func(r *rest.Config) { r.CAData = nil }},
		"insecure by the account":       {account: config.Account{Insecure: true}, edit: func(r *rest.Config) { r.CAData = nil }, works: true},
		"insecure by the kubeconfig":    {edit: func(r *rest.Config) { r.CAData, r.Insecure = nil, true }, works: true},
		"with a name that it has":       {edit: func(r *rest.Config) { r.ServerName = "example.com" }, works: true},
		"with a name that it has not":   {edit: func(r *rest.Config) { r.ServerName = "elsewhere.test" }},
		"with a file that is not there": {edit: func(r *rest.Config) { r.CAData, r.CAFile = nil, "/nonexistent" }},
	} {
		a := access(server.URL, ca, "token")
		c.edit(a.Config)
		cluster, err := New(config.Account{Name: "acct", Insecure: c.account.Insecure}, Options{Access: a})
		if err == nil {
			_, err = shown(t.Context(), cluster)
			cluster.Close()
		}
		if (err == nil) != c.works {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProxiesAreUsedUnlessTheAccountSaysNo(t *testing.T) {
	server, ca := echo(t, nil)
	var passed atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed.Add(1)
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			_ = there.Close()
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
		go func() { _, _ = io.Copy(here, there); _ = here.Close() }()
	}))
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		account config.Account
		options Options
		proxied bool
	}{
		"by the kubeconfig":            {proxied: true},
		"noProxy of the account":       {account: config.Account{NoProxy: true}},
		"kubernetes.noProxy of all":    {options: Options{NoProxy: true}},
		"both":                         {account: config.Account{NoProxy: true}, options: Options{NoProxy: true}},
		"by the kubeconfig, once more": {proxied: true},
	} {
		passed.Store(0)
		c.options.Access = access(server.URL, ca, "token")
		c.options.Access.Config.Proxy = http.ProxyURL(address)
		cluster := made(t, c.account, c.options)
		if got, err := shown(t.Context(), cluster); err != nil || got != "token" || (passed.Load() > 0) != c.proxied {
			t.Errorf("%s: %q %v, %d connections through the proxy", name, got, err, passed.Load())
		}
		cluster.Close()
	}
}

func TestAClusterIsKnownByItsAuthoritiesElseByItsAddress(t *testing.T) {
	server, ca := echo(t, nil)
	one := made(t, config.Account{}, Options{Access: access(server.URL, ca, "a")}).Identity()
	again := made(t, config.Account{}, Options{Access: access("https://another-address.example.com", append(append([]byte(nil), ca...), ca...), "b")}).Identity()
	if len(one) != 1 || !strings.HasPrefix(one[0], "ca:") || len(again) != 1 || one[0] != again[0] {
		t.Errorf("%v %v", one, again)
	}
	if got := made(t, config.Account{Insecure: true}, Options{Access: access(server.URL, ca, "a")}).Identity(); len(got) != 1 || got[0] != "host:"+server.URL {
		t.Error(got)
	}
}
