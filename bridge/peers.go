package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/peer"
	peerv1 "github.com/fairlead/fairlead/proto/gen/fairlead/peer/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// listenPeers opens the endpoint for other bridges and tells them where it is; nil: none is wanted.
func (b *Bridge) listenPeers(ctx context.Context) (net.Listener, error) {
	if b.cfg.Peers.Address == "" {
		return nil, nil //nolint:nilnil // see above
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Peers.Address)
	if err != nil {
		return nil, fmt.Errorf("peers.address: %w", err)
	}
	address := b.cfg.Peers.Advertise
	if address == "" {
		address = b.reachable(ctx, listener.Addr().String())
	}
	b.log.Info("listening for other bridges", "address", listener.Addr().String(), "advertised", address)
	b.registry.Announce(address)
	return listener, nil
}

// reachable is a listener's address as others reach it: one that listens everywhere is reached at the interface towards the database.
func (b *Bridge) reachable(ctx context.Context, listening string) string {
	host, port, err := net.SplitHostPort(listening)
	if err != nil || !net.ParseIP(host).IsUnspecified() {
		return listening
	}
	// No packet is sent: a datagram socket only asks for the route.
	route, err := (&net.Dialer{}).DialContext(ctx, "udp", b.store.Host())
	if err != nil {
		b.log.Warn("the address for other bridges is not known, they cannot use this one's agents; set peers.advertise", "error", err)
		return ""
	}
	defer func() { _ = route.Close() }()
	host, _, _ = net.SplitHostPort(route.LocalAddr().String())
	return net.JoinHostPort(host, port)
}

// servePeers serves other bridges until ctx ends.
func (b *Bridge) servePeers(ctx context.Context, listener net.Listener, authority *identity.Authority) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(authority.PeerServerConfig(b.cfg.Name))),
		grpc.MaxRecvMsgSize(link.MaxFrameBytes),
		grpc.ConnectionTimeout(15*time.Second),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	relays := peer.NewServer(b.runner.router)
	peerv1.RegisterPeerServiceServer(server, relays)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("peers endpoint: %w", err)
	case <-ctx.Done():
	}
	server.Stop()
	relays.Close()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// peerTLS is how another bridge is dialled. Operations wait for it only once the authority has been read.
func (b *Bridge) peerTLS(name string) *tls.Config {
	return b.authority.Load().PeerClientConfig(b.cfg.Name, name)
}
