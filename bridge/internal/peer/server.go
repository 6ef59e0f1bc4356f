package peer

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/operations"
	peerv1 "github.com/fairlead/fairlead/proto/gen/fairlead/peer/v1"
)

// Server lends this bridge's sessions to other bridges.
type Server struct {
	peerv1.UnimplementedPeerServiceServer

	router  *operations.Router
	readers sync.WaitGroup
}

// NewServer makes a server; who may call it is the listener's TLS.
func NewServer(router *operations.Router) *Server { return &Server{router: router} }

// Close waits for what the calls began; the gRPC server must have stopped.
func (s *Server) Close() { s.readers.Wait() }

// Relay implements the service.
func (s *Server) Relay(stream grpc.BidiStreamingServer[peerv1.RelayRequest, peerv1.RelayResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetOpen() == nil {
		return status.Error(codes.InvalidArgument, "the first request must open")
	}
	relay, err := s.router.Relay(first.GetOpen().GetSession())
	if err != nil {
		return asStatus(err)
	}
	defer relay.Close()
	if err := stream.Send(&peerv1.RelayResponse{Response: &peerv1.RelayResponse_Opened{Opened: &peerv1.RelayOpened{Instance: relay.Instance}}}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	s.readers.Go(func() { cancel(read(stream, relay)) })
	for {
		frame, err := relay.Next()
		switch {
		case err != nil:
			return asStatus(err)
		case frame != nil:
			if err := stream.Send(&peerv1.RelayResponse{Response: &peerv1.RelayResponse_Frame{Frame: frame}}); err != nil {
				return err
			}
			continue
		}
		select {
		case <-relay.Wake:
		case <-ctx.Done():
			return asStatus(context.Cause(ctx))
		}
	}
}

// read takes the other bridge's frames until it has no more.
func read(stream grpc.BidiStreamingServer[peerv1.RelayRequest, peerv1.RelayResponse], relay *operations.Relay) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if frame := request.GetFrame(); frame != nil {
			if err := relay.Received(frame); err != nil {
				return err
			}
		}
	}
}

func asStatus(err error) error {
	switch {
	case errors.Is(err, operations.ErrNoSession):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, operations.ErrSlow):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return err
}
