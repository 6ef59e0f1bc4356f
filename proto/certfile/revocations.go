package certfile

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Revocations is a file of certificate revocation lists (PEM, one or several, or one in DER), each signed by a CA of a pool.
type Revocations struct {
	name  string
	pool  *Pool
	watch watched
	value *revocations
}

type revocations struct {
	since map[serial]time.Time
	next  time.Time
}

// serial is a certificate as revocation lists name it.
type serial struct{ issuer, number string }

// OpenRevocations reads the file for the first time.
func OpenRevocations(name string, pool *Pool) (*Revocations, error) {
	r := &Revocations{name: name, pool: pool, watch: watched{names: []string{name}}}
	if err := r.watch.look(time.Now(), r.read); err != nil {
		return nil, err
	}
	return r, nil
}

// current is the content as the file has it now, or as it had it last.
func (r *Revocations) current() *revocations {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	_ = r.watch.looked(time.Now(), r.read) // Problem tells
	return r.value
}

// Since tells whether, and since when, a certificate is revoked.
func (r *Revocations) Since(c *x509.Certificate) (since time.Time, revoked bool) {
	since, revoked = r.current().since[serial{string(c.RawIssuer), string(c.SerialNumber.Bytes())}]
	return since, revoked
}

// Version is another value, comparable by ==, whenever other content is in use.
func (r *Revocations) Version() any { return r.current() }

// NextUpdate is by when the first of the lists has to be replaced; zero: none says so.
func (r *Revocations) NextUpdate() time.Time { return r.current().next }

// Problem says why the file's present content is not in use; nil if it is.
func (r *Revocations) Problem() error {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	return r.watch.looked(time.Now(), r.read)
}

func (r *Revocations) read() error {
	content, err := os.ReadFile(r.name)
	if err != nil {
		return err
	}
	lists, err := parseLists(content)
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	value := &revocations{since: map[serial]time.Time{}}
	for _, list := range lists {
		if !r.pool.signed(list) {
			return fmt.Errorf("%s: the list of %s is not signed by a CA of %s", r.name, list.Issuer, r.pool.name)
		}
		for _, e := range list.RevokedCertificateEntries {
			value.since[serial{string(list.RawIssuer), string(e.SerialNumber.Bytes())}] = e.RevocationTime
		}
		if next := list.NextUpdate; !next.IsZero() && (value.next.IsZero() || next.Before(value.next)) {
			value.next = next
		}
	}
	r.value = value
	return nil
}

func parseLists(content []byte) (lists []*x509.RevocationList, err error) {
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a %q in PEM is not a revocation list (-----BEGIN X509 CRL-----)", block.Type)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) > 0 {
		return lists, nil
	}
	list, err := x509.ParseRevocationList(content)
	if err != nil {
		return nil, errors.New("no certificate revocation list is in it, neither in PEM (-----BEGIN X509 CRL-----) nor in DER")
	}
	return []*x509.RevocationList{list}, nil
}

// signed tells whether a CA of the file, as it is now, signed the list.
func (p *Pool) signed(list *x509.RevocationList) bool {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	_ = p.watch.looked(time.Now(), p.read) // Problem tells
	for _, ca := range p.list {
		if string(ca.RawSubject) == string(list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}
