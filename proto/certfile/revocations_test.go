package certfile_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proto/certfile"
)

// ca is a CA that revokes.
type ca struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	number      int64
}

func newCA(t *testing.T, name string) *ca {
	t.Helper()
	a := &ca{t: t, key: ec(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))
	a.certificate = must[*x509.Certificate](t)(x509.ParseCertificate(der))
	return a
}

func (a *ca) revokes(serials ...int64) []byte {
	a.t.Helper()
	a.number++
	list := &x509.RevocationList{Number: big.NewInt(a.number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	return must[[]byte](a.t)(x509.CreateRevocationList(rand.Reader, list, a.certificate, a.key))
}

func (a *ca) leaf(serial int64) *x509.Certificate {
	return &x509.Certificate{RawIssuer: a.certificate.RawSubject, SerialNumber: big.NewInt(serial)}
}

// TestRevocationListsAreReadAnewAndOnlyThoseOfTheCAsCount uses the fake clock: files are looked at once a second.
func TestRevocationListsAreReadAnewAndOnlyThoseOfTheCAsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		one, two, stranger := newCA(t, "one"), newCA(t, "two"), newCA(t, "one") // the stranger calls itself one
		cas, lists := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "crl.pem")
		save := func(file string, parts ...[]byte) {
			t.Helper()
			if err := os.WriteFile(file, append([]byte(nil), join(parts)...), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		save(cas, block("CERTIFICATE", one.certificate.Raw), block("CERTIFICATE", two.certificate.Raw))
		pool := must[*certfile.Pool](t)(certfile.OpenPool(cas))
		for want, content := range map[string][]byte{
			"no certificate revocation list":         []byte("x"),
			"is not a revocation list":               block("CERTIFICATE", one.certificate.Raw),
			"is not signed by a CA of " + cas:        block("X509 CRL", stranger.revokes(7)),
			"neither in PEM (-----BEGIN X509 CRL---": nil,
		} {
			save(lists, content)
			if _, err := certfile.OpenRevocations(lists, pool); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		save(lists, block("X509 CRL", one.revokes(7)), block("X509 CRL", two.revokes()))
		r := must[*certfile.Revocations](t)(certfile.OpenRevocations(lists, pool))
		shows := func(sevenOfOne, eightOfOne, sevenOfTwo, problem bool) {
			t.Helper()
			for _, c := range []struct {
				of   *x509.Certificate
				want bool
			}{{one.leaf(7), sevenOfOne}, {one.leaf(8), eightOfOne}, {two.leaf(7), sevenOfTwo}} {
				if _, revoked := r.Since(c.of); revoked != c.want {
					t.Errorf("%s of %s revoked: %v", c.of.SerialNumber, c.of.RawIssuer, revoked)
				}
			}
			if err := r.Problem(); (err != nil) != problem {
				t.Errorf("problem: %v", err)
			}
		}
		shows(true, false, false, false)
		version := r.Version()
		if r.Version() != version {
			t.Error("another version of the same content")
		}
		save(lists, one.revokes(7, 8)) // in DER
		shows(true, true, false, false)
		if r.Version() == version {
			t.Error("the same version of other content")
		}
		save(lists, block("X509 CRL", stranger.revokes())) // would free all
		shows(true, true, false, true)
		if next := r.NextUpdate(); time.Until(next) > time.Hour || next.Before(time.Now()) {
			t.Errorf("next update %s", next)
		}
	})
}

func join(parts [][]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func FuzzRevocations(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----"))
	dir := f.TempDir()
	cas := filepath.Join(dir, "ca")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(cas, block("CERTIFICATE", der), 0o600); err != nil {
		f.Fatal(err)
	}
	pool, err := certfile.OpenPool(cas)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "crl")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := certfile.OpenRevocations(file, pool); err == nil {
			t.Error("a list that no CA signed was taken")
		}
	})
}
