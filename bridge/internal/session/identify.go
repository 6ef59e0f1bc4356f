package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/proof"
)

// proofTime is how long an agent may take to answer a challenge.
const proofTime = 15 * time.Second

// identify returns who opens a session.
func (s *Service) identify(stream agentv1.AgentService_SessionServer) (identity.Identity, error) {
	ctx := stream.Context()
	shown, err := s.shown(ctx)
	if err != nil {
		return identity.Identity{}, err
	}
	nonce := one(ctx, proof.NonceMetadata)
	if nonce == "" || shown.Token != "" {
		return s.cfg.Agents.Identify(ctx, shown)
	}
	var id identity.Identity
	if shown.Certificates, err = s.challenge(stream, nonce); err == nil {
		id, err = s.cfg.Agents.Identify(ctx, shown)
	}
	if err != nil && ctx.Err() == nil {
		// Proxies do not pass on the status of a stream before its agent has ended it too; a frame they do.
		_ = stream.Send(farewell(err)) // the status says the same
	}
	return id, err
}

// farewell is the Close for an agent that is not let in.
func farewell(err error) *linkv1.SessionDown {
	code, told := linkv1.Close_CODE_RETRY, status.Convert(refusal(err))
	if told.Code() == codes.Unauthenticated || told.Code() == codes.InvalidArgument {
		code = linkv1.Close_CODE_REFUSED
	}
	return &linkv1.SessionDown{Frame: &linkv1.SessionDown_Close{Close: &linkv1.Close{Code: code, Reason: told.Message()}}}
}

// shown is what a call shows by itself.
func (s *Service) shown(ctx context.Context) (identity.Shown, error) {
	shown := identity.Shown{Token: one(ctx, proof.TokenMetadata)}
	if token, ok := strings.CutPrefix(one(ctx, "authorization"), "Bearer "); ok && shown.Token == "" && strings.HasPrefix(token, identity.TokenPrefix) {
		// Anything else there is for what stands in between.
		shown.Token = token
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			shown.Certificates = info.State.PeerCertificates
		}
	}
	if shown.Token == "" && len(shown.Certificates) == 0 && one(ctx, proof.NonceMetadata) == "" {
		return shown, status.Error(codes.Unauthenticated, "the agent shows neither an enrolment token nor a client certificate; `fairlead token create` makes a token for clouddriver.auth.tokenFile. "+
			"If it does have a certificate, something between agent and bridge ends TLS: set clouddriver.tls.proxied at the agent and agents.proxied at the bridge")
	}
	return shown, nil
}

// one is the only value of a key in the call's metadata, "" if there is none or several.
func one(ctx context.Context, key string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if given := md.Get(key); len(given) == 1 {
		return given[0]
	}
	return ""
}

// challenge has an agent prove its certificate inside the stream, and proves the bridge to it.
func (s *Service) challenge(stream agentv1.AgentService_SessionServer, agentNonce string) ([]*x509.Certificate, error) {
	if s.cfg.Prover == nil {
		return nil, status.Error(codes.FailedPrecondition, "this bridge proves identities by TLS itself: where something between agent and bridge ends TLS, set agents.proxied at the bridge; else take clouddriver.tls.proxied out of the agent's configuration")
	}
	nonce, err := hex.DecodeString(agentNonce)
	if err != nil || len(nonce) != proof.NonceBytes {
		return nil, status.Errorf(codes.InvalidArgument, "metadata %s: want %d bytes in hex", proof.NonceMetadata, proof.NonceBytes)
	}
	own, err := s.cfg.Prover()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	c := &linkv1.Challenge{Nonce: proof.NewNonce(), Session: s.cfg.Bridge + "/" + newSecret()[:12], Certificates: own.Certificate}
	if c.Signature, err = proof.Sign(own.PrivateKey, proof.Challenge(nonce, c.GetNonce(), c.GetSession())); err != nil {
		return nil, status.Error(codes.Internal, "sign the challenge: "+err.Error())
	}
	if err := stream.Send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Challenge{Challenge: c}}); err != nil {
		return nil, err
	}
	answer, err := s.answer(stream)
	if err != nil {
		return nil, err
	}
	chain, err := proof.ParseChain(answer.GetCertificates())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "proof: "+err.Error())
	}
	if err := proof.Verify(chain[0], proof.Answer(nonce, c.GetNonce(), c.GetSession(), pinOf(own)), answer.GetSignature()); err != nil {
		return nil, status.Error(codes.Unauthenticated, "proof: "+err.Error()+": it is not by the certificate's key, or not for this session of these bridges (clouddriver.tls.pin)")
	}
	return chain, nil
}

