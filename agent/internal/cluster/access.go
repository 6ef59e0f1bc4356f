package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

// route is one way to an API server, with the credentials of one moment.
type route struct {
	server string
	// identity tells the cluster apart.
	identity      []string
	authenticated http.RoundTripper
	// base is underneath it.
	base   *http.Transport
	dialer *connrotation.Dialer
}

// routes is the present route. Credentials that change become a new one: requests take it from then on, what is under way ends on the one
// that it began with.
type routes struct {
	account config.Account
	noProxy bool
	present atomic.Pointer[route]
	// refused is called when the API server does not take the credentials; nil: nobody wants to know.
	refused func()
	metrics *metrics

	mu sync.Mutex
	// former routes may still carry a watch.
	former []*route
}

// mostFormer bounds how many former routes are kept open: a watch lives ten minutes at most, and credentials seldom change that often.
const mostFormer = 8

// RoundTrip implements http.RoundTripper.
func (r *routes) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.present.Load().authenticated.RoundTrip(request)
	if r.metrics != nil {
		r.metrics.answered(answer, err)
	}
	if err == nil && answer.StatusCode == http.StatusUnauthorized && r.refused != nil {
		r.refused()
	}
	return answer, err
}

// CloseIdleConnections implements what http.Client asks of a transport.
func (r *routes) CloseIdleConnections() {
	r.present.Load().base.CloseIdleConnections()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.former {
		f.base.CloseIdleConnections()
	}
}

// close ends all connections.
func (r *routes) close() {
	r.CloseIdleConnections()
	r.present.Load().dialer.CloseAll()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.former {
		f.dialer.CloseAll()
	}
}

// ErrOtherServer says that credentials are for another API server than before: that is another cluster.
var ErrOtherServer = errors.New("the credentials are for another API server than before")

// renew takes other credentials for the same API server.
func (r *routes) renew(access *credentials.Access) error {
	fresh, err := newRoute(r.account, access.Config, r.noProxy)
	if err != nil {
		return err
	}
	if was := r.present.Load().server; was != fresh.server {
		return fmt.Errorf("%w: %s, not %s", ErrOtherServer, fresh.server, was)
	}
	former := r.present.Swap(fresh)
	former.base.CloseIdleConnections()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.former = append(r.former, former)
	if len(r.former) > mostFormer {
		r.former[0].dialer.CloseAll()
		r.former = append([]*route(nil), r.former[1:]...)
	}
	return nil
}

// newRoute makes a route. It does not talk to the API server.
func newRoute(account config.Account, access *rest.Config, noProxy bool) (*route, error) {
	c := rest.CopyConfig(access)
	if account.Insecure {
		c.Insecure = true
		c.CAData, c.CAFile = nil, ""
	}
	server, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		return nil, fmt.Errorf("API server %q: %w", c.Host, err)
	}
	tlsConfig, err := rest.TLSConfigFor(c)
	if err != nil {
		return nil, fmt.Errorf("TLS for API server %s: %w", server, err)
	}
	proxy := c.Proxy
	switch {
	case account.NoProxy || noProxy:
		proxy = nil
	case proxy == nil:
		proxy = http.ProxyFromEnvironment
	}
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
	base := utilnet.SetTransportDefaults(&http.Transport{
		Proxy:               proxy,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second,
		DialContext:         dialer.DialContext,
		MaxIdleConnsPerHost: 25,
		IdleConnTimeout:     90 * time.Second,
		HTTP2:               &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow},
	})
	if account.NoProxy || noProxy {
		base.Proxy = nil // SetTransportDefaults put the environment's in
	}
	authenticated, err := rest.HTTPWrappersForConfig(c, base)
	if err != nil {
		return nil, fmt.Errorf("credentials for API server %s: %w", server, err)
	}
	address := strings.TrimSuffix(server.String(), "/")
	return &route{server: address, identity: identify(c, address), authenticated: authenticated, base: base, dialer: dialer}, nil
}

// identify tells clusters apart: by the authorities that may have issued the API server's certificate, else by its address.
func identify(c *rest.Config, server string) []string {
	content := c.CAData
	if len(content) == 0 && c.CAFile != "" {
		content, _ = os.ReadFile(c.CAFile) // it was read a moment ago
	}
	var list []string
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
			list = append(list, "ca:"+hex.EncodeToString(sum[:]))
		}
	}
	if len(list) == 0 {
		return []string{"host:" + server}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Identity tells the account's cluster apart from others (linkv1.Account.cluster).
func (c *Cluster) Identity() []string { return c.connection.routes.present.Load().identity }

// Renew takes other credentials, without an effect on what is under way. ErrOtherServer: they are for another cluster, and nothing was changed.
func (c *Cluster) Renew(access *credentials.Access) error { return c.connection.routes.renew(access) }

// load reads a kubeconfig file or the pod's service account once, for a cluster whose Access nobody keeps.
func load(account config.Account) (*credentials.Access, error) {
	return credentials.Load(context.Background(), credentials.Spec{InCluster: account.ServiceAccount, File: account.KubeconfigFile, Context: account.Context},
		credentials.Options{})
}
