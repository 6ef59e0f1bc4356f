package identity_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

func TestRulesForCertificatesFitWhatTheyName(t *testing.T) {
	caKey, key := ecKey(t), ecKey(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA", Organization: []string{"Example"}}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	uri, _ := url.Parse("spiffe://prod.example/ns/a/sa/agent")
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		Subject:  pkix.Name{CommonName: "agent, one", OrganizationalUnit: []string{"Agents"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "abc:123:ksvc"}}},
		DNSNames: []string{"a.edge.example.com"}, URIs: []*url.URL{uri}}
	authority, certificate := certified(t, ca, ca, caKey, caKey), certified(t, leaf, ca, key, caKey)
	if got := identity.Subject(certificate.RawSubject); got != `UID=abc:123:ksvc,CN=agent\, one,OU=Agents` {
		t.Errorf("subject %s", got)
	}
	given := &identity.Given{CAs: caFile(t, authority)}
	for name, c := range map[string]struct {
		rule identity.CertificateRule
		fits bool
	}{
		"the replaced product's filter": {identity.CertificateRule{Subject: []string{`UID=([a-z]){3}:[1-9]{3}:ksvc`}}, true},
		"any of several":                {identity.CertificateRule{Subject: []string{"nobody", `CN=agent\\, one`}}, true},
		"subject and issuer":            {identity.CertificateRule{Subject: []string{"OU=Agents$"}, Issuer: []string{"^CN=CA,O=Example$"}}, true},
		"another issuer":                {identity.CertificateRule{Subject: []string{"OU=Agents$"}, Issuer: []string{"CN=Other"}}, false},
		"DNS":                           {identity.CertificateRule{DNS: []string{"*.edge.example.com"}}, true},
		"another DNS":                   {identity.CertificateRule{DNS: []string{"*.core.example.com"}}, false},
		"URI":                           {identity.CertificateRule{URI: []string{"spiffe://prod.example/ns/*/sa/agent"}}, true},
		"another trust domain":          {identity.CertificateRule{URI: []string{"spiffe://test.example/*"}}, false},
		"DNS fits, URI does not":        {identity.CertificateRule{DNS: []string{"a.*"}, URI: []string{"spiffe://x"}}, false},
	} {
		c.rule.Accounts = []string{"a-*"}
		if err := c.rule.Compile(); err != nil {
			t.Fatal(name, err)
		}
		agents := identity.NewAgents(identity.AgentsConfig{Given: given, Certificates: []identity.CertificateRule{c.rule}})
		who, err := agents.Identify(t.Context(), identity.Shown{Certificates: []*x509.Certificate{certificate}})
		if (err == nil) != c.fits || c.fits && (!who.Allows("a-1") || who.Allows("b") || !who.Until.Equal(certificate.NotAfter)) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	for want, rule := range map[string]identity.CertificateRule{
		"at least one pattern":         {Subject: []string{"x"}},
		"nothing says whose":           {Accounts: []string{"a"}},
		"is not a regular expression":  {Accounts: []string{"a"}, Subject: []string{"("}},
		"fits everything; write what":  {Accounts: []string{"a"}, Issuer: []string{".*"}},
		"fits everything or nothing":   {Accounts: []string{"a"}, DNS: []string{"*"}},
		"may hold letters, digits, '.": {Accounts: []string{"a b"}, DNS: []string{"x"}},
	} {
		if err := rule.Compile(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", rule, err, want)
		}
	}
}

func certified(t *testing.T, template, parent *x509.Certificate, key, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issuer is an OIDC provider.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	keys   atomic.Pointer[jose.JSONWebKeySet]
	sign   jose.Signer
	asked  atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		_ = json.NewEncoder(w).Encode(i.keys.Load())
	})
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	i.rotate("first")
	return i
}

// rotate has the issuer sign with another key.
func (i *issuer) rotate(id string) {
	i.t.Helper()
	key := ecKey(i.t)
	var err error
	if i.sign, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil); err != nil {
		i.t.Fatal(err)
	}
	i.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"}}})
}