// answer waits for the Proof. An agent that says nothing does not hold up the call for ever: it ends then, and the reader with it.
func (s *Service) answer(stream agentv1.AgentService_SessionServer) (*linkv1.Proof, error) {
	type result struct {
		frame *linkv1.SessionUp
		err   error
	}
	got := make(chan result, 1)
	s.readers.Go(func() {
		frame, err := stream.Recv()
		got <- result{frame, err}
	})
	select {
	case r := <-got:
		if r.err != nil {
			return nil, r.err
		}
		if r.frame.GetProof() == nil {
			return nil, status.Error(codes.InvalidArgument, "the agent asked for a challenge and did not answer it")
		}
		return r.frame.GetProof(), nil
	case <-time.After(proofTime):
		return nil, status.Errorf(codes.DeadlineExceeded, "the agent did not answer the challenge within %s", proofTime)
	case <-stream.Context().Done():
		return nil, stream.Context().Err()
	}
}

// refusal turns what identify said into what the agent is told.
func refusal(err error) error {
	var r *identity.Refusal
	switch {
	case errors.As(err, &r) && r.Invalid:
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, identity.ErrUnauthenticated):
		return status.Error(codes.Unauthenticated, err.Error())
	case errors.Is(err, identity.ErrUnavailable):
		return status.Error(codes.Unavailable, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

// Enrol implements the service.
func (s *Service) Enrol(ctx context.Context, r *agentv1.EnrolRequest) (*agentv1.EnrolResponse, error) {
	shown, err := s.shown(ctx)
	if err != nil && len(r.GetCertificate()) == 0 {
		s.refused(refusedEnrolment, remote(ctx), err)
		return nil, err
	}
	enrolled, err := s.cfg.Agents.Enrol(ctx, identity.Enrolment{Token: shown.Token, Request: r.GetCsr(), Certificate: r.GetCertificate(), Kept: r.GetKept(), Agent: r.GetAgent()})
	if err != nil {
		s.refused(refusedEnrolment, remote(ctx), err)
		return nil, refusal(err)
	}
	s.cfg.Log.Info("agent enrolled", "agent", r.GetAgent(), "identity", enrolled.Identity.ID(), "remote", remote(ctx), "kept", r.GetKept(), "lifetime", enrolled.Lifetime.String())
	return &agentv1.EnrolResponse{
		Certificates: enrolled.Certificates, LifetimeMs: uint64(enrolled.Lifetime.Milliseconds()), //nolint:gosec // positive
		RenewAfterMs: uint64((enrolled.Lifetime * 2 / 3).Milliseconds()), NowMs: uint64(time.Now().UnixMilli()), //nolint:gosec // positive
	}, nil
}

// refused counts and logs what was not let in.
func (s *Service) refused(what, remote string, err error) {
	s.refusals.WithLabelValues(what).Inc()
	s.cfg.Log.Warn("agent refused", "what", what, "remote", remote, "reason", err.Error())
}

func pinOf(c *tls.Certificate) string {
	chain, err := proof.ParseChain(c.Certificate)
	if err != nil {
		return ""
	}
	return proof.Pin(chain[len(chain)-1])
}
