package certfile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/youmark/pkcs8"

	"github.com/fairlead/fairlead/proto/certfile"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func selfSigned(t *testing.T, key crypto.Signer, name string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	return block("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))
}

func ec(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func encoded(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	return block("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

func TestKeysAreReadInEachFormThatPeopleHave(t *testing.T) {
	r := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	e := ec(t)
	password := []byte("hunter2")
	sec1 := must[[]byte](t)(x509.MarshalECPrivateKey(e))
	//nolint:staticcheck // the form is old; files in it are not
	legacy := must[*pem.Block](t)(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r), password, x509.PEMCipherAES256))
	for name, c := range map[string]struct {
		key      crypto.Signer
		text     []byte
		password []byte
	}{
		"PKCS #8":              {e, encoded(t, e), nil},
		"PKCS #1":              {r, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), nil},
		"EC":                   {e, block("EC PRIVATE KEY", sec1), nil},
		"EC with parameters":   {e, append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), block("EC PRIVATE KEY", sec1)...), nil},
		"encrypted PKCS #8":    {r, block("ENCRYPTED PRIVATE KEY", must[[]byte](t)(pkcs8.MarshalPrivateKey(r, password, nil))), password},
		"encrypted PKCS #8 EC": {e, block("ENCRYPTED PRIVATE KEY", must[[]byte](t)(pkcs8.MarshalPrivateKey(e, password, nil))), password},
		"encrypted PKCS #1":    {r, pem.EncodeToMemory(legacy), password},
	} {
		if _, err := certfile.Parse(selfSigned(t, c.key, name), c.text, c.password); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.password == nil {
			continue
		}
		for wrong, want := range map[string]string{"": "no password is given", "hunter3": "cannot be decrypted"} {
			if _, err := certfile.ParseKey(c.text, []byte(wrong)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s with password %q: %v", name, wrong, err)
			}
		}
	}
}

func TestFilesThatMakeNoSenseAreRefusedInWords(t *testing.T) {
	e, other := ec(t), ec(t)
	for name, c := range map[string]struct{ certificates, key []byte }{
		"no certificate in PEM":        {[]byte("x"), encoded(t, e)},
		"no private key in PEM":        {selfSigned(t, e, "x"), []byte("x")},
		"not that of the first":        {selfSigned(t, e, "x"), encoded(t, other)},
		"the first certificate":        {block("CERTIFICATE", []byte("x")), encoded(t, e)},
		"the private key is damaged":   {selfSigned(t, e, "x"), block("PRIVATE KEY", []byte("x"))},
		"convert it with":              {selfSigned(t, e, "x"), block("OPENSSH PRIVATE KEY", []byte("x"))},
		"or of another kind than its ": {selfSigned(t, e, "x"), block("RSA PRIVATE KEY", []byte("x"))},
	} {
		if _, err := certfile.Parse(c.certificates, c.key, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestWhatIsSwappedInIsUsedAndWhatMakesNoSenseIsNot uses the fake clock: files are looked at once a second.
func TestWhatIsSwappedInIsUsedAndWhatMakesNoSenseIsNot(t *testing.T) {
	dir := t.TempDir()
	first, second := ec(t), ec(t)
	mount := func(version string, certificate, key []byte) {
		t.Helper()
		for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
			if err := os.MkdirAll(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, version, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.Remove(filepath.Join(dir, "..next"))
		if err := os.Symlink(version, filepath.Join(dir, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", selfSigned(t, first, "first"), encoded(t, first))
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	certificates := map[string][]byte{"second": selfSigned(t, second, "second"), "third": selfSigned(t, first, "third")}
	synctest.Test(t, func(t *testing.T) {
		pair := must[*certfile.Pair](t)(certfile.Open(certfile.Files{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}))
		shows := func(want string, problem bool) {
			t.Helper()
			time.Sleep(2 * time.Second)
			if got := pair.Get().Leaf.Subject.CommonName; got != want {
				t.Errorf("shows %s, want %s", got, want)
			}
			if err := pair.Problem(); (err != nil) != problem {
				t.Errorf("problem: %v", err)
			}
		}
		shows("first", false)
		mount("..2", certificates["second"], encoded(t, second))
		shows("second", false)
		mount("..3", certificates["third"], encoded(t, second)) // half of a change
		shows("second", true)
		if err := os.Remove(filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		shows("second", true)
		mount("..4", certificates["third"], encoded(t, first))
		shows("third", false)
	})
	pool := must[*certfile.Pool](t)(certfile.OpenPool(filepath.Join(dir, "tls.crt")))
	if pool.Get() == nil || pool.Problem() != nil {
		t.Error("no pool")
	}
	if _, err := certfile.OpenPool(filepath.Join(dir, "tls.key")); err == nil {
		t.Error("a key was taken for CAs")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"), []byte("p"))
	f.Fuzz(func(_ *testing.T, text, password []byte) { _, _ = certfile.Parse(text, text, password) })
}
