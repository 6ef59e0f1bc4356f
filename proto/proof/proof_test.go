package proof_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proto/proof"
)

func certificate(t *testing.T, key crypto.Signer, by *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"bridge"}}
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		by, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ec(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEachKindOfKeySignsWhatItsCertificateVerifiesAndNothingElse(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := certificate(t, ec(t), nil, nil)
	for name, key := range map[string]crypto.Signer{"EC": ec(t), "RSA": rsaKey, "Ed25519": edKey} {
		c := certificate(t, key, nil, nil)
		message := proof.Challenge([]byte("a"), []byte("b"), "s")
		signature, err := proof.Sign(key, message)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := proof.Verify(c, message, signature); err != nil {
			t.Error(name, err)
		}
		if err := proof.Verify(c, append(message, 0), signature); !errors.Is(err, proof.ErrSignature) {
			t.Error(name, "another message:", err)
		}
		if err := proof.Verify(other, message, signature); !errors.Is(err, proof.ErrSignature) {
			t.Error(name, "another key:", err)
		}
	}
	if _, err := proof.Sign("no key", nil); err == nil {
		t.Error("a text signed")
	}
}

func TestNoProofIsGoodForAnotherNonceSessionPinOrPurpose(t *testing.T) {
	a, b := proof.NewNonce(), proof.NewNonce()
	seen := map[string]string{}
	for name, message := range map[string][]byte{
		"answer": proof.Answer(a, b, "s", "p"), "other agent nonce": proof.Answer(b, b, "s", "p"), "other bridge nonce": proof.Answer(a, a, "s", "p"),
		"other session": proof.Answer(a, b, "t", "p"), "other pin": proof.Answer(a, b, "s", "q"), "a border that moves": proof.Answer(a, b, "sp", ""),
		"challenge": proof.Challenge(a, b, "s"), "the answer without a pin": proof.Answer(a, b, "s", ""),
	} {
		if other, there := seen[string(message)]; there {
			t.Errorf("%s is the same as %s", name, other)
		}
		seen[string(message)] = name
	}
}

func TestAPinnedChainStandsAClockThatIsAnHourOff(t *testing.T) {
	key := ec(t)
	ca := certificate(t, key, nil, nil)
	chain := []*x509.Certificate{certificate(t, ec(t), ca, key), ca}
	now := time.Now()
	for name, c := range map[string]struct {
		now  time.Time
		good bool
	}{"now": {now, true}, "an hour behind": {now.Add(-time.Hour), true}, "three hours behind": {now.Add(-3 * time.Hour), false}, "two hours ahead": {now.Add(2 * time.Hour), false}} {
		if err := proof.VerifyPinned(chain, proof.Pin(ca), "bridge", c.now); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := proof.VerifyPinned(chain, strings.ToUpper(proof.Pin(ca)), "", now); err != nil {
		t.Error("by the pin alone:", err)
	}
	if err := proof.VerifyPinned(chain, proof.Pin(chain[0]), "another", now); err == nil {
		t.Error("another name was taken")
	}
	if err := proof.VerifyPinned(chain[:1], proof.Pin(ca), "bridge", now); !errors.Is(err, proof.ErrPin) {
		t.Error(err)
	}
}

func TestChainsThatAreNoneAreRefused(t *testing.T) {
	for _, raw := range [][][]byte{nil, {[]byte("x")}, make([][]byte, 9)} {
		if _, err := proof.ParseChain(raw); err == nil {
			t.Errorf("%d certificates were taken", len(raw))
		}
	}
}

func FuzzParseChain(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(_ *testing.T, der []byte) { _, _ = proof.ParseChain([][]byte{der}) })
}
