package session_test

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/proof"
)

// TestAProofInsideTheStreamIsGoodOnceAndForThisBridgeAlone answers challenges rightly, and in each wrong way that somebody in between could try.
func TestAProofInsideTheStreamIsGoodOnceAndForThisBridgeAlone(t *testing.T) {
	w := newWorld(t, storetest.Start(t).Database(t), "b", cache.Options{})
	_, err := w.client().Enrol(t.Context(), &agentv1.EnrolRequest{Csr: []byte("x")})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("enrolment without a token: %v", err)
	}
	key, enrolled := w.enrolled(t, w.token)
	answer := func(c *linkv1.Challenge, nonce []byte, pin string) *linkv1.Proof {
		signature, err := proof.Sign(key, proof.Answer(nonce, c.GetNonce(), c.GetSession(), pin))
		if err != nil {
			t.Fatal(err)
		}
		return &linkv1.Proof{Certificates: enrolled, Signature: signature}
	}
	pin := w.authority.Pin()
	nonce := proof.NewNonce()
	a, c := w.challenged(t, nonce)
	chain, err := proof.ParseChain(c.GetCertificates())
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.Verify(chain[0], proof.Challenge(nonce, c.GetNonce(), c.GetSession()), c.GetSignature()); err != nil {
		t.Errorf("the bridge does not prove itself: %v", err)
	}
	good := answer(c, nonce, pin)
	a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: good}})
	a.say(hello("i", nil, "a"))
	a.get("welcome", func(f *linkv1.SessionDown) bool { return f.GetWelcome() != nil })

	stranger := newKey(t)
	for name, made := range map[string]func(c *linkv1.Challenge) *linkv1.SessionUp{
		"the proof of another session": func(*linkv1.Challenge) *linkv1.SessionUp {
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: good}}
		},
		"a proof for another CA": func(c *linkv1.Challenge) *linkv1.SessionUp {
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: answer(c, nonce, "sha256:"+strings.Repeat("0", 64))}}
		},
		"a proof by another key": func(c *linkv1.Challenge) *linkv1.SessionUp {
			signature, _ := proof.Sign(stranger, proof.Answer(nonce, c.GetNonce(), c.GetSession(), pin))
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{Certificates: enrolled, Signature: signature}}}
		},
		"the challenge, sent back": func(c *linkv1.Challenge) *linkv1.SessionUp {
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{Certificates: c.GetCertificates(), Signature: c.GetSignature()}}}
		},
		"no certificate": func(*linkv1.Challenge) *linkv1.SessionUp {
			return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{}}}
		},
		"a Hello in its place": func(*linkv1.Challenge) *linkv1.SessionUp { return hello("i", nil, "a") },
	} {
		a, c := w.challenged(t, nonce)
		a.say(made(c))
		if err := a.over(); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, asked := range map[string]string{"a short nonce": "00", "no hex": strings.Repeat("x", 64)} {
		a := w.asks(asked)
		a.listen()
		if err := a.over(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (w *world) client() agentv1.AgentServiceClient { return agentv1.NewAgentServiceClient(w.conn) }

// asks opens a session that asks for a challenge.
func (w *world) asks(nonce string) *agent {
	w.t.Helper()
	ctx, cut := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(cut)
	stream, err := w.client().Session(metadata.AppendToOutgoingContext(ctx, proof.NonceMetadata, nonce))
	if err != nil {
		w.t.Fatal(err)
	}
	return &agent{t: w.t, w: w, stream: stream, cut: cut, down: make(chan *linkv1.SessionDown, 1000), passed: map[string]*linkv1.Attached{}, attaches: map[string]uint64{}}
}

func (w *world) challenged(t *testing.T, nonce []byte) (*agent, *linkv1.Challenge) {
	t.Helper()
	a := w.asks(hex.EncodeToString(nonce))
	a.listen()
	return a, a.get("the challenge", func(f *linkv1.SessionDown) bool { return f.GetChallenge() != nil }).GetChallenge()
}

// certify gives a world its authority.
func (w *world) certify(s identity.Secrets) {
	w.t.Helper()
	key, err := worldKey()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.authority, err = identity.LoadAuthority(w.t.Context(), s, key); err != nil {
		w.t.Fatal(err)
	}
}

// worldKey is one for all worlds: bridges of one database have the same.
var worldKey = sync.OnceValues(func() (*identity.Key, error) {
	dir, err := os.MkdirTemp("", "fairlead-key-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "key")
	if err := identity.CreateKey(file); err != nil {
		return nil, err
	}
	return identity.ReadKey(file)
})

func (w *world) prover() (*tls.Certificate, error) { return w.authority.Certificate([]string{"b"})() }
