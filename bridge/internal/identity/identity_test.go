package identity_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t *testing.T) (*identity.Key, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := identity.CreateKey(file); err != nil {
		t.Fatal(err)
	}
	key, err := identity.ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return key, file
}

func TestKeyFileIsMadeOnceAndReadableByItsOwnerAlone(t *testing.T) {
	_, file := newKey(t)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile(file)
	if err := identity.CreateKey(file); err == nil || !strings.Contains(err.Error(), "stays as it is") {
		t.Errorf("made again: %v", err)
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("the key file was replaced")
	}
}

func TestWrongKeyFilesAreRefusedWithWhatToDo(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("aGVsbG8="), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"":                           `"fairlead-bridge key create FILE"`,
		filepath.Join(dir, "absent"): `"fairlead-bridge key create ` + filepath.Join(dir, "absent"),
		short:                        "does not hold 32 bytes",
		dir:                          "is a directory",
	} {
		if _, err := identity.ReadKey(file); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "keyFile: ") {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
	}
}

func TestWhatIsSealedOpensOnlyWithItsKeyAndName(t *testing.T) {
	key, _ := newKey(t)
	other, _ := newKey(t)
	sealed, err := key.Seal("ca", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "secret") {
		t.Error("the secret is readable")
	}
	if opened, err := key.Open("ca", sealed); err != nil || string(opened) != "secret" {
		t.Errorf("%q, %v", opened, err)
	}
	if _, err := other.Open("ca", sealed); !errors.Is(err, identity.ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := key.Open("cb", sealed); !errors.Is(err, identity.ErrWrongKey) {
		t.Errorf("under another name: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := key.Open("ca", sealed); !errors.Is(err, identity.ErrWrongKey) {
		t.Errorf("changed: %v", err)
	}
	for _, broken := range [][]byte{nil, {1}, append([]byte{9}, sealed[1:]...)} {
		if _, err := key.Open("ca", broken); err == nil || errors.Is(err, identity.ErrWrongKey) {
			t.Errorf("%v: %v", broken, err)
		}
	}
}

func TestPatternsCoverNames(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"prod", "prod", true}, {"prod", "prod2", false}, {"prod", "Prod", false}, {"*", "anything", true}, {"*", "", true},
		{"prod-*", "prod-", true}, {"prod-*", "prod-eu", true}, {"prod-*", "xprod-eu", false}, {"*-eu", "prod-eu", true}, {"*-eu", "eu", false},
		{"a*b*c", "abc", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "acb", false}, {"ab*ba", "aba", false}, {"a**b", "ab", true}, {"*x*", "axb", true}, {"*x*", "ab", false},
		{"a*a", "a", false}, {"prod.eu", "prodxeu", false},
	} {
		if got := (identity.Identity{Patterns: []string{"no", c.pattern}}).Allows(c.name); got != c.want {
			t.Errorf("%q covers %q: %v", c.pattern, c.name, got)
		}
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"prod", "a/b"}} {
		if identity.CheckPatterns(bad) == nil {
			t.Errorf("patterns %q were accepted", bad)
		}
	}
}

func TestIdentityOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	t.Run("bridges that start together share one authority", func(t *testing.T) { together(t, server.Database(t)) })
	t.Run("a key file that does not fit is told", func(t *testing.T) { wrongKey(t, server.Database(t)) })
	t.Run("an agent that pins the authority trusts the server's certificate", func(t *testing.T) { handshake(t, server.Database(t)) })
	t.Run("tokens prove what they were made for until they end", func(t *testing.T) { tokens(t, server.Database(t)) })
	t.Run("revocation at another bridge is noticed, and known tokens outlive the database", func(t *testing.T) { elsewhere(t, server.Database(t)) })
}

