package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"golang.org/x/time/rate"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"
)

const (
	// Requests per second, and at once, that one account sends for its inventory: ten kinds list at start, pages follow each
	// other, watches cost one request every few minutes.
	inventoryRate, inventoryBurst = 20, 40
	// The same for operations. kubectl allows 50 to each of its processes; a busy account has several operations at once.
	operationRate, operationBurst = 400, 800

	// streamWindow bounds what a watch that is not read holds in memory.
	streamWindow = 1 << 20
	// defaultHeaderTimeout bounds how long an inventory request waits for an answer to begin. An API server ends
	// requests by itself after 60 s.
	defaultHeaderTimeout = 75 * time.Second

	serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// connection is how an account reaches its API server.
type connection struct {
	// server is the API server's URL.
	server string
	// namespace is the default one, as kubectl takes it from the kubeconfig's context or from the pod.
	namespace string
	// authenticated sends requests with the account's credentials; base is underneath it.
	authenticated         http.RoundTripper
	base                  *http.Transport
	dialer                *connrotation.Dialer
	inventory, operations *rate.Limiter
	headerTimeout         time.Duration
	requestTimeout        time.Duration
	userAgent             string
}

func connect(account config.Account, o Options) (*connection, error) {
	restConfig, namespace, err := load(account)
	if err != nil {
		return nil, err
	}
	restConfig.UserAgent = o.UserAgent
	if account.Insecure {
		restConfig.Insecure = true
		restConfig.CAData, restConfig.CAFile = nil, ""
	}
	server, _, err := rest.DefaultServerUrlFor(restConfig)
	if err != nil {
		return nil, fmt.Errorf("API server %q: %w", restConfig.Host, err)
	}
	tlsConfig, err := rest.TLSConfigFor(restConfig)
	if err != nil {
		return nil, fmt.Errorf("TLS for API server %s: %w", server, err)
	}
	proxy := restConfig.Proxy
	switch {
	case account.NoProxy || o.NoProxy:
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
	if account.NoProxy || o.NoProxy {
		base.Proxy = nil // SetTransportDefaults put the environment's in
	}
	authenticated, err := rest.HTTPWrappersForConfig(restConfig, base)
	if err != nil {
		return nil, fmt.Errorf("credentials for API server %s: %w", server, err)
	}
	c := &connection{
		server: strings.TrimSuffix(server.String(), "/"), namespace: namespace,
		authenticated: authenticated, base: base, dialer: dialer,
		inventory:     rate.NewLimiter(inventoryRate, inventoryBurst),
		operations:    rate.NewLimiter(operationRate, operationBurst),
		headerTimeout: defaultHeaderTimeout, requestTimeout: o.RequestTimeout,
		userAgent: o.UserAgent,
	}
	if o.RequestTimeout > 0 {
		c.headerTimeout = o.RequestTimeout
	}
	return c, nil
}

// load reads the account's credentials and default namespace.
func load(account config.Account) (*rest.Config, string, error) {
	if account.ServiceAccount {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, "", fmt.Errorf("serviceAccount: true, but this is not a pod with a service account: %w", err)
		}
		return c, podNamespace(), nil
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: account.KubeconfigFile},
		&clientcmd.ConfigOverrides{CurrentContext: account.Context})
	c, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfigFile %s: %w", account.KubeconfigFile, err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfigFile %s: %w", account.KubeconfigFile, err)
	}
	return c, namespace, nil
}

func podNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	if content, err := os.ReadFile(serviceAccountNamespace); err == nil {
		if ns := strings.TrimSpace(string(content)); ns != "" {
			return ns
		}
	}
	return "default"
}

// close ends all connections.
func (c *connection) close() {
	c.base.CloseIdleConnections()
	c.dialer.CloseAll()
}

// forInventory returns a client configuration whose requests end with ctx.
func (c *connection) forInventory(ctx context.Context) *rest.Config {
	return c.config(&bound{ctx: ctx, next: c.authenticated, limiter: c.inventory, headerTimeout: c.headerTimeout})
}

func (c *connection) config(transport http.RoundTripper) *rest.Config {
	return &rest.Config{
		Host: c.server, Transport: transport, UserAgent: c.userAgent,
		QPS:            -1, // the transport limits, so that waiting ends with the context too
		WarningHandler: rest.NoWarnings{},
	}
}

// bound ties requests to a context that is not the request's own, because much of kubectl's library knows none, and
// limits their rate.
type bound struct {
	ctx           context.Context
	next          http.RoundTripper
	limiter       *rate.Limiter
	headerTimeout time.Duration
	// spent sums the nanoseconds until answers began; nil: not wanted.
	spent *atomic.Int64
}

var errNoAnswer = errors.New("no answer within the time limit")

// RoundTrip sends the request; it and the reading of its answer end with either context.
func (b *bound) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })
	end := func() { stop(); cancel(nil) }
	if err := b.limiter.Wait(ctx); err != nil {
		end()
		return nil, b.reason(err)
	}
	var timer *time.Timer
	if b.headerTimeout > 0 {
		timer = time.AfterFunc(b.headerTimeout, func() { cancel(errNoAnswer) })
	}
	began := time.Now()
	resp, err := b.next.RoundTrip(req.WithContext(ctx))
	if b.spent != nil {
		b.spent.Add(int64(time.Since(began)))
	}
	if timer != nil {
		timer.Stop()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && req.Context().Err() == nil {
			err = cause
		}
		end()
		return nil, b.reason(err)
	}
	resp.Body = &ending{ReadCloser: resp.Body, end: end}
	return resp, nil
}

func (b *bound) reason(err error) error {
	if cause := context.Cause(b.ctx); cause != nil {
		return cause
	}
	return err
}

// ending runs end when a body is closed.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	err := e.ReadCloser.Close()
	e.end()
	return err
}
