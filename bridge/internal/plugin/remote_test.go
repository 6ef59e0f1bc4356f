package plugin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

// selfSigned is a certificate that says who its holder is; who believes it is the test's to say.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// remotely serves over TLS; who answers by whom a connection shows.
func remotely(t *testing.T, accounts Accounts, who func(name string) (identity.Identity, error), show ...tls.Certificate) (*endpoint, *Server) {
	t.Helper()
	own := selfSigned(t, "bridge")
	s, err := New(Options{Address: "0.0.0.0:0", Accounts: accounts, Status: func() Status { return Status{Version: "v1"} }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Remote: &Remote{TLS: identity.PluginTLS(func() (*tls.Certificate, error) { return &own, nil }), Identify: func(_ context.Context, chain []*x509.Certificate) (identity.Identity, error) {
			name := ""
			if len(chain) > 0 {
				name = chain[0].Subject.CommonName
			}
			return who(name)
		}}})
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
	pool := x509.NewCertPool()
	leaf, _ := x509.ParseCertificate(own.Certificate[0])
	pool.AddCert(leaf)
	e := &endpoint{t: t, url: "https://" + listener.Addr().String(), client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: show}}}}
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		e.client.CloseIdleConnections()
	})
	t.Cleanup(e.stop)
	return e, s
}

// counted is how many calls were refused.
func counted(t *testing.T, s *Server) float64 {
	t.Helper()
	families, err := s.o.Metrics.(*prometheus.Registry).Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "fairlead_bridge_plugin_refused_total" {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func onlyThePlugin(name string) (identity.Identity, error) {
	if name != "plugin" {
		return identity.Identity{}, &identity.Refusal{Reason: "not the plugin: " + name}
	}
	return identity.Identity{Name: "plugin certificate", Until: time.Now().Add(time.Hour)}, nil
}

func TestOverANetworkTheCertificateAndNothingElseLetsIn(t *testing.T) {
	for name, c := range map[string]struct {
		show   []tls.Certificate
		status int
		text   string
	}{
		"the plugin":     {[]tls.Certificate{selfSigned(t, "plugin")}, 200, `"version":"v1"`},
		"another one":    {[]tls.Certificate{selfSigned(t, "other")}, 401, "not the plugin: other"},
		"no certificate": {nil, 401, "not the plugin: "},
	} {
		e, s := remotely(t, newRegistry(), onlyThePlugin, c.show...)
		r := e.request(t.Context(), "POST", "GetStatus", "application/json", []byte("{}"))
		r.Host = "fairlead-bridge.spinnaker"
		response := e.send(r)
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != c.status || !strings.Contains(string(body), c.text) {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
		if n := counted(t, s); (n == 0) != (c.status == 200) {
			t.Errorf("%s: %v refusals counted", name, n)
		}
		if soon := strings.Contains(s.Problem(), "expires at"); soon != (c.status == 200) {
			t.Errorf("%s: problem %q", name, s.Problem())
		}
	}
	// TLS is no way around: plain HTTP is not answered.
	e, _ := remotely(t, newRegistry(), onlyThePlugin)
	if response, err := http.Get(strings.Replace(e.url, "https", "http", 1)); err == nil {
		if response.Body.Close(); response.StatusCode != 400 {
			t.Errorf("plain HTTP: %s", response.Status)
		}
	}
}

func TestAnIdentityThatEndsTakesItsStreamsWithIt(t *testing.T) {
	for name, c := range map[string]struct {
		identity func(end chan struct{}, bad *atomic.Bool) identity.Identity
		say      string
	}{
		"its token is revoked": {func(end chan struct{}, _ *atomic.Bool) identity.Identity {
			return identity.Identity{Name: "certificate x", Ended: end}
		}, "certificate x was revoked"},
		"a list revokes it": {func(_ chan struct{}, bad *atomic.Bool) identity.Identity {
			return identity.Identity{Recheck: func() error {
				if bad.Load() {
					return &identity.Refusal{Reason: "on the list"}
				}
				return nil
			}}
		}, "on the list"},
		"it expires": {func(chan struct{}, *atomic.Bool) identity.Identity {
			return identity.Identity{Name: "certificate y", Until: time.Now().Add(10 * time.Millisecond)}
		}, "certificate y has expired"},
	} {
		end, bad := make(chan struct{}), &atomic.Bool{}
		e, _ := remotely(t, newRegistry(account("a")), func(string) (identity.Identity, error) { return c.identity(end, bad), nil })
		response := e.stream(t.Context(), "WatchAccounts", map[string]any{})
		next(t, response.Body)
		close(end)
		bad.Store(true)
		f := next(t, response.Body)
		for !f.end {
			f = next(t, response.Body)
		}
		if f.Error == nil || f.Error.Code != "unavailable" || !strings.Contains(f.Error.Message, c.say) {
			t.Errorf("%s: %+v", name, f.Error)
		}
	}
}
