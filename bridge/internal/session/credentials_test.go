package session_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/proto/certfile"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/proof"
)

// credentials are the ways in which an agent proves that it may serve mine-*.
var credentials = []struct {
	name  string
	shows func(t *testing.T, w *world)
}{
	{"enrolment token", func(t *testing.T, w *world) { w.token = w.narrow(t) }},
	{"certificate of a token", func(t *testing.T, w *world) {
		key, chain := w.enrolled(t, w.narrow(t))
		w.opens = func() *agent { return w.proves(t, key, chain) }
	}},
	{"given certificate", func(t *testing.T, w *world) {
		key := newKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, w.strange.ca, key.Public(), w.strange.key)
		if err != nil {
			t.Fatal(err)
		}
		w.opens = func() *agent { return w.proves(t, key, [][]byte{der}) }
	}},
	{"service-account token", func(t *testing.T, w *world) {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.strange.key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: issuer, Subject: serviceAccount, Audience: jwt.Audience{"fairlead"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		w.opens = func() *agent { return w.openWith(proof.TokenMetadata, text) }
	}},
}

const (
	issuer         = "https://kubernetes.example"
	serviceAccount = "system:serviceaccount:fairlead:agent"
)

// strange are identities that the bridges did not give: a CA, whose key also signs service-account tokens.
type strange struct {
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

// identities is what the world's agents are known by.
func (w *world) identities(log *slog.Logger) identity.AgentsConfig {
	w.t.Helper()
	key := newKey(w.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "strange CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.strange.key = key
	if w.strange.ca, err = x509.ParseCertificate(der); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		w.t.Fatal(err)
	}
	pool, err := certfile.OpenPool(file)
	if err != nil {
		w.t.Fatal(err)
	}
	rule := identity.CertificateRule{Accounts: []string{"mine-*"}, Subject: []string{"^CN=agent$"}}
	if err := rule.Compile(); err != nil {
		w.t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	issuers, err := identity.NewIssuers([]identity.TokenRule{{Issuer: issuer, Audience: "fairlead", Values: []string{serviceAccount}, Accounts: []string{"mine-*"}, JWKS: string(keys)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return identity.AgentsConfig{Tokens: w.tokens, Authority: func() *identity.Authority { return w.authority }, Given: &identity.Given{CAs: pool},
		Certificates: []identity.CertificateRule{rule}, ServiceAccounts: issuers, Log: log}
}

// narrow makes a token for mine-*.
func (w *world) narrow(t *testing.T) string {
	t.Helper()
	_, text, err := w.tokens.Create(t.Context(), []string{"mine-*"}, 0, "narrow")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRequest(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// enrolled exchanges a token for a certificate.
func (w *world) enrolled(t *testing.T, token string) (crypto.Signer, [][]byte) {
	t.Helper()
	key := newKey(t)
	answer, err := w.client().Enrol(metadata.AppendToOutgoingContext(t.Context(), proof.TokenMetadata, token), &agentv1.EnrolRequest{Csr: newRequest(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	return key, answer.GetCertificates()
}

// proves opens a session by proving a certificate inside the stream.
func (w *world) proves(t *testing.T, key crypto.Signer, chain [][]byte) *agent {
	t.Helper()
	nonce := proof.NewNonce()
	a, c := w.challenged(t, nonce)
	signature, err := proof.Sign(key, proof.Answer(nonce, c.GetNonce(), c.GetSession(), w.authority.Pin()))
	if err != nil {
		t.Fatal(err)
	}
	a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{Certificates: chain, Signature: signature}}})
	return a
}

// openWith opens a session with metadata.
func (w *world) openWith(name, value string) *agent {
	w.t.Helper()
	ctx, cut := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(cut)
	stream, err := w.client().Session(metadata.AppendToOutgoingContext(ctx, name, value))
	if err != nil {
		w.t.Fatal(err)
	}
	a := &agent{t: w.t, w: w, stream: stream, cut: cut, down: make(chan *linkv1.SessionDown, 10_000), passed: map[string]*linkv1.Attached{}, attaches: map[string]uint64{}}
	a.listen()
	return a
}
