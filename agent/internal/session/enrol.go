package session

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/proof"
)

const (
	// proofTime bounds the challenge and its answer.
	proofTime = 20 * time.Second
	// enrolTime bounds an enrolment.
	enrolTime = 20 * time.Second
	// renewPause is how long to wait after a renewal that failed; certificates are renewed hours before they expire.
	renewPause = time.Minute
	// skewNoticed is a difference of clocks that is worth a line in the log; what certificates stand is more.
	skewNoticed = 5 * time.Minute
)

// shown is what a connection shows of the agent.
type shown struct {
	// certificate is shown in TLS, or proven inside the stream; nil: none.
	certificate *tls.Certificate
	// token of a service account, or of an agent where certificates cannot be used; bare is one for a bridge of a version that knows it as
	// "authorization" only.
	token, bare string
	// nonce asks for a challenge; nil: TLS proves the certificate.
	nonce []byte
}

// proves tells whether certificates are proven inside the stream. Without TLS and a pin nothing tells the agent to whom it speaks: it shows
// its token then, as somebody chose explicitly.
func (s *Session) proves() bool {
	return s.cfg.Trust.Proxied || s.cfg.Plaintext && s.cfg.Trust.Pin != ""
}

func (s *Session) token() (string, error) {
	token, err := s.cfg.Token()
	if err != nil {
		return "", fmt.Errorf("enrolment token: %w", err)
	}
	return token, nil
}

// show gets what the next connection shows; it enrols if that is due.
func (s *Session) show(ctx context.Context, address string) (shown, error) {
	var v shown
	var err error
	switch {
	case s.cfg.ServiceAccountToken != nil:
		v.token, err = s.cfg.ServiceAccountToken()
		return v, err
	case s.cfg.Given != nil:
		v.certificate = s.cfg.Given.Get()
	case s.cfg.Plaintext && s.cfg.Trust.Pin == "":
		v.token, err = s.token()
	default:
		v.certificate, v.token, err = s.enrolled(ctx, address)
	}
	if v.token != "" && s.cfg.Bearer == nil {
		v.token, v.bare = "", v.token
	}
	if err != nil {
		return v, err
	}
	if v.certificate != nil && s.proves() {
		v.nonce = proof.NewNonce()
	}
	return v, nil
}

// metadata adds what is shown to a call.
func (v shown) metadata(ctx context.Context) context.Context {
	if v.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, proof.TokenMetadata, v.token)
	}
	if v.bare != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+v.bare)
	}
	if v.nonce != nil {
		ctx = metadata.AppendToOutgoingContext(ctx, proof.NonceMetadata, hex.EncodeToString(v.nonce))
	}
	return ctx
}

// enrolled returns the certificate of the agent's token. One that is good still is used when the next cannot be had. A bridge that does
// not enrol, of a version before, is shown the token.
func (s *Session) enrolled(ctx context.Context, address string) (*tls.Certificate, string, error) {
	if err := s.cfg.Credential.Load(ctx); err != nil {
		return nil, "", err
	}
	have, due := s.cfg.Credential.Certificate(time.Now())
	if !due {
		return have, "", nil
	}
	err := s.enrol(ctx, address)
	if status.Code(err) == codes.Unimplemented {
		token, err := s.token()
		return nil, token, err
	}
	if have == nil {
		if have, _ = s.cfg.Credential.Certificate(time.Now()); have == nil && err == nil {
			err = errors.New("the bridge's certificate for this agent has expired already")
		}
	} else if err != nil {
		s.cfg.Log.Warn("certificate cannot be renewed now, the present one is still good", "reason", explain(err))
		err = nil
	}
	if err != nil {
		return nil, "", errors.New(explain(err))
	}
	if next, _ := s.cfg.Credential.Certificate(time.Now()); next != nil {
		have = next
	}
	return have, "", nil
}