func together(t *testing.T, d *storetest.DB) {
	key, _ := newKey(t)
	s := d.Open(t)
	pins := make([]string, 8)
	var group sync.WaitGroup
	for i := range pins {
		group.Go(func() {
			a, err := identity.LoadAuthority(t.Context(), s, key)
			if err != nil {
				t.Error(err)
				return
			}
			pins[i] = a.Pin()
		})
	}
	group.Wait()
	for _, pin := range pins {
		if pin != pins[0] || !strings.HasPrefix(pin, "sha256:") || len(pin) != 7+64 {
			t.Errorf("pins %v", pins)
		}
	}
	var stored string
	if err := d.SQL.QueryRowContext(t.Context(), "SELECT sealed FROM fairlead_secret").Scan(&stored); err != nil || strings.Contains(stored, "PRIVATE KEY") {
		t.Errorf("the database holds the key in clear, or nothing (%v)", err)
	}
}

func wrongKey(t *testing.T, d *storetest.DB) {
	key, _ := newKey(t)
	other, _ := newKey(t)
	s := d.Open(t)
	if _, err := identity.LoadAuthority(t.Context(), s, key); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadAuthority(t.Context(), s, other); !errors.Is(err, identity.ErrWrongKey) || !strings.Contains(err.Error(), "key file of the other bridges") {
		t.Error(err)
	}
}

func handshake(t *testing.T, d *storetest.DB) {
	key, _ := newKey(t)
	authority, err := identity.LoadAuthority(t.Context(), d.Open(t), key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", authority.ServerConfig(identity.ServerNames("spin-clouddriver-0", []string{"bridge.spinnaker.svc", "10.1.2.3"})))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	})
	defer group.Wait()
	defer listener.Close()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority.PEM()) {
		t.Fatal("the authority's certificate is not PEM")
	}
	for _, name := range []string{"127.0.0.1", "localhost", "spin-clouddriver-0", "bridge.spinnaker.svc", "10.1.2.3"} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		state := conn.(*tls.Conn).ConnectionState()
		// The chain holds the authority, so that a pin is enough to trust it.
		if n := len(state.PeerCertificates); n != 2 || state.NegotiatedProtocol != "h2" {
			t.Errorf("%d certificates, protocol %q", n, state.NegotiatedProtocol)
		}
		sum := sha256.Sum256(state.PeerCertificates[1].RawSubjectPublicKeyInfo)
		if pin := "sha256:" + hex.EncodeToString(sum[:]); pin != authority.Pin() {
			t.Errorf("pin %s, authority says %s", pin, authority.Pin())
		}
		_ = conn.Close()
	}
	if _, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "elsewhere"}}).DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("a name that was not configured is trusted")
	}
	if _, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS11}}).DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil { //nolint:gosec // that is the test
		t.Error("TLS 1.1 is accepted")
	}
	if block, _ := pem.Decode(authority.PEM()); block == nil || block.Type != "CERTIFICATE" {
		t.Error("PEM of the authority")
	}
}