func (i *issuer) token(audience string, life time.Duration, claims map[string]any) string {
	i.t.Helper()
	text, err := jwt.Signed(i.sign).Claims(jwt.Claims{Issuer: i.server.URL, Subject: "sub-1", Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(time.Now().Add(life))}).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// unsigned has a signature that is none.
func unsigned(token string) string {
	return token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
}

func TestTokensOfAnIssuerProveWhatTheRulesSay(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	rule := func(r identity.TokenRule) identity.TokenRule {
		r.Issuer, r.Audience = i.server.URL, "fairlead"
		return r
	}
	people, err := identity.NewIssuers([]identity.TokenRule{
		rule(identity.TokenRule{Claim: "groups", Values: []string{"sre"}, Role: identity.RoleOperator}),
		rule(identity.TokenRule{Claim: "groups", Values: []string{"team-*"}, Role: identity.RoleAccountManager, Accounts: []string{"team-a-*"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	who, err := people.Identify(ctx, i.token("fairlead", time.Hour, map[string]any{"groups": []string{"x", "team-a"}}))
	if err != nil || who.Role != identity.RoleAccountManager || !who.May("team-a-1") || who.May("b") || who.Until.IsZero() {
		t.Fatalf("%+v, %v", who, err)
	}
	who, err = people.Identify(ctx, i.token("fairlead", time.Hour, map[string]any{"groups": []string{"team-a", "sre"}}))
	if err != nil || who.Role != identity.RoleOperator || !who.May("b") {
		t.Fatalf("%+v, %v", who, err)
	}
	// Keys that are not known are fetched.
	i.rotate("second")
	if _, err := people.Identify(ctx, i.token("fairlead", time.Hour, map[string]any{"groups": "sre"})); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	for want, token := range map[string]string{
		"is for audience other":  i.token("other", time.Hour, map[string]any{"groups": "sre"}),
		"has expired at":         i.token("fairlead", -time.Hour, map[string]any{"groups": "sre"}),
		"no rule is about":       i.token("fairlead", time.Hour, map[string]any{"groups": "guests"}),
		"are not known here":     other.token("fairlead", time.Hour, nil),
		"its signature is by no": unsigned(i.token("fairlead", time.Hour, map[string]any{"groups": "sre"})),
	} {
		if _, err := people.Identify(ctx, token); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Keys of a file are read anew when the file changes.
	file := filepath.Join(t.TempDir(), "jwks.json")
	save := func() {
		text, _ := json.Marshal(i.keys.Load())
		if err := os.WriteFile(file+".next", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			t.Fatal(err)
		}
	}
	save()
	machines, err := identity.NewIssuers([]identity.TokenRule{rule(identity.TokenRule{Values: []string{"sub-*"}, Accounts: []string{"m-*"}, JWKSFile: file})})
	if err != nil {
		t.Fatal(err)
	}
	asked := i.asked.Load()
	i.rotate("third")
	if _, err := machines.Identify(ctx, i.token("fairlead", time.Hour, nil)); !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("a key that the file does not hold: %v", err)
	}
	save()
	if who, err := machines.Identify(ctx, i.token("fairlead", time.Hour, nil)); err != nil || !who.Allows("m-1") || who.Role != "" {
		t.Errorf("%+v, %v", who, err)
	}
	if i.asked.Load() != asked {
		t.Error("the issuer was asked although its keys are given")
	}
	// An issuer that is away is no reason to call a token bad.
	away, err := identity.NewIssuers([]identity.TokenRule{rule(identity.TokenRule{Values: []string{"*"}, Accounts: []string{"*"}})})
	if err != nil {
		t.Fatal(err)
	}
	token := i.token("fairlead", time.Hour, nil)
	i.server.Close()
	if _, err := away.Identify(ctx, token); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("without its issuer: %v", err)
	}
}

func TestRulesForTokensThatMakeNoSenseAreRefused(t *testing.T) {
	good := identity.TokenRule{Issuer: "https://i", Audience: "a", Values: []string{"x"}, Accounts: []string{"a"}}
	for want, change := range map[string]func(r *identity.TokenRule){
		"issuer: ":              func(r *identity.TokenRule) { r.Issuer = "i" },
		"audience: is not set":  func(r *identity.TokenRule) { r.Audience = "" },
		"give one of them":      func(r *identity.TokenRule) { r.JWKS, r.JWKSURL = "{}", "https://i" },
		"nothing says whose":    func(r *identity.TokenRule) { r.Values = nil },
		"role: ":                func(r *identity.TokenRule) { r.Role = "root" },
		"has every account":     func(r *identity.TokenRule) { r.Role = identity.RoleViewer },
		"at least one pattern":  func(r *identity.TokenRule) { r.Accounts = nil },
		"jwks: is not a JSON":   func(r *identity.TokenRule) { r.JWKS = "x" },
		"jwks: holds no public": func(r *identity.TokenRule) { r.JWKS = `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}` },
		"jwksFile: ":            func(r *identity.TokenRule) { r.JWKSFile = "/nowhere" },
		"caFile: ":              func(r *identity.TokenRule) { r.CAFile = "/nowhere" },
	} {
		r := good
		change(&r)
		if _, err := identity.NewIssuers([]identity.TokenRule{r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAManagerGivesAwayNoMoreThanItHas(t *testing.T) {
	manager := identity.Identity{Role: identity.RoleAccountManager, Patterns: []string{"team-a-*", "shared"}}
	for pattern, want := range map[string]bool{"team-a-1": true, "team-a-*": true, "team-a-x*y": true, "shared": true, "*": false, "team-*": false, "team-a*": false, "shared*": false, "sha*": false} {
		if manager.Covers([]string{pattern}) != want {
			t.Errorf("%s: %v", pattern, !want)
		}
	}
	if manager.Covers(nil) || (identity.Identity{Role: identity.RoleViewer, Patterns: []string{"*"}}).Covers([]string{"a"}) {
		t.Error("nothing, or a viewer, covers something")
	}
}