// enrol asks for the agent's certificate, or for the next one.
func (s *Session) enrol(ctx context.Context, address string) error {
	request, former, err := s.cfg.Credential.Request(ctx)
	if err != nil {
		return err
	}
	token, err := s.token()
	if err != nil {
		return err
	}
	conn, err := s.dialer.dial(address, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	began := time.Now()
	answer, err := agentv1.NewAgentServiceClient(conn).Enrol(shown{token: token}.metadata(ctx),
		&agentv1.EnrolRequest{Csr: request, Certificate: former, Kept: s.cfg.Credential.Kept(), Agent: s.cfg.Agent.GetName()})
	if err != nil {
		s.reject(err)
		return err
	}
	s.compareClocks(began, answer.GetNowMs())
	life, renew := time.Duration(answer.GetLifetimeMs())*time.Millisecond, time.Duration(answer.GetRenewAfterMs())*time.Millisecond //nolint:gosec // hours
	if err := s.cfg.Credential.Accept(ctx, time.Now(), answer.GetCertificates(), life, renew); err != nil {
		return err
	}
	s.cfg.Log.Info("enrolled", "lifetime", life.String(), "kept", s.cfg.Credential.Kept())
	return nil
}

// compareClocks says when this machine's clock and the bridge's differ by much: certificates and tokens go by it.
func (s *Session) compareClocks(began time.Time, bridge uint64) {
	now := time.Now()
	here := began.Add(now.Sub(began) / 2)
	if skew := time.UnixMilli(int64(bridge)).Sub(here).Round(time.Second); bridge != 0 && skew.Abs() > skewNoticed { //nolint:gosec // a time
		s.cfg.Log.Warn("clocks differ: certificates will not be believed beyond some hours; set the clocks by NTP", "here", here.UTC().Format(time.RFC3339), "bridge_ahead", skew.String())
	}
}

// reject forgets what was shown and not taken, so that the next try shows something newer: bridges may have another CA than the one that
// made the certificate.
func (s *Session) reject(err error) {
	if code := status.Code(err); code != codes.Unauthenticated && code != codes.PermissionDenied {
		return
	}
	s.cfg.Credential.Drop()
	if s.cfg.Bearer != nil {
		s.cfg.Bearer.Forget()
	}
}

// prove answers the bridge's challenge on a session's stream, and makes sure that it is a bridge that asks.
func (s *Session) prove(stream agentv1.AgentService_SessionClient, v shown) error {
	frame, err := stream.Recv()
	if err != nil {
		return err
	}
	c := frame.GetChallenge()
	if c == nil {
		return errors.New("the bridge did not send the challenge that the agent asked for")
	}
	chain, err := proof.ParseChain(c.GetCertificates())
	if err != nil {
		return fmt.Errorf("the bridge's challenge: %w", err)
	}
	// By name it could be any of several bridges: the pin decides.
	now := s.cfg.Trust.now()
	if err := proof.VerifyPinned(chain, s.cfg.Trust.Pin, "", now); err != nil {
		return namesSkew(err, chain[0], now)
	}
	if err := proof.Verify(chain[0], proof.Challenge(v.nonce, c.GetNonce(), c.GetSession()), c.GetSignature()); err != nil {
		return fmt.Errorf("the bridge's challenge: %w", err)
	}
	signature, err := proof.Sign(v.certificate.PrivateKey, proof.Answer(v.nonce, c.GetNonce(), c.GetSession(), strings.ToLower(s.cfg.Trust.Pin)))
	if err != nil {
		return err
	}
	return stream.Send(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{Certificates: v.certificate.Certificate, Signature: signature}}})
}

// keepRenewed asks for the next certificate in time, as long as the connection lives.
func (c *connection) keepRenewed(address string) {
	s := c.session
	for {
		wait := time.Until(s.cfg.Credential.Due())
		if wait <= 0 {
			if err := s.enrol(c.ctx, address); err != nil && c.ctx.Err() == nil {
				s.cfg.Log.Warn("certificate cannot be renewed now, trying on", "reason", explain(err))
			}
			wait = renewPause
		}
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// bearer shows a token to what stands between agent and bridge, with each call.
type bearer struct {
	source    Bearer
	plaintext bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.source.Token(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (b bearer) RequireTransportSecurity() bool { return !b.plaintext }
