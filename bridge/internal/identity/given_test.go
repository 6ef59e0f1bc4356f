package identity_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/certfile"
)

// caFile is a file with CAs, as it is first read.
func caFile(t *testing.T, list ...*x509.Certificate) *certfile.Pool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	saveCAs(t, file, list...)
	pool, err := certfile.OpenPool(file)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func saveCAs(t *testing.T, file string, list ...*x509.Certificate) {
	t.Helper()
	var text []byte
	for _, c := range list {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestARevokedCertificateOpensNothingAndWhatItOpenedEnds uses the fake clock: files are looked at once a second.
func TestARevokedCertificateOpensNothingAndWhatItOpenedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caKey, key := ecKey(t), ecKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
		ca := certified(t, template, template, caKey, caKey)
		other := certified(t, template, template, key, key)
		holder := func(serial int64) []*x509.Certificate {
			return []*x509.Certificate{certified(t, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(time.Hour),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, key, caKey)}
		}
		dir := t.TempDir()
		cas, lists := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "crl")
		number := int64(0)
		revoke := func(serials ...int64) {
			t.Helper()
			number++
			list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Minute)}
			for _, s := range serials {
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
			}
			der, err := x509.CreateRevocationList(rand.Reader, list, ca, caKey)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(lists, der, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		saveCAs(t, cas, ca)
		revoke(2)
		given := &identity.Given{}
		var err error
		if given.CAs, err = certfile.OpenPool(cas); err != nil {
			t.Fatal(err)
		}
		if given.Revoked, err = certfile.OpenRevocations(lists, given.CAs); err != nil {
			t.Fatal(err)
		}
		rule := identity.CertificateRule{Accounts: []string{"*"}, Subject: []string{"^CN=agent$"}}
		if err := rule.Compile(); err != nil {
			t.Fatal(err)
		}
		agents := identity.NewAgents(identity.AgentsConfig{Given: given, Certificates: []identity.CertificateRule{rule}})
		if _, err := agents.Identify(t.Context(), identity.Shown{Certificates: holder(2)}); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "its CA (CN=CA) revoked serial number 2 at ") {
			t.Errorf("a revoked one: %v", err)
		}
		who, err := agents.Identify(t.Context(), identity.Shown{Certificates: holder(3)})
		if err != nil || who.Recheck() != nil {
			t.Fatalf("one that is not revoked: %v", err)
		}
		revoke(2, 4)
		if err := who.Recheck(); err != nil {
			t.Errorf("another one was revoked: %v", err)
		}
		revoke(2, 3)
		if err := who.Recheck(); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "revoked serial number 3") {
			t.Errorf("it was revoked meanwhile: %v", err)
		}
		revoke()
		if who, err = agents.Identify(t.Context(), identity.Shown{Certificates: holder(3)}); err != nil {
			t.Fatalf("it is on no list any more: %v", err)
		}
		// Its CA is taken out.
		saveCAs(t, cas, other)
		time.Sleep(2 * time.Second)
		if err := who.Recheck(); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "neither the bridges' nor in agents.tls.clientCaFile") {
			t.Errorf("its CA was taken out: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if list := given.Problems("cas", "lists"); len(list) != 1 || !strings.Contains(list[0], "lists should have been renewed by") {
			t.Errorf("problems: %q", list)
		}
	})
}

func TestPluginsAreKnownByTheirCertificates(t *testing.T) {
	d := storetest.Start(t).Database(t)
	s := d.Open(t)
	key, _ := newKey(t)
	authority, err := identity.LoadAuthority(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := running(t, s)
	present := authority
	plugins := &identity.Plugins{Tokens: tokens, Authority: func() *identity.Authority { return present }}
	agents := identity.NewAgents(identity.AgentsConfig{Tokens: tokens, Authority: func() *identity.Authority { return present }})

	pluginKey := ecKey(t)
	issued, err := plugins.Issue(t.Context(), csr(t, pluginKey), 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	chain := chainOf(t, issued.Certificate)
	who, err := plugins.Identify(t.Context(), chain)
	if err != nil || time.Until(who.Until) < identity.PluginLife-time.Hour || who.Ended == nil {
		t.Fatalf("%+v, %v", who, err)
	}
	refuses := func(what string, chain []*x509.Certificate, want string) {
		t.Helper()
		if _, err := plugins.Identify(t.Context(), chain); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	// An agent's certificate is none of a plugin, and the other way round.
	_, token, err := tokens.Create(t.Context(), []string{"*"}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	enrolled, err := agents.Enrol(t.Context(), identity.Enrolment{Token: token, Request: csr(t, ecKey(t))})
	if err != nil {
		t.Fatal(err)
	}
	refuses("an agent", chainOf(t, enrolled.Certificates[0]), `it is not that of a plugin: "fairlead plugin certificate" makes one`)
	if _, err := agents.Identify(t.Context(), identity.Shown{Certificates: chain}); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "it is not that of an agent") {
		t.Errorf("a plugin among agents: %v", err)
	}
	refuses("nothing", nil, "shows no client certificate")
	uri, _ := url.Parse("spiffe://prod.example/ns/spinnaker/sa/clouddriver")
	caKey := ecKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca := certified(t, template, template, caKey, caKey)
	given := []*x509.Certificate{certified(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "clouddriver"}, URIs: []*url.URL{uri}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, pluginKey, caKey)}
	refuses("another CA", given, "is of another CA (CN=CA) than the bridges'")
	plugins.Given = &identity.Given{CAs: caFile(t, ca)}
	plugins.Names = []string{"spiffe://prod.example/ns/other/*"}
	refuses("another name", given, "fits plugin.tls.clientNames")
	plugins.Names = []string{"spiffe://prod.example/ns/spinnaker/*"}
	if who, err := plugins.Identify(t.Context(), given); err != nil || !who.Until.Equal(given[0].NotAfter) {
		t.Errorf("a given certificate: %+v, %v", who, err)
	}
	// Nobody's word is a plugin's, whatever it says of itself.
	self := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "Fairlead bridges"}, NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{{Scheme: "fairlead", Host: "plugin", Path: "/" + issued.ID}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	refuses("self-made", []*x509.Certificate{certified(t, self, self, pluginKey, pluginKey)}, "neither the bridges' nor")

	if err := tokens.Revoke(t.Context(), issued.ID); err != nil {
		t.Fatal(err)
	}
	<-who.Ended
	refuses("revoked", chain, "was revoked")
	present = nil
	if _, err := (&identity.Plugins{Tokens: tokens, Authority: plugins.Authority}).Identify(t.Context(), chain); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("before the authority is known: %v", err)
	}
	for want, c := range map[string]struct {
		csr  []byte
		life time.Duration
	}{"csr: is not a certificate request": {[]byte("x"), 0}, "ttl: 1m0s is not between": {csr(t, pluginKey), time.Minute}, "ttl: 87600h0m0s is not": {csr(t, pluginKey), 87600 * time.Hour}} {
		if _, err := plugins.Issue(t.Context(), c.csr, c.life, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func chainOf(t *testing.T, der []byte) []*x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}
