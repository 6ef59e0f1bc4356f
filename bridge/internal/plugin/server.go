package plugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
)

const (
	// maximumRequestBytes bounds one request. etcd takes 1.5 MiB an object; a List of several and base64 need more.
	maximumRequestBytes = 24 << 20
	// maximumOperations bounds operations at a time, as the router does (link.OperationsConfig.Open).
	maximumOperations = 4096
	// repeatEvery is how often the accounts are sent though nothing changed: the plugin takes 30 s of silence for a dead stream.
	repeatEvery = 8 * time.Second
	// calmFor is how long changes of the accounts are collected after a list was sent.
	calmFor = 250 * time.Millisecond
	// drainFor is how long operations may take to end when the bridge stops.
	drainFor = 20 * time.Second
)

var errWrongSecret = errors.New("the secret is missing or wrong: plugin and bridge must read the same file (plugin.secretFile of the bridge, secretFile of the plugin)")

// Options are what a Server needs.
type Options struct {
	// Address to listen at, "127.0.0.1:9092"; loopback only, unless Remote is set.
	Address string
	// SecretFile holds what callers must show; made if absent. Not used with Remote.
	SecretFile string
	// Remote is how the plugin is known that calls over a network; nil: it calls by loopback and shows the secret.
	Remote   *Remote
	Accounts Accounts
	Runner   Runner
	Status   func() Status
	Metrics  prometheus.Registerer
	Log      *slog.Logger
}

// Remote is TLS for a plugin that is not in the same pod, and who its client certificates make it.
type Remote struct {
	TLS      *tls.Config
	Identify func(ctx context.Context, chain []*x509.Certificate) (identity.Identity, error)
}

// Server answers the plugin.
type Server struct {
	o        Options
	secret   secret
	callers  *callers
	running  chan struct{} // one token for each operation
	stopping chan struct{} // closed when Run ends: account streams end at once, operations are given drainFor
	refusals prometheus.Counter
	// expiring is the certificate of a remote plugin that called last of those that end soon.
	expiring atomic.Pointer[expiry]
}

var _ clouddriverv1connect.ClouddriverServiceHandler = (*Server)(nil)

// New checks the options and makes the secret file if there is none.
func New(o Options) (*Server, error) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("plugin.address %q: %w", o.Address, err)
	}
	made := &Server{o: o, callers: newCallers(), running: make(chan struct{}, maximumOperations), stopping: make(chan struct{}),
		refusals: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "plugin_refused_total",
			Help: "Calls at the plugin's endpoint that were refused; the log says whose and why."})}
	if o.Metrics != nil {
		o.Metrics.MustRegister(made.refusals)
	}
	switch {
	case o.Remote != nil:
		return made, nil
	case !loopbackName(host):
		return nil, fmt.Errorf("plugin.address %q: is not a loopback address (127.0.0.1:9092), and what is called over a network needs plugin.mutualTLS: true", o.Address)
	case o.SecretFile == "":
		return nil, errors.New("plugin.secretFile: a file is needed, on a volume that Clouddriver's container mounts too")
	}
	made.secret, err = newSecret(o.SecretFile)
	return made, err
}

// Run listens and serves until ctx ends and the operations have.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Address)
	if err != nil {
		return fmt.Errorf("plugin.address: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve is Run on a listener that exists already; it closes it. It can be called once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	operations, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       30 * time.Minute, // longer than the plugin's JVM keeps an idle connection, so that it never writes into one that closes
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return operations },
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	s.o.Log.Info("listening for the plugin", "address", listener.Addr().String(), "secretFile", s.o.SecretFile, "mutualTLS", s.o.Remote != nil)
	if s.o.Remote != nil {
		listener = tls.NewListener(listener, s.o.Remote.TLS)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("plugin endpoint: %w", err)
	case <-ctx.Done():
	}
	close(s.stopping)
	drain, done := context.WithTimeout(operations, drainFor)
	defer done()
	err := server.Shutdown(drain)
	if err != nil {
		s.o.Log.Warn("operations of Clouddriver did not end in time and are cancelled", "waited", drainFor)
		cancel()
		err = server.Close()
	}
	return errors.Join(err, unlessClosed(<-served))
}

// Handler is the endpoint without a listener.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(clouddriverv1connect.NewClouddriverServiceHandler(s,
		connect.WithReadMaxBytes(maximumRequestBytes),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			s.o.Log.Error("panic in a call", "procedure", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
			return connect.NewError(connect.CodeInternal, errors.New("the bridge failed on this call, see its log"))
		}),
	))
	return s.guard(s.callers.counted(mux))
}

// GetStatus implements the service.
func (s *Server) GetStatus(context.Context, *connect.Request[clouddriverv1.GetStatusRequest]) (*connect.Response[clouddriverv1.GetStatusResponse], error) {
	status := s.o.Status()
	return connect.NewResponse(&clouddriverv1.GetStatusResponse{
		Version:           status.Version,
		Agents:            uint32(status.Agents),            //nolint:gosec // counts
		Accounts:          uint32(status.Accounts),          //nolint:gosec // counts
		AccountsConnected: uint32(status.AccountsConnected), //nolint:gosec // counts
		Problems:          status.Problems,
	}), nil
}

// unlessClosed drops the error by which a server says that it was shut down.
func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
