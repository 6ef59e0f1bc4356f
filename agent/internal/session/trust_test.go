package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a := &authority{}
	a.certificate, a.key = sign(t, template, nil)
	return a
}

// sign makes a certificate; without a parent it signs itself.
func sign(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (a *authority) pin() string {
	sum := sha256.Sum256(a.certificate.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (a *authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// leaf is a bridge's certificate with the chain that it shows.
func (a *authority) leaf(t *testing.T, expires time.Time, whole bool, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bridge"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: expires,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	certificate, key := sign(t, template, a)
	chain := [][]byte{certificate.Raw}
	if whole {
		chain = append(chain, a.certificate.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// shake lets a client with that trust meet a server with that certificate, over real TLS.
func shake(t *testing.T, trust Trust, address string, shown tls.Certificate) error {
	t.Helper()
	cfg, err := trust.TLS(address, nil)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		there, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = there.Close() }()
		_ = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{shown}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}).HandshakeContext(t.Context())
	}()
	here, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err == nil {
		err = tls.Client(here, cfg).HandshakeContext(t.Context())
		_ = here.Close()
	}
	_ = listener.Close()
	<-served
	return err
}

func TestAgentTrustsExactlyTheBridgeThatItWasToldTo(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		trust   Trust
		address string
		shown   tls.Certificate
		want    string // "": trusted
	}{
		"the pinned CA, by DNS name":               {Trust{Pin: ours.pin()}, "bridge.example:9091", ours.leaf(t, later, true, "bridge.example"), ""},
		"the pinned CA, in upper case":             {Trust{Pin: "sha256:" + strings.ToUpper(ours.pin()[7:])}, "bridge.example:9091", ours.leaf(t, later, true, "bridge.example"), ""},
		"the pinned CA, by IPv4 address":           {Trust{Pin: ours.pin()}, "127.0.0.1:9091", ours.leaf(t, later, true, "127.0.0.1"), ""},
		"the pinned CA, by IPv6 address":           {Trust{Pin: ours.pin()}, "[::1]:9091", ours.leaf(t, later, true, "::1"), ""},
		"the pinned CA, under another server name": {Trust{Pin: ours.pin(), ServerName: "inner.example"}, "outer.example:9091", ours.leaf(t, later, true, "inner.example"), ""},
		"the pinned CA's leaf for another name":    {Trust{Pin: ours.pin()}, "bridge.example:9091", ours.leaf(t, later, true, "elsewhere.example"), "not bridge.example"},
		"the pinned CA's leaf for another address": {Trust{Pin: ours.pin()}, "127.0.0.1:9091", ours.leaf(t, later, true, "127.0.0.2"), "not 127.0.0.1"},
		"the pinned CA's leaf, expired":            {Trust{Pin: ours.pin()}, "bridge.example:9091", ours.leaf(t, past, true, "bridge.example"), "expired"},
		"the pinned CA's leaf without the CA":      {Trust{Pin: ours.pin()}, "bridge.example:9091", ours.leaf(t, later, false, "bridge.example"), "send the whole chain"},
		"another CA than the pinned one":           {Trust{Pin: ours.pin()}, "bridge.example:9091", other.leaf(t, later, true, "bridge.example"), other.pin()},
		"another CA's leaf beside the pinned CA": {Trust{Pin: ours.pin()}, "bridge.example:9091", func() tls.Certificate {
			c := other.leaf(t, later, false, "bridge.example")
			c.Certificate = append(c.Certificate, ours.certificate.Raw)
			return c
		}(), "unknown authority"},
		"the CA of the file":            {Trust{CAFile: ours.file(t)}, "bridge.example:9091", ours.leaf(t, later, false, "bridge.example"), ""},
		"another CA than the file's":    {Trust{CAFile: ours.file(t)}, "bridge.example:9091", other.leaf(t, later, true, "bridge.example"), "unknown authority"},
		"the file's CA, another name":   {Trust{CAFile: ours.file(t)}, "bridge.example:9091", ours.leaf(t, later, true, "elsewhere.example"), "not bridge.example"},
		"the pin counts, not the file":  {Trust{CAFile: other.file(t), Pin: ours.pin()}, "bridge.example:9091", other.leaf(t, later, true, "bridge.example"), other.pin()},
		"the system's CAs, unless told": {Trust{}, "bridge.example:9091", ours.leaf(t, later, true, "bridge.example"), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			err := shake(t, c.trust, c.address, c.shown)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := shake(t, Trust{Pin: ours.pin()}, "bridge.example:9091", other.leaf(t, later, true, "bridge.example")); !errors.Is(err, ErrPin) {
		t.Errorf("%v is not ErrPin", err)
	}
}

func TestTrustThatCannotBeIsRefusedByKeyAndWhatToDo(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		trust   Trust
		address string
		want    string
	}{
		{Trust{Pin: "sha256:12"}, "b:1", `clouddriver.tls.pin "sha256:12": want sha256: and 64 hex digits`},
		{Trust{Pin: strings.Repeat("ab", 32)}, "b:1", "clouddriver.tls.pin"},
		{Trust{Pin: "sha256:" + strings.Repeat("zz", 32)}, "b:1", "clouddriver.tls.pin"},
		{Trust{CAFile: empty + "-absent"}, "b:1", "clouddriver.tls.cacertFile: open "},
		{Trust{CAFile: empty}, "b:1", "no PEM certificate in it"},
		{Trust{}, "bridge", `clouddriver.grpc "bridge": want host:port`},
	} {
		if _, err := c.trust.TLS(c.address, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v at %s: %v, want %q", c.trust, c.address, err, c.want)
		}
		if _, err := New(Config{Address: c.address, Trust: c.trust}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a session with %+v at %s: %v, want %q", c.trust, c.address, err, c.want)
		}
	}
}

// TestAClockThatIsOffByAnHourIsNoMatterAndOneThatIsOffByMoreIsNamed shakes hands over real TLS, with certificates as bridges make them: good from two hours
// ago on, for thirty days.
func TestAClockThatIsOffByAnHourIsNoMatterAndOneThatIsOffByMoreIsNamed(t *testing.T) {
	a := newAuthority(t)
	shown := a.leaf(t, time.Now().AddDate(0, 0, 30), true, "127.0.0.1")
	for off, want := range map[time.Duration]string{
		-time.Hour:            "",
		time.Hour:             "",
		-3 * time.Hour:        "behind the bridge's; set both by NTP",
		31 * 24 * time.Hour:   "the bridge's certificate has expired at ",
		-400 * 24 * time.Hour: "set both by NTP",
	} {
		for name, trust := range map[string]Trust{"pin": {Pin: a.pin()}, "CA": {CAFile: a.file(t)}} {
			trust.Now = func() time.Time { return time.Now().Add(off) }
			err := shake(t, trust, "127.0.0.1:9091", shown)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "this machine's clock says ")) {
				t.Errorf("a clock that is off by %s, %s: %v, want %q", off, name, err, want)
			}
		}
	}
}
