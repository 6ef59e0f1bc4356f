// Package admin is what operators, probes and the command line call on a bridge: the admin API (Connect), health endpoints
// and profiles.
//
// Everything but the health endpoints needs a token: that of a file that the bridge makes, one with a role, or an identity provider's. Answers come from what the bridge knows, so that
// they come while the database is away; only what changes something, and lists of tokens, need it.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/doctor"
	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	maximumRequestBytes = 24 << 20 // a manifest on kubectl's standard input
	shutdownWait        = 5 * time.Second
)

// Runner runs an operation on an account's agent (operations.Router).
type Runner interface {
	Run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error)
}

// Totals are what the bridge has done since its start.
type Totals struct{ Rows, Links, Operations uint64 }

// Options is what a Server is made of. The functions must not block.
type Options struct {
	Address   string
	TokenFile string
	Version   string
	Bridge    string
	Started   time.Time
	// Pin is the pin of the certificate authority; "" while it is not known.
	Pin      func() string
	Accounts *accounts.Registry
	// Dynamic are the accounts that are given to agents at run time. Disabled: none is added or changed. Servers are the API servers that they may name.
	Dynamic  *dynamic.Service
	Disabled bool
	Servers  []string
	// Bridges lists the bridges, Pool is how the database is used, Stored reads Clouddriver's own stored accounts.
	Bridges func(context.Context) ([]store.Bridge, error)
	Pool    func() map[string]any
	Stored  Stored
	Tokens  *identity.Tokens
	// People knows tokens of an identity provider; nil: none is set up.
	People *identity.Issuers
	Trail  Trail
	// Record is the history of operations; Modes says which agents have them.
	Record Record
	Modes  *operations.Modes
	// Rotate seals everything with the newest key; Keys are the key file's ids, the sealing one last.
	Rotate func(context.Context) (id string, sealed int, err error)
	Keys   func() []string
	// IssueForPlugin makes a plugin's certificate for a certificate request, and returns the CA that the plugin has to trust.
	IssueForPlugin func(ctx context.Context, csr []byte, life time.Duration, description string) (id string, certificate, ca []byte, err error)
	// AgentsAddress is where agents dial; "": the configuration does not tell.
	AgentsAddress string
	// Epochs asks the database for the epochs of all accounts.
	Epochs   func(context.Context) (map[string]uint64, error)
	Sessions func() []*adminv1.Session
	// Kinds tells which kinds of an account agree with its cluster at this bridge, and which do not yet.
	Kinds    func(account string) (live, pending []string)
	Resync   Resyncer
	Runner   Runner
	Problems func() []string
	Totals   func() Totals
	// Agents lists the agents of all bridges, and those that were turned away.
	Agents func(context.Context) ([]*adminv1.Agent, error)
	// Diagnose looks for known faults.
	Diagnose func(context.Context) []doctor.Finding
	// Support makes the files of a support bundle.
	Support func(context.Context) []*adminv1.SupportFile
	// Ready tells whether the bridge has started completely; why not, if it has not.
	Ready func() (ready bool, reason string)
	Log   *slog.Logger
}

// Server answers operators and probes.
type Server struct {
	o     Options
	token string
}

// New checks the options and reads the token, which it makes if there is none.
func New(o Options) (*Server, error) {
	token, err := readToken(o.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("admin.tokenFile: %w", err)
	}
	return &Server{o: o, token: token}, nil
}

// Run listens and serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.Address)
	if err != nil {
		return fmt.Errorf("admin.address: %w", err)
	}
	s.o.Log.Info("listening for operators", "address", listener.Addr().String(), "tokenFile", s.o.TokenFile)
	return Serve(ctx, listener, s.Handler(), s.o.Log)
}

// Handler is the whole endpoint without a listener.
func (s *Server) Handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.Handle(adminv1connect.NewAdminServiceHandler(s,
		connect.WithReadMaxBytes(maximumRequestBytes),
		connect.WithInterceptors(roles{s}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			s.o.Log.Error("panic in a call", "procedure", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
			return connect.NewError(connect.CodeInternal, errors.New("the bridge failed on this call, see its log"))
		})))
	s.routeAccounts(guarded)
	s.routeArmory(guarded)
	guarded.HandleFunc("GET /armory/agent/operations", s.restOperations)
	guarded.HandleFunc("GET /armory/agent/operations/{id}", s.restOperation)
	guarded.HandleFunc("/debug/pprof/", operators(pprof.Index))
	guarded.HandleFunc("/debug/pprof/cmdline", operators(pprof.Cmdline))
	guarded.HandleFunc("/debug/pprof/profile", operators(pprof.Profile))
	guarded.HandleFunc("/debug/pprof/symbol", operators(pprof.Symbol))
	guarded.HandleFunc("/debug/pprof/trace", operators(pprof.Trace))

	mux := http.NewServeMux()
	mux.HandleFunc("/livez", s.livez)
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/startupz", s.readyz)
	mux.HandleFunc("/healthz", s.healthz)
	mux.Handle("/", s.guard(guarded))
	return mux
}

// Serve serves HTTP/1.1 and unencrypted HTTP/2 until ctx ends; it closes the listener.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer cancel()
	err := server.Shutdown(wait)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
