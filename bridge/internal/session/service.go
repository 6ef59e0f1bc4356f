package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/forwarded"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/store"
	_ "github.com/fairlead/fairlead/proto/compress" // agents compress their inventory
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Config is what a Service is made of.
type Config struct {
	// Bridge is this process's name.
	Bridge string
	// Agents knows who an agent is.
	Agents *identity.Agents
	// Prover is the certificate that a bridge proves itself with inside the stream, where something in between ends TLS; nil: it never is.
	Prover   func() (*tls.Certificate, error)
	Accounts *accounts.Registry
	Fences   Fences
	Cache    *cache.Writer
	Router   *operations.Router
	// Dynamic gives agents accounts at run time; nil: nobody does.
	Dynamic Dynamic
	// CheckInterval (5 min) is how often what is cached is compared, and leftovers of polling are looked for.
	CheckInterval time.Duration
	// Grace (6 s, more than the pause of an agent that lost its bridge) is how long an account waits for its holder's process to come back, Settle (10 s) how long a process has been there before accounts
	// of others are moved to it.
	Grace, Settle time.Duration
	// Heartbeat and Age of sessions; 0: as link.BridgeConfig has them.
	Heartbeat, Age time.Duration
	// Directory knows the other bridges.
	Directory Directory
	// Forwarded holds agents' metrics, which they may send every MetricsInterval; 0: never.
	Forwarded       *forwarded.Store
	MetricsInterval time.Duration
	Metrics         prometheus.Registerer
	Log             *slog.Logger
}

// Dynamic gives agents accounts at run time (dynamic.Service). Its methods do not block.
type Dynamic interface {
	Declared(session dynamic.Session, accounts []*linkv1.Account)
	Unassigned(session string, said *linkv1.Assigned)
	Rejected(session, account, reason string)
	Left(session string)
}

// Fences gives accounts' caching away (store.Store).
type Fences interface {
	AttachUnlessHeld(ctx context.Context, b store.Bid) (store.Attached, error)
	Vacate(ctx context.Context, instance string, accounts []string) error
	Fences(ctx context.Context) (map[string]store.Fence, error)
}

// Service implements fairlead.agent.v1.AgentService.
type Service struct {
	agentv1.UnimplementedAgentServiceServer

	cfg      Config
	readers  sync.WaitGroup
	turns    *rate.Limiter
	refusals *prometheus.CounterVec
	counts   *counts
	outdated *outdated
	// wakeShare asks for a plan of who caches what.
	wakeShare chan struct{}

	mu       sync.Mutex
	bySecret map[string]*session
	// byInstance finds an older session of the same process.
	byInstance map[string]*session
	// byWord finds a session of the process that called itself so first.
	byWord map[string]*session
	// holders are the sessions that have an account's caching.
	holders  map[string]*session
	draining bool
}

// New makes the service.
func New(cfg Config) *Service {
	cfg.CheckInterval = cmp.Or(cfg.CheckInterval, 5*time.Minute)
	cfg.Grace, cfg.Settle = cmp.Or(cfg.Grace, 6*time.Second), cmp.Or(cfg.Settle, 10*time.Second)
	return &Service{cfg: cfg, turns: rate.NewLimiter(admitRate, admitBurst), refusals: newRefusals(cfg.Metrics), counts: newCounts(cfg.Metrics), outdated: newOutdated(), bySecret: map[string]*session{}, byInstance: map[string]*session{}, byWord: map[string]*session{},
		holders: map[string]*session{}, wakeShare: make(chan struct{}, 1)}
}

// Info describes a session for people.
type Info struct {
	Session, Remote string
	Agent           *linkv1.Agent
	Since           time.Time
	Accounts        []string
}

// Sessions lists the sessions whose agent has said Hello, oldest first.
func (s *Service) Sessions() []Info {
	s.mu.Lock()
	all := make([]*session, 0, len(s.bySecret))
	for _, e := range s.bySecret {
		all = append(all, e)
	}
	s.mu.Unlock()
	var list []Info
	for _, e := range all {
		if i, ok := e.info(); ok {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b Info) int { return a.Since.Compare(b.Since) })
	return list
}

// Kinds tells how far the caching of an account at this bridge is: the types whose rows and links agree with the cluster, and those that
// do not or were not compared yet.
func (s *Service) Kinds(account string) (live, pending []string) {
	s.mu.Lock()
	e := s.holders[account]
	s.mu.Unlock()
	if e == nil {
		return nil, nil
	}
	return e.kinds(account)
}

