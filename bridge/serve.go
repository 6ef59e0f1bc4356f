package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/fairlead/fairlead/bridge/internal/fiat"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
)

const (
	// drainTime is how long agents and operations may take to leave when the bridge stops: less than the 30 s that Kubernetes gives.
	drainTime = 20 * time.Second
	// frameRoom is what a frame may hold besides the largest body.
	frameRoom = 4 << 20
	// streamsPerAgent is three, and one to spare while a broken one is replaced.
	streamsPerAgent = 4
)

// serve does what needs the database. asked ends when the bridge shall stop, running when it must. leave ends the plugin's endpoint.
func (b *Bridge) serve(asked, running context.Context, leave func()) error {
	authority, err := b.prepare(asked)
	if asked.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	b.adopt(authority)
	peers, err := b.listenPeers(running)
	if err != nil {
		return err
	}
	group, running := errgroup.WithContext(running)
	parts, stop := context.WithCancel(running)
	defer stop()
	group.Go(func() error { return b.cache.Run(parts) })
	group.Go(func() error { return b.registry.Run(parts) })
	if address := b.cfg.Fiat.URL; address != "" {
		syncer := fiat.New(fiat.Options{URL: address, Bridge: b.cfg.Name, Bridges: b.store.Bridges, Accounts: b.registry, Log: b.log})
		group.Go(func() error { return syncer.Run(parts) })
	}
	group.Go(func() error { return b.dynamic.Run(parts) })
	group.Go(func() error { return b.tokens.Run(parts) })
	group.Go(func() error { return b.history.Run(parts) })
	group.Go(func() error { return b.modes.Run(parts) })
	group.Go(func() error { return b.runner.router.Loop(parts) })
	group.Go(func() error { return b.peers.Run(parts) })
	if peers != nil {
		group.Go(func() error { return b.servePeers(parts, peers, authority) })
	}
	group.Go(func() error { return b.keepHouse(parts) })
	group.Go(func() error { return b.sessions.Run(parts) })
	group.Go(func() error { return b.followConfig(parts) })
	group.Go(func() error { return b.awaitTemplates(parts) })
	group.Go(func() error { return b.becomeReady(parts) })
	group.Go(func() error {
		defer stop()
		quit, cancel := context.WithCancel(asked)
		defer cancel()
		defer context.AfterFunc(running, cancel)()
		return b.serveAgents(quit, leave)
	})
	return group.Wait()
}

// prepare waits for the database, brings our tables up to date and reads or makes the authority.
func (b *Bridge) prepare(ctx context.Context) (*identity.Authority, error) {
	for {
		if err := b.store.Prepare(ctx); err != nil {
			return nil, err
		}
		authority, err := identity.LoadAuthority(ctx, b.store, b.key)
		if err == nil {
			b.log.Info("certificate authority loaded", "pin", authority.Pin())
			return authority, nil
		}
		if !store.IsUnavailable(err) {
			return nil, err
		}
		b.log.Warn("certificate authority cannot be read yet", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (b *Bridge) awaitTemplates(ctx context.Context) error {
	// It fails only when ctx has ended.
	if b.store.WaitForTemplates(ctx) == nil {
		b.health.templates.Store(true)
	}
	return nil
}

// becomeReady says that the bridge has started once it knows the accounts.
func (b *Bridge) becomeReady(ctx context.Context) error {
	for {
		changed := b.registry.Changed()
		if b.registry.Complete() {
			b.ready.Store(true)
			b.log.Info("bridge is ready", "took", time.Since(b.started).Round(time.Millisecond))
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// serveAgents serves agents until ctx ends, then drains.
func (b *Bridge) serveAgents(ctx context.Context, leave func()) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Agents.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("agents.address: %w", err)
	}
	server := grpc.NewServer(b.grpcOptions()...)
	agentv1.RegisterAgentServiceServer(server, b.sessions)
	if b.cfg.Agents.Plaintext {
		b.log.Warn("agents.plaintext is set: tokens and manifests cross the network unencrypted unless a proxy encrypts them", "address", listener.Addr().String())
	} else {
		b.log.Info("listening for agents", "address", listener.Addr().String(), "pin", b.pin())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("agents endpoint: %w", err)
	case <-ctx.Done():
	}
	b.log.Info("bridge drains: agents are sent elsewhere, operations may end", "within", drainTime)
	leave()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	b.sessions.Drain(drain, "the bridge stops")
	server.Stop()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	b.sessions.Close()
	return nil
}

func (b *Bridge) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(b.cfg.Cache.MaximumBodyBytes + frameRoom),
		grpc.MaxConcurrentStreams(streamsPerAgent),
		grpc.ConnectionTimeout(15 * time.Second),
		// Sessions use the database, which is closed after the server has stopped.
		grpc.WaitForHandlers(true),
		// Liveness is the protocol's heartbeat; this only finds connections on which no session was ever opened.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	if !b.cfg.Agents.Plaintext {
		options = append(options, grpc.Creds(credentials.NewTLS(identity.AgentsTLS(b.certificate))))
	}
	return options
}
