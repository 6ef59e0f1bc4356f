package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

func TestEnrolmentOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	t.Run("a token is exchanged for a certificate that proves what the token does", func(t *testing.T) { enrolment(t, server.Database(t), server.Database(t)) })
	t.Run("a token for one key is for that one", func(t *testing.T) { oneKey(t, server.Database(t)) })
	t.Run("everything is sealed with the newest key once every bridge has it", func(t *testing.T) { rotation(t, server.Database(t)) })
	t.Run("a lost key is replaced as the runbook says", func(t *testing.T) { lostKey(t, server.Database(t)) })
}

// agents is a bridge's knowledge of agents.
func agents(t *testing.T, d *storetest.DB) (*identity.Agents, *identity.Tokens) {
	t.Helper()
	s := d.Open(t)
	key, _ := newKey(t)
	authority, err := identity.LoadAuthority(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := running(t, s)
	return identity.NewAgents(identity.AgentsConfig{Tokens: tokens, Authority: func() *identity.Authority { return authority }, Log: slog.New(slog.DiscardHandler)}), tokens
}

func csr(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parsed(t *testing.T, e identity.Enrolled) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range e.Certificates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

func enrolment(t *testing.T, d, anothers *storetest.DB) {
	ctx := t.Context()
	bridge, tokens := agents(t, d)
	id, token, err := tokens.Create(ctx, []string{"prod-*"}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t)
	enrolled, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: csr(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	chain := parsed(t, enrolled)
	// An hour of difference between clocks is nothing, and a request's wishes count for nothing.
	if c := chain[0]; time.Since(c.NotBefore) < time.Hour || c.IsCA || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.DNSNames) > 0 {
		t.Errorf("certificate from %s, %v", c.NotBefore, c.ExtKeyUsage)
	}
	who, err := bridge.Identify(ctx, identity.Shown{Certificates: chain})
	if err != nil || who.TokenID != id || !who.Allows("prod-eu") || who.Allows("test") {
		t.Fatalf("%+v, %v", who, err)
	}
	// Renewed by its key alone, not by another's.
	if _, err := bridge.Enrol(ctx, identity.Enrolment{Certificate: enrolled.Certificates[0], Request: csr(t, key)}); err != nil {
		t.Error(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := agents(t, anothers)
	otherChain := enrolled.Certificates
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"another key":         {second(bridge.Enrol(ctx, identity.Enrolment{Certificate: enrolled.Certificates[0], Request: csr(t, ecKey(t))})), "belongs to another key"},
		"the CA's own":        {second(bridge.Enrol(ctx, identity.Enrolment{Certificate: enrolled.Certificates[1], Request: csr(t, key)})), "not one that these bridges gave"},
		"another install's":   {second(other.Enrol(ctx, identity.Enrolment{Certificate: otherChain[0], Request: csr(t, key)})), "not one that these bridges gave"},
		"no certificate":      {second(bridge.Enrol(ctx, identity.Enrolment{Certificate: []byte("x"), Request: csr(t, key)})), "cannot be read"},
		"no request":          {second(bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: []byte("x")})), "is not a certificate request"},
		"a short key":         {second(bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: csr(t, small)})), "is too short"},
		"nothing":             {second(bridge.Enrol(ctx, identity.Enrolment{Request: csr(t, key)})), "missing, unknown"},
		"a wrong token":       {second(bridge.Enrol(ctx, identity.Enrolment{Token: "flt_wrong", Request: csr(t, key)})), "missing, unknown"},
		"another's at a stop": {second(other.Identify(ctx, identity.Shown{Certificates: chain})), "is of another CA"},
	} {
		if c.err == nil || !errors.Is(c.err, identity.ErrUnauthenticated) || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	if err := tokens.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	if !over(who) {
		t.Error("what the certificate opened goes on after the revocation of its token")
	}
	for name, err := range map[string]error{"identify": second(bridge.Identify(ctx, identity.Shown{Certificates: chain})),
		"renew": second(bridge.Enrol(ctx, identity.Enrolment{Certificate: enrolled.Certificates[0], Request: csr(t, key)})),
		"again": second(bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: csr(t, key)}))} {
		if err == nil || !strings.Contains(err.Error(), id+" was revoked") {
			t.Errorf("%s after the revocation: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func oneKey(t *testing.T, d *storetest.DB) {
	ctx := t.Context()
	bridge, tokens := agents(t, d)
	id, token, err := tokens.Make(ctx, identity.NewToken{Patterns: []string{"*"}, Uses: 1, TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.Identify(ctx, identity.Shown{Token: token}); err == nil || !strings.Contains(err.Error(), "has to be exchanged") {
		t.Errorf("shown by itself: %v", err)
	}
	first := csr(t, ecKey(t))
	if _, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: first}); err == nil || !strings.Contains(err.Error(), "forgets its certificate") {
		t.Errorf("an agent that keeps nothing: %v", err)
	}
	for range 2 {
		if _, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: first, Kept: true, Agent: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: csr(t, ecKey(t)), Kept: true}); err == nil ||
		!strings.Contains(err.Error(), "was used by 1 agents") && !strings.Contains(err.Error(), "has expired") {
		t.Errorf("another key: %v", err)
	}
	// Its time was for the first coming: who has come stays.
	d.Exec(t, "UPDATE fairlead_token SET expires = 1")
	if _, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: first, Kept: true}); err != nil {
		t.Error(err)
	}
	list, err := tokens.List(ctx)
	if err != nil || list[0].Used != 1 || list[0].Uses != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := tokens.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.Enrol(ctx, identity.Enrolment{Token: token, Request: first, Kept: true}); err == nil {
		t.Error("a revoked token was taken")
	}
}