// Drain asks every agent to go elsewhere and waits until they have, or ctx ends.
func (s *Service) Drain(ctx context.Context, reason string) {
	s.mu.Lock()
	s.draining = true
	all := make([]*session, 0, len(s.bySecret))
	for _, e := range s.bySecret {
		all = append(all, e)
	}
	s.mu.Unlock()
	for _, e := range all {
		e.drain(reason)
	}
	for _, e := range all {
		select {
		case <-e.ended:
		case <-ctx.Done():
			e.cancel()
		}
	}
}

// Close waits for the readers. The gRPC server has stopped before.
func (s *Service) Close() { s.readers.Wait() }

// Sessions begin at a limited rate: when a bridge is gone or all are restarted, all agents come at once, and each asks the database for all of its
// accounts. One that would wait longer than admitWait comes back after its own pause.
const (
	admitRate  = 100 // a second
	admitBurst = 100
	admitWait  = 3 * time.Second
)

// admit waits for the session's turn.
func (s *Service) admit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, admitWait)
	defer cancel()
	if err := s.turns.Wait(ctx); err != nil {
		return status.Error(codes.Unavailable, "too many agents connect to this bridge at once; this one's turn comes later")
	}
	return nil
}

// Session implements the service.
func (s *Service) Session(stream agentv1.AgentService_SessionServer) error {
	if err := s.admit(stream.Context()); err != nil {
		return err
	}
	id, err := s.identify(stream)
	if err != nil {
		s.refused(refusedSession, remote(stream.Context()), err)
		return refusal(err)
	}
	e, err := newSession(s, stream, id)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		e.cancel()
		return status.Error(codes.Unavailable, "this bridge stops")
	}
	s.bySecret[e.secret] = e
	s.mu.Unlock()
	defer s.remove(e)
	return e.run()
}

// Inventory implements the service.
func (s *Service) Inventory(stream agentv1.AgentService_InventoryServer) error {
	e, err := s.find(stream.Context(), func(e *session) *bool { return &e.inventoryOpen })
	if err != nil {
		return err
	}
	return e.inventory(stream)
}

// Operations implements the service.
func (s *Service) Operations(stream agentv1.AgentService_OperationsServer) error {
	e, err := s.find(stream.Context(), func(e *session) *bool { return &e.operationsOpen })
	if err != nil {
		return err
	}
	return e.operations(stream)
}

// find returns the session that the stream's metadata names, and marks its stream as open.
func (s *Service) find(ctx context.Context, open func(*session) *bool) (*session, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	given := md.Get("fairlead-session")
	if len(given) != 1 {
		return nil, s.refusedStream(ctx, status.Error(codes.Unauthenticated, "metadata fairlead-session: want the secret of the session's Welcome"))
	}
	s.mu.Lock()
	e := s.bySecret[given[0]]
	s.mu.Unlock()
	if e == nil {
		return nil, s.refusedStream(ctx, status.Error(codes.Unauthenticated, "metadata fairlead-session: no such session here; open a Session first. "+
			"What balances load between agents and bridges must send all streams of a connection to one bridge"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if *open(e) {
		return nil, s.refusedStream(ctx, status.Error(codes.AlreadyExists, "this stream of the session is open already"))
	}
	*open(e) = true
	return e, nil
}

func (s *Service) refusedStream(ctx context.Context, err error) error {
	s.refused(refusedStream, remote(ctx), err)
	return err
}

// greet remembers which process a session belongs to, and returns an older session of the same process. claimed: another identity has a session whose
// process calls itself the same.
func (s *Service) greet(e *session) (older *session, claimed bool) {
	word, process := e.instance(), e.process()
	s.mu.Lock()
	defer s.mu.Unlock()
	older = s.byInstance[process]
	s.byInstance[process] = e
	if older == e {
		older = nil
	}
	first := s.byWord[word]
	if first == nil || first.identity.Subject() == e.identity.Subject() {
		s.byWord[word] = e
		return older, false
	}
	return older, true
}

func (s *Service) remove(e *session) {
	s.mu.Lock()
	delete(s.bySecret, e.secret)
	for _, index := range []map[string]*session{s.byInstance, s.byWord} {
		for name, o := range index {
			if o == e {
				delete(index, name)
			}
		}
	}
	s.mu.Unlock()
	e.handOver("")
}

func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