func running(t *testing.T, s *store.Store) *identity.Tokens {
	t.Helper()
	tokens := identity.NewTokens(s, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- tokens.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return tokens
}

func over(i identity.Identity) bool {
	select {
	case <-i.Ended:
		return true
	default:
		return false
	}
}

func tokens(t *testing.T, d *storetest.DB) {
	ctx, s := t.Context(), d.Open(t)
	tokens := running(t, s)
	id, text, err := tokens.Create(ctx, []string{"prod-*", "stage"}, 0, "for prod")
	if err != nil || !strings.HasPrefix(text, identity.TokenPrefix) {
		t.Fatal(text, err)
	}
	who, err := tokens.Authenticate(ctx, text)
	if err != nil || who.TokenID != id || !who.Allows("prod-eu") || !who.Allows("stage") || who.Allows("test") || over(who) {
		t.Fatalf("%+v, %v", who, err)
	}
	for _, wrong := range []string{"", "flt_", text + "x", strings.TrimPrefix(text, "flt_"), "flt_" + strings.Repeat("A", 43)} {
		if _, err := tokens.Authenticate(ctx, wrong); !errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	// The token is nowhere in the database.
	if dump := strings.Join(d.Strings(t, "SELECT CONCAT_WS('|', id, HEX(hash), patterns, description) FROM fairlead_token"), "\n"); strings.Contains(dump, text) || strings.Contains(dump, hex.EncodeToString([]byte(text))) {
		t.Errorf("the database holds the token: %s", dump)
	}
	if err := tokens.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	if !over(who) {
		t.Error("what the token opened goes on after its revocation")
	}
	if _, err := tokens.Authenticate(ctx, text); !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("revoked: %v", err)
	}
	if err := tokens.Revoke(ctx, "nothing"); !errors.Is(err, identity.ErrNoToken) {
		t.Errorf("revoke an unknown token: %v", err)
	}

	_, short, err := tokens.Create(ctx, []string{"*"}, time.Second, "")
	if err != nil {
		t.Fatal(err)
	}
	who, err = tokens.Authenticate(ctx, short)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-who.Ended:
	case <-time.After(15 * time.Second):
		t.Error("the token did not expire")
	}
	if _, err := tokens.Authenticate(ctx, short); !errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("expired: %v", err)
	}
	// When a token was used is noted from time to time.
	var list []store.Token
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if list, err = tokens.List(ctx); err != nil || len(list) > 0 && list[0].LastUsed != 0 {
			break
		}
	}
	if err != nil || len(list) != 2 || list[0].LastUsed == 0 || list[0].Revoked == 0 || list[1].Expires == 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := tokens.Create(ctx, []string{"a b"}, 0, ""); err == nil {
		t.Error("a bad pattern was accepted")
	}
	if _, _, err := tokens.Create(ctx, []string{"a"}, 0, strings.Repeat("x", 256)); err == nil {
		t.Error("a long description was accepted")
	}
}

func elsewhere(t *testing.T, d *storetest.DB) {
	ctx := t.Context()
	here, there := running(t, d.Open(t)), running(t, d.Open(t))
	id, text, err := there.Create(ctx, []string{"*"}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	// At once, though the poll has not seen it.
	who, err := here.Authenticate(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Revoke(ctx, id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-who.Ended:
	case <-time.After(15 * time.Second):
		t.Error("the revocation did not arrive")
	}
	_, second, err := here.Create(ctx, []string{"*"}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.Authenticate(ctx, second); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "RENAME TABLE fairlead_token TO away")
	if _, err := here.Authenticate(ctx, second); err != nil {
		t.Errorf("a known token without the database: %v", err)
	}
	if _, err := here.Authenticate(ctx, "flt_unknown"); !errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrUnauthenticated) {
		t.Errorf("an unknown token without the database: %v", err)
	}
	d.Exec(t, "RENAME TABLE away TO fairlead_token")
	// A row that somebody deleted ends its token too.
	who, err = here.Authenticate(ctx, second)
	if err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "DELETE FROM fairlead_token")
	select {
	case <-who.Ended:
	case <-time.After(15 * time.Second):
		t.Error("the deletion did not arrive")
	}
}

func TestGuessesAreSlowedDown(t *testing.T) {
	s := &countingStore{}
	tokens := identity.NewTokens(s, slog.New(slog.DiscardHandler))
	unavailable := 0
	for range 500 {
		if _, err := tokens.Authenticate(t.Context(), "flt_guess"); errors.Is(err, identity.ErrUnavailable) {
			unavailable++
		}
	}
	if s.asked > 120 || unavailable < 380 {
		t.Errorf("the database was asked %d times by 500 guesses, %d were told to wait", s.asked, unavailable)
	}
}

// countingStore knows no token.
type countingStore struct {
	identity.TokenStore

	asked int
}

func (s *countingStore) TokenByHash(context.Context, [32]byte) (store.Token, bool, error) {
	s.asked++
	return store.Token{}, false, nil
}
