// Package server is the agent's HTTP endpoint for probes and for people: health, accounts, watches, operations, version; on a
// port of their own metrics, and profiles if they are enabled.
//
// It shows what it is told (Sources) and changes nothing. It has no authentication, as in the replaced product, so it never shows
// credentials, manifests or objects.
//
//	GET /livez /readyz /healthz   one line for each check, 503 when one fails; /health is /readyz, /startupz is /livez: an agent
//	                              that listens has started, whether a bridge is there or not
//	GET /accounts                 accounts with their state; ?Config.Name= ?Config.Dynamic= ?State.Name= filter, ?limit= ?offset= page
//	GET /accounts/NAME/version    version of the account's API server
//	GET /watches                  watches by account and state
//	GET /operations               operations under way
//	GET /config                   which configuration is in force, and why a newer one is not
//	GET /version                  the agent's build
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Options say where to listen.
type Options struct {
	// Host "" means all addresses.
	Host string
	// Port of health and administration.
	Port int
	// MetricsPort and PprofPort: 0 does not listen.
	MetricsPort, PprofPort int
	Log                    *slog.Logger
}

// Sources give what is shown. They are called for each request, from several goroutines. A nil one shows nothing.
type Sources struct {
	// Live are checks that only a restart cures; Ready what the agent needs to do its work.
	Live, Ready func() []Check
	Accounts    func() []Account
	Operations  func() []Operation
	Config      func() Config
	Metrics     prometheus.Gatherer
	Version     Version
}

// Server serves until its context ends.
type Server struct {
	options Options
	sources Sources
}

// New makes a server; it listens when it runs.
func New(o Options, s Sources) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{options: o, sources: s}
}

// shutdownTime is how long requests may take to end when the agent stops.
const shutdownTime = 2 * time.Second

// Run listens and serves until ctx ends. It fails at once when a port is taken.
func (s *Server) Run(ctx context.Context) error {
	endpoints := []struct {
		name    string
		port    int
		wanted  bool
		handler http.Handler
	}{
		{"server.port", s.options.Port, true, s.Handler()},
		{"prometheus.port", s.options.MetricsPort, s.options.MetricsPort > 0 && s.sources.Metrics != nil, s.MetricsHandler()},
		{"pprof.port", s.options.PprofPort, s.options.PprofPort > 0, profiles()},
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		if !e.wanted {
			continue
		}
		address := net.JoinHostPort(s.options.Host, strconv.Itoa(e.port))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			g.Go(func() error { return fmt.Errorf("%s %d: %w; choose a port that is free", e.name, e.port, err) })
			break
		}
		s.options.Log.Info("listening", "for", e.name, "address", listener.Addr().String())
		server := &http.Server{
			Handler: e.handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
		}
		g.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
			defer cancel()
			if server.Shutdown(limit) != nil {
				_ = server.Close()
			}
			return nil
		})
	}
	return g.Wait()
}

// Handler serves health and administration.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.health(s.sources.Live))
	mux.HandleFunc("GET /readyz", s.health(s.sources.Ready))
	mux.HandleFunc("GET /startupz", s.health(s.sources.Live))
	mux.HandleFunc("GET /health", s.health(s.sources.Ready))
	mux.HandleFunc("GET /healthz", s.health(s.sources.Live, s.sources.Ready))
	mux.HandleFunc("GET /accounts", s.accounts)
	mux.HandleFunc("GET /accounts/{name}/version", s.accountVersion)
	mux.HandleFunc("GET /watches", s.watches)
	mux.HandleFunc("GET /operations", s.operations)
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		if s.sources.Config == nil {
			write(w, Config{})
			return
		}
		write(w, s.sources.Config())
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { write(w, s.sources.Version) })
	return mux
}

// MetricsHandler serves metrics under the two paths of the replaced product.
func (s *Server) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	if s.sources.Metrics == nil {
		return mux
	}
	metrics := promhttp.HandlerFor(s.sources.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second})
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /prometheus_metrics", metrics)
	return mux
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
