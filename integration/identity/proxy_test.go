package identity

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// proxy ends TLS with a certificate of its own and asks for a bearer token, as identity-aware proxies do. It speaks HTTP/2 on both sides.
type proxy struct {
	address string
	// wants is the token that it lets in.
	wants atomic.Value
	// refused counts calls that showed another.
	refused atomic.Int64
}

func (p *place) proxy(ca *authority, bridge string) *proxy {
	p.t.Helper()
	key := ecKey(p.t)
	dir := p.t.TempDir()
	pair, err := tls.LoadX509KeyPair(write(p.t, dir, "crt", ca.sign(key, leaf{server: true})), write(p.t, dir, "key", keyText(p.t, key)))
	must(p.t, err)
	listener, err := (&net.ListenConfig{}).Listen(p.t.Context(), "tcp", "127.0.0.1:0")
	must(p.t, err)
	x := &proxy{address: listener.Addr().String()}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	forward := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: bridge}) }}
	served := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if want, _ := x.wants.Load().(string); r.Header.Get("Authorization") != "Bearer "+want {
				x.refused.Add(1)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			forward.ServeHTTP(w, r)
		})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = served.ServeTLS(listener, "", "") // it ends by Close
	}()
	p.t.Cleanup(func() {
		_ = served.Close()
		<-ended
		transport.CloseIdleConnections()
	})
	return x
}

func behindAProxy(p *place) {
	ca := newAuthority(p.t, "Proxy CA")
	b := p.another(func(config map[string]any) {
		section(config, "agents")["plaintext"], section(config, "agents")["proxied"] = true, true
	})
	x := p.proxy(ca, b.address)
	x.wants.Store("planted-proxy-bearer-2")
	dir := p.t.TempDir()
	file := write(p.t, dir, "proxy-ca.crt", ca.pem())
	// The command prints one token after the other, as they expire.
	command := filepath.Join(dir, "token")
	must(p.t, os.WriteFile(command, fmt.Appendf(nil, "#!/bin/sh\necho x >>%[1]s/calls\nN=$(wc -l <%[1]s/calls); [ $N -gt 1 ] && N=2; printf '{\"token\": \"planted-proxy-bearer-%%s\"}' $N\n", dir), 0o700)) //nolint:gosec // it is run
	through := func(config map[string]any) {
		tls := section(config, "clouddriver", "tls")
		tls["proxied"], tls["cacertFile"] = true, file
		section(config, "clouddriver", "auth")["tokenCommand"] = map[string]any{"command": command, "format": "json"}
	}
	id, token := p.token(0, "proxied-*")
	a := p.agentOf(x.address, also(shows(p.t, token), through), "proxied-a", "foreign")
	a.says("msg=attached account=proxied-a", "account refused by the bridge", "foreign")
	if x.refused.Load() == 0 {
		p.t.Error("the first token was not refused")
	}
	a.says("answers HTTP 401 (Unauthorized)", "clouddriver.auth.token or tokenCommand")
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	must(p.t, err)
	if n := strings.Count(string(calls), "\n"); n != 2 {
		p.t.Errorf("the command ran %d times", n)
	}
	b.says("session opened", "certificate of token "+id)
	from := len(a.said())
	_, err = p.admin.RevokeToken(p.t.Context(), connect.NewRequest(&adminv1.RevokeTokenRequest{Id: id}))
	must(p.t, err)
	a.after(from, "was revoked")
	a.stop()

	_, token = p.token(0, "proxied-*")
	// A bridge of another CA stands behind the proxy: its challenge is not signed by the pinned one.
	wrong := p.agentOf(x.address, also(shows(p.t, token), through, func(config map[string]any) { section(config, "clouddriver", "tls")["pin"] = ca.pin() }), "proxied-a")
	wrong.says("the bridge's CA is not the pinned one")
	wrong.stop()
	// Who does not know of the proxy shows a certificate that gets lost on the way.
	unaware := p.agentOf(x.address, also(shows(p.t, token), through, func(config map[string]any) {
		tls := section(config, "clouddriver", "tls")
		delete(tls, "proxied")
		delete(tls, "pin")
	}), "proxied-a")
	unaware.says("something between agent and bridge ends TLS", "clouddriver.tls.proxied", "agents.proxied")
	unaware.stop()
	// A given certificate is proven in the same way.
	team := newAuthority(p.t, "Team CA")
	given := p.another(func(config map[string]any) {
		section(config, "agents")["plaintext"], section(config, "agents")["proxied"] = true, true
		section(config, "agents", "tls")["clientCaFile"] = write(p.t, dir, "clients.crt", team.pem())
		section(config, "agents")["certificates"] = []any{map[string]any{"accounts": []any{"given-*"}, "subject": []any{"UID=abc"}}}
	})
	x = p.proxy(ca, given.address)
	x.wants.Store("fixed")
	key := ecKey(p.t)
	crt, keyFile := write(p.t, dir, "tls.crt", team.sign(key, leaf{name: uid("abc")})), write(p.t, dir, "tls.key", keyText(p.t, key))
	g := p.agentOf(x.address, func(config map[string]any) {
		tls := section(config, "clouddriver", "tls")
		tls["proxied"], tls["cacertFile"], tls["clientCertFile"], tls["clientKeyFile"] = true, file, crt, keyFile
		section(config, "clouddriver", "auth")["token"] = "fixed"
	}, "given-a")
	g.says("msg=attached account=given-a")
}
