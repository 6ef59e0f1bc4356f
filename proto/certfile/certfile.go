// Package certfile reads certificates and their keys from PEM files as they are found in the wild, and again when the files
// change.
//
// Keys may be PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), in clear or encrypted (PKCS #8, or the older headers in the PEM). Files are looked at
// each time that they are needed, at most once a second: where Kubernetes swaps a symbolic link under them, or cert-manager renews
// them, the new ones are in use at the next handshake. New content that makes no sense leaves the old in use and is told by Problem.
package certfile

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/youmark/pkcs8"
)

// Parse makes a certificate with its key of the content of PEM files. The certificates begin with the key's own.
func Parse(certificates, key, password []byte) (*tls.Certificate, error) {
	out := &tls.Certificate{}
	for rest := certificates; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			out.Certificate = append(out.Certificate, block.Bytes)
		}
	}
	if len(out.Certificate) == 0 {
		return nil, errors.New("no certificate in PEM (-----BEGIN CERTIFICATE-----) is in it")
	}
	var err error
	if out.Leaf, err = x509.ParseCertificate(out.Certificate[0]); err != nil {
		return nil, fmt.Errorf("the first certificate: %w", err)
	}
	private, err := ParseKey(key, password)
	if err != nil {
		return nil, err
	}
	public, comparable := private.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !comparable || !public.Equal(out.Leaf.PublicKey) {
		return nil, errors.New("the key is not that of the first certificate")
	}
	out.PrivateKey = private
	return out, nil
}

// ParseKey reads a private key in PEM.
func ParseKey(text, password []byte) (crypto.Signer, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no private key in PEM (-----BEGIN PRIVATE KEY-----) is in it")
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue // EC keys often come with their parameters, and keys with their certificates
		}
		key, err := parseBlock(block, password)
		if err != nil {
			return nil, err
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		}
		return signer, nil
	}
}

var (
	errNoPassword    = errors.New("the key is encrypted and no password is given")
	errWrongPassword = errors.New("the key cannot be decrypted: the password is wrong, or the file is damaged")
)

func parseBlock(block *pem.Block, password []byte) (any, error) {
	der := block.Bytes
	if x509.IsEncryptedPEMBlock(block) { //nolint:staticcheck // weak, but such files exist, and a password beside its key protects no better in another form
		if len(password) == 0 {
			return nil, errNoPassword
		}
		var err error
		if der, err = x509.DecryptPEMBlock(block, password); err != nil { //nolint:staticcheck // see above
			return nil, errWrongPassword
		}
	}
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		if len(password) == 0 {
			return nil, errNoPassword
		}
		key, err := pkcs8.ParsePKCS8PrivateKey(der, password)
		if err != nil {
			return nil, errWrongPassword // the library's error may say more than a log should
		}
		return key, nil
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(der)
		return key, damaged(err)
	case "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(der)
		return key, damaged(err)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(der)
		return key, damaged(err)
	}
	return nil, fmt.Errorf("a %q in PEM is not a private key that can be read; convert it with \"openssl pkcs8 -topk8\"", block.Type)
}

// damaged words an error without what the file holds.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("the private key is damaged, or of another kind than its PEM says")
}

// Files name a certificate with its key.
type Files struct {
	// Certificate holds the certificate and what is between it and its CA; CA, if given, the CA's certificates, which are shown too.
	Certificate, CA string
	Key             string
	// Password returns the key's password; nil: it has none.
	Password func() ([]byte, error)
}

// Pair is a certificate with its key in files.
type Pair struct {
	files Files
	watch watched
	value *tls.Certificate
}

// Open reads the files for the first time.
func Open(files Files) (*Pair, error) {
	p := &Pair{files: files, watch: watched{names: []string{files.Certificate, files.Key, files.CA}}}
	if err := p.watch.look(time.Now(), p.read); err != nil {
		return nil, err
	}
	return p, nil
}

// Get returns the certificate as the files have it now, or as they had it last.
func (p *Pair) Get() *tls.Certificate {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	_ = p.watch.looked(time.Now(), p.read) // Problem tells
	return p.value
}

// Problem says why the files' present content is not in use; nil if it is.
func (p *Pair) Problem() error {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	return p.watch.looked(time.Now(), p.read)
}

func (p *Pair) read() error {
	var password []byte
	if p.files.Password != nil {
		var err error
		if password, err = p.files.Password(); err != nil {
			return err
		}
	}
	certificates, err := os.ReadFile(p.files.Certificate)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(p.files.Key)
	if err != nil {
		return err
	}
	value, err := Parse(certificates, key, password)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", p.files.Certificate, p.files.Key, err)
	}
	if p.files.CA != "" {
		list, err := readAll(p.files.CA)
		if err != nil {
			return err
		}
		for _, c := range list {
			value.Certificate = append(value.Certificate, c.Raw)
		}
	}
	p.value = value
	return nil
}

// Pool is a file of CA certificates.
type Pool struct {
	name  string
	watch watched
	list  []*x509.Certificate
	value *x509.CertPool
}

// OpenPool reads the file for the first time.
func OpenPool(name string) (*Pool, error) {
	p := &Pool{name: name, watch: watched{names: []string{name}}}
	if err := p.watch.look(time.Now(), p.read); err != nil {
		return nil, err
	}
	return p, nil
}

// Get returns the CAs as the file has them now, or as it had them last.
func (p *Pool) Get() *x509.CertPool {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	_ = p.watch.looked(time.Now(), p.read) // Problem tells
	return p.value
}

// Problem says why the file's present content is not in use; nil if it is.
func (p *Pool) Problem() error {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	return p.watch.looked(time.Now(), p.read)
}

func (p *Pool) read() error {
	list, err := readAll(p.name)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	p.list, p.value = list, pool
	return nil
}

func readAll(name string) ([]*x509.Certificate, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no certificate in PEM (-----BEGIN CERTIFICATE-----) is in it", name)
	}
	return list, nil
}

// lookEvery is how often files are looked at, at most.
const lookEvery = time.Second

// watched notices that files have changed.
type watched struct {
	names []string

	mu   sync.Mutex
	seen []os.FileInfo
	at   time.Time
	err  error
}

// look reads the files in any case.
func (w *watched) look(now time.Time, read func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looked(now, read)
}

// looked reads the files if they have changed since they were read well. The lock is held.
func (w *watched) looked(now time.Time, read func() error) error {
	if !w.at.IsZero() && now.Sub(w.at) < lookEvery && now.After(w.at) {
		return w.err
	}
	w.at = now
	// Looked at before they are read: what is swapped in between is noticed the next time.
	infos, err := stat(w.names)
	if err == nil && w.err == nil && same(infos, w.seen) {
		return nil
	}
	if err == nil {
		err = read()
	}
	if w.err = err; err == nil {
		w.seen = infos
	}
	return err
}

func stat(names []string) ([]os.FileInfo, error) {
	infos := make([]os.FileInfo, 0, len(names))
	for _, name := range names {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func same(a, b []os.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}