func rotation(t *testing.T, d *storetest.DB) {
	ctx, s := t.Context(), d.Open(t)
	key, file := newKey(t)
	before, err := identity.LoadAuthority(ctx, s, key)
	if err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "INSERT INTO fairlead_bridge (name, version, started, heartbeat, key_ids) VALUES ('other', '', 0, 0, '"+key.IDs()[0]+"')")
	added, err := identity.AddKey(file)
	if err != nil || added == key.IDs()[0] || key.IDs()[1] != added {
		t.Fatal(added, key.IDs(), err)
	}
	if _, _, err := identity.Rotate(ctx, s, key); !errors.Is(err, identity.ErrNotYet) || !strings.Contains(err.Error(), "key file of other") {
		t.Errorf("a bridge without the key: %v", err)
	}
	d.Exec(t, "UPDATE fairlead_bridge SET key_ids = CONCAT(key_ids, ',"+added+"')")
	for round, want := range []int{1, 0} {
		if id, sealed, err := identity.Rotate(ctx, s, key); err != nil || id != added || sealed != want {
			t.Errorf("round %d: %s, %d, %v", round, id, sealed, err)
		}
	}
	dropped, err := identity.DropKeys(file)
	if err != nil || len(dropped) != 1 {
		t.Fatal(dropped, err)
	}
	again, err := identity.ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	after, err := identity.LoadAuthority(ctx, s, again)
	if err != nil || after.Pin() != before.Pin() {
		t.Errorf("%v", err)
	}
}

func lostKey(t *testing.T, d *storetest.DB) {
	ctx, s := t.Context(), d.Open(t)
	key, _ := newKey(t)
	before, err := identity.LoadAuthority(ctx, s, key)
	if err != nil {
		t.Fatal(err)
	}
	next, _ := newKey(t)
	if _, err := identity.LoadAuthority(context.WithoutCancel(ctx), s, next); !errors.Is(err, identity.ErrWrongKey) || !strings.Contains(err.Error(), "docs/runbooks/lost-key.md") || !strings.Contains(err.Error(), key.IDs()[0]) {
		t.Errorf("%v", err)
	}
	d.Exec(t, "DELETE FROM fairlead_secret WHERE name = 'ca'")
	after, err := identity.LoadAuthority(ctx, s, next)
	if err != nil || after.Pin() == before.Pin() {
		t.Errorf("%v", err)
	}
}
