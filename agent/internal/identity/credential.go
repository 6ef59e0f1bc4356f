package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/certfile"
)

// Credential is an enrolled certificate with its key, or the wish for one.
type Credential struct {
	keep Keep
	name string

	mu     sync.Mutex
	key    crypto.Signer
	chain  [][]byte
	renew  time.Time
	until  time.Time
	loaded bool
}

// NewCredential returns an empty credential. keep may be nil: it lives in memory. name is the agent's, for people who see its request.
func NewCredential(keep Keep, name string) *Credential { return &Credential{keep: keep, name: name} }

// Kept tells whether it outlives the process.
func (c *Credential) Kept() bool { return c.keep != nil }

// Certificate returns what can be shown now, nil if there is nothing, and whether it is time for the next one.
func (c *Credential) Certificate(now time.Time) (certificate *tls.Certificate, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) == 0 || !now.Before(c.until) {
		return nil, true
	}
	return &tls.Certificate{Certificate: c.chain, PrivateKey: c.key}, !now.Before(c.renew)
}

// Due is when the next certificate should be asked for; zero: at once.
func (c *Credential) Due() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) == 0 {
		return time.Time{}
	}
	return c.renew
}

// Request makes the request for the next certificate; former is the one before, which may have expired, or nil. The key is made, or
// found where it is kept, and kept before anybody hears of it: what is enrolled must never be lost between the two.
func (c *Credential) Request(ctx context.Context) (request, former []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(ctx); err != nil {
		return nil, nil, err
	}
	if len(c.chain) > 0 {
		former = c.chain[0]
	}
	request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.name}}, c.key)
	return request, former, err
}

// load finds or makes the key. The lock is held.
func (c *Credential) load(ctx context.Context) error {
	if c.loaded {
		return nil
	}
	if c.keep == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		c.key, c.loaded = key, true
		return nil
	}
	text, err := c.keep.Load(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", c.keep, err)
	}
	if len(text) == 0 {
		if text, err = newKey(); err != nil {
			return err
		}
		// Replicas that share the place agree on the key of the first.
		if text, err = c.keep.Offer(ctx, text); err != nil {
			return fmt.Errorf("%s: %w", c.keep, err)
		}
	}
	if c.key, err = certfile.ParseKey(text, nil); err != nil {
		return fmt.Errorf("%s: %w; remove what is there, and make another token if this one has no place left", c.keep, err)
	}
	c.loaded = true
	if kept, err := certfile.Parse(text, text, nil); err == nil {
		// Its times are by the bridge's clock; a clock that is wrong here only makes the next one come early.
		life := kept.Leaf.NotAfter.Sub(kept.Leaf.NotBefore)
		c.chain, c.until, c.renew = kept.Certificate, kept.Leaf.NotAfter, kept.Leaf.NotAfter.Add(-life/3)
	}
	return nil
}

// Load reads what is kept, so that it can be shown before anything is asked for.
func (c *Credential) Load(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep == nil {
		return nil
	}
	return c.load(ctx)
}

// Drop forgets the certificate, not the key: bridges did not take it.
func (c *Credential) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chain = nil
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodeKey(key)
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Accept takes a certificate that the bridge made for the request. Times are spans, so that this machine's clock may be wrong.
func (c *Credential) Accept(ctx context.Context, now time.Time, chain [][]byte, life, renew time.Duration) error {
	if len(chain) == 0 || life <= 0 {
		return errors.New("the bridge gave no certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("the bridge's certificate for this agent: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	public, comparable := c.key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !comparable || !public.Equal(leaf.PublicKey) {
		return errors.New("the bridge's certificate for this agent is for another key")
	}
	c.chain, c.until, c.renew = chain, now.Add(life), now.Add(min(renew, life))
	if c.keep == nil {
		return nil
	}
	text, err := encodeKey(c.key)
	if err != nil {
		return err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := c.keep.Save(ctx, text); err != nil {
		return fmt.Errorf("%s: %w", c.keep, err)
	}
	return nil
}
