// Package proof is how an agent and a bridge prove their certificates to each other inside a stream, for where something between
// them ends TLS and each sees the other's certificate no more.
//
// The agent begins with a nonce. The bridge answers with one of its own, the session's name and its certificate chain, and signs all
// of it: an agent that pins the bridges' CA knows then that a bridge speaks, whoever ends TLS. The agent signs both nonces, the session and
// the pin. So a proof is good once, for one session, at bridges of that CA: a bridge of another install that is shown one cannot
// use it elsewhere.
//
// What ends TLS sees the stream and has to be trusted with it; it never holds anything to open another one with.
//
// The package is pure but for randomness.
package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// NonceBytes is the length of both nonces.
const NonceBytes = 32

// Metadata of the calls of fairlead.agent.v1 by which an agent shows who it is.
const (
	// TokenMetadata carries an enrolment token or a Kubernetes service-account token.
	TokenMetadata = "fairlead-token"
	// NonceMetadata asks for a challenge; its value is the agent's nonce in hex.
	NonceMetadata = "fairlead-nonce"
)

// NewNonce returns random bytes.
func NewNonce() []byte {
	nonce := make([]byte, NonceBytes)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return nonce
}

// Pin is what a CA is known by: "sha256:" and the hex SHA-256 of its SubjectPublicKeyInfo.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Each message begins with words of its own, so that a signature for one purpose is never one for another.
const (
	challengeWords = "fairlead bridge challenge v1"
	answerWords    = "fairlead agent proof v1"
)

// Challenge is what a bridge signs.
func Challenge(agentNonce, bridgeNonce []byte, session string) []byte {
	return message(challengeWords, agentNonce, bridgeNonce, []byte(session))
}

// Answer is what an agent signs. The pin is the one that it knows the bridges' CA by.
func Answer(agentNonce, bridgeNonce []byte, session, pin string) []byte {
	return message(answerWords, agentNonce, bridgeNonce, []byte(session), []byte(pin))
}

// message joins fields with their lengths before them, so that no two lists of fields give the same bytes.
func message(words string, fields ...[]byte) []byte {
	out := []byte(words)
	for _, f := range fields {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f))) //nolint:gosec // nonces and names
		out = append(out, f...)
	}
	return out
}

// Sign signs a message with a certificate's key.
func Sign(key crypto.PrivateKey, message []byte) ([]byte, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	sum := sha256.Sum256(message)
	switch signer.Public().(type) {
	case ed25519.PublicKey:
		return signer.Sign(rand.Reader, message, crypto.Hash(0))
	case *rsa.PublicKey:
		return signer.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case *ecdsa.PublicKey:
		return signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", key)
}

// ErrSignature says that a signature is not that of the message by the key.
var ErrSignature = errors.New("the signature does not fit")

// Verify checks a signature that Sign made.
func Verify(c *x509.Certificate, message, signature []byte) error {
	sum := sha256.Sum256(message)
	var good bool
	switch key := c.PublicKey.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(key, message, signature)
	case *rsa.PublicKey:
		good = rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}) == nil
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(key, sum[:], signature)
	default:
		return fmt.Errorf("a key of type %T cannot verify", c.PublicKey)
	}
	if !good {
		return ErrSignature
	}
	return nil
}

// maximumChain bounds what a peer may show.
const maximumChain = 8

// ParseChain reads certificates as frames carry them, at least one.
func ParseChain(raw [][]byte) ([]*x509.Certificate, error) {
	if len(raw) == 0 || len(raw) > maximumChain {
		return nil, fmt.Errorf("%d certificates, 1 to %d are wanted", len(raw), maximumChain)
	}
	chain := make([]*x509.Certificate, 0, len(raw))
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// ErrPin says that a bridge shows another CA than the pinned one.
var ErrPin = errors.New("the bridge's CA is not the pinned one")

// VerifyPinned accepts a bridge's chain whose last link is the pinned key. name is what the first certificate must be for; "": the
// pin alone decides, for where a proxy's name is dialled and not the bridge's.
func VerifyPinned(chain []*x509.Certificate, pin, name string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the bridge showed no certificate")
	}
	roots, between, pinned := x509.NewCertPool(), x509.NewCertPool(), false
	for _, c := range chain {
		if Pin(c) == strings.ToLower(pin) {
			roots.AddCert(c)
			pinned = true
		} else {
			between.AddCert(c)
		}
	}
	if !pinned {
		top := chain[len(chain)-1]
		if len(chain) == 1 && !top.IsCA {
			return fmt.Errorf("%w: it shows its own certificate alone, without the CA's; let the bridge, or what ends TLS before it, send the whole chain (agents.tls.caFile at the bridge)", ErrPin)
		}
		return fmt.Errorf("%w: it shows %s, clouddriver.tls.pin says %s; compare with `fairlead status` on the bridge", ErrPin, Pin(top), pin)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now})
	return err
}
