package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/youmark/pkcs8"

	"github.com/fairlead/fairlead/proto/proof"
	"github.com/fairlead/fairlead/testenv"
)

// authority is a CA that is not the bridges'.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	a := &authority{t: t, key: key}
	a.certificate, err = x509.ParseCertificate(der)
	must(t, err)
	return a
}

func (a *authority) pin() string { return proof.Pin(a.certificate) }

func (a *authority) pem() []byte { return encode("CERTIFICATE", a.certificate.Raw) }

// revokes makes a revocation list of certificates in PEM.
func (a *authority) revokes(certificates ...[]byte) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, text := range certificates {
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		must(a.t, err)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.certificate, a.key)
	must(a.t, err)
	return encode("X509 CRL", der)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// leaf is a certificate for a key.
type leaf struct {
	name   pkix.Name
	uri    string
	server bool
	from   time.Time
}

func (a *authority) sign(key crypto.Signer, l leaf) []byte {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: l.name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if !l.from.IsZero() {
		template.NotBefore, template.NotAfter = l.from, l.from.Add(time.Hour)
	}
	if l.uri != "" {
		u, err := url.Parse(l.uri)
		must(a.t, err)
		template.URIs = []*url.URL{u}
	}
	if l.server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	must(a.t, err)
	return encode("CERTIFICATE", der)
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// forms are the ways in which keys are written.
func forms(t *testing.T) map[string]struct {
	key  crypto.Signer
	text []byte
} {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ec := ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	must(t, err)
	p8, err := x509.MarshalPKCS8PrivateKey(ec)
	must(t, err)
	encrypted, err := pkcs8.MarshalPrivateKey(rsaKey, []byte(keyPassword), nil)
	must(t, err)
	return map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"PKCS #1": {rsaKey, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))}, "EC": {ec, encode("EC PRIVATE KEY", sec1)},
		"PKCS #8": {ec, encode("PRIVATE KEY", p8)}, "encrypted PKCS #8": {rsaKey, encode("ENCRYPTED PRIVATE KEY", encrypted)},
	}
}

const keyPassword = "planted-key-password"

// keyText is a key in PKCS #8.
func keyText(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return encode("PRIVATE KEY", der)
}

// uid names a subject as the replaced product's documentation does.
func uid(id string) pkix.Name {
	return pkix.Name{CommonName: "agent", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: id}}}
}

// keyAlone is a file with the key of another alone.
func keyAlone(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			t.Fatalf("no key in %s", content)
		}
		if block.Type == "PRIVATE KEY" {
			return write(t, t.TempDir(), "certificate.pem", pem.EncodeToMemory(block))
		}
	}
}

// run runs a program to its end.
func (p *place) run(program string, arguments ...string) (string, error) {
	out, err := exec.CommandContext(p.t.Context(), program, arguments...).CombinedOutput()
	return string(out), err
}

func (p *place) eventually(f func() error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	must(p.t, testenv.Wait(ctx, func(context.Context) error { return f() }))
}
