package identity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/agent/internal/identity"
)

// client-go keeps its connections to an API server for the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"))
}

// sign makes the certificate that a bridge would.
func sign(t *testing.T, request []byte) [][]byte {
	t.Helper()
	asked, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := asked.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(23 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, asked.PublicKey, ca)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func TestACertificateIsRenewedInTimeWhateverTheClockSays(t *testing.T) {
	ctx := t.Context()
	c := identity.NewCredential(nil, "agent")
	if have, due := c.Certificate(time.Now()); have != nil || !due || c.Kept() {
		t.Error("there is something at the beginning")
	}
	request, former, err := c.Request(ctx)
	if err != nil || former != nil {
		t.Fatal(former, err)
	}
	now := time.Now()
	if err := c.Accept(ctx, now, sign(t, request), 24*time.Hour, 16*time.Hour); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration][2]bool{time.Hour: {true, false}, 17 * time.Hour: {true, true}, 25 * time.Hour: {false, true}} {
		have, due := c.Certificate(now.Add(after))
		if (have != nil) != want[0] || due != want[1] {
			t.Errorf("after %s: %v, %v", after, have != nil, due)
		}
	}
	if !c.Due().Equal(now.Add(16 * time.Hour)) {
		t.Errorf("due at %s", c.Due())
	}
	// The next request is by the same key, and names the certificate.
	again, former, err := c.Request(ctx)
	if err != nil || former == nil {
		t.Fatal(err)
	}
	if err := c.Accept(ctx, now, sign(t, again), time.Hour, time.Hour); err != nil {
		t.Error(err)
	}
	other := identity.NewCredential(nil, "other")
	strange, _, _ := other.Request(ctx)
	if err := c.Accept(ctx, now, sign(t, strange), time.Hour, time.Hour); err == nil || !strings.Contains(err.Error(), "for another key") {
		t.Errorf("another's certificate: %v", err)
	}
	if err := c.Accept(ctx, now, nil, time.Hour, time.Hour); err == nil {
		t.Error("no certificate was taken")
	}
	c.Drop()
	if have, due := c.Certificate(now); have != nil || !due {
		t.Error("it was not dropped")
	}
}

func TestAKeptCertificateOutlivesItsProcess(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "certificate.pem")
	// Replicas that start together agree on one key.
	requests := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range requests {
		group.Go(func() {
			var err error
			if requests[i], _, err = identity.NewCredential(identity.FileKeep(file), "agent").Request(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	key := func(request []byte) []byte {
		r, err := x509.ParseCertificateRequest(request)
		if err != nil {
			t.Fatal(err)
		}
		return r.RawSubjectPublicKeyInfo
	}
	for _, r := range requests {
		if !bytes.Equal(key(r), key(requests[0])) {
			t.Fatal("they have different keys")
		}
	}
	c := identity.NewCredential(identity.FileKeep(file), "agent")
	request, _, err := c.Request(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(ctx, time.Now(), sign(t, request), 24*time.Hour, 16*time.Hour); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	next := identity.NewCredential(identity.FileKeep(file), "agent")
	if err := next.Load(ctx); err != nil {
		t.Fatal(err)
	}
	have, due := next.Certificate(time.Now())
	if have == nil || due || !next.Kept() {
		t.Errorf("after a restart: %v, due %v", have, due)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".fairlead-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for want, prepare := range map[string]func(){
		"every user may read it (mode 0644): chmod 0600 it": func() { _ = os.Chmod(file, 0o644) }, //nolint:gosec // that is the point
		"no private key in PEM":                             func() { _ = os.WriteFile(file, []byte("x"), 0o600); _ = os.Chmod(file, 0o600) },
	} {
		prepare()
		if err := identity.NewCredential(identity.FileKeep(file), "agent").Load(ctx); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "clouddriver.auth.certificateFile "+file) {
			t.Errorf("%v, want %q", err, want)
		}
		_ = os.Chmod(file, 0o600)
	}
	if _, _, err := identity.NewCredential(identity.FileKeep("/nowhere/x.pem"), "agent").Request(ctx); err == nil {
		t.Error("a key was kept nowhere")
	}
}

func TestATokenCommandRunsWhenItIsNeededAndNeverTellsItsToken(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		return file
	}
	ctx := t.Context()
	count := script("count", fmt.Sprintf("echo x >>%s/calls; printf 'token-%%s\\n' $(wc -l <%s/calls)", dir, dir))
	c := &identity.Command{Path: count}
	for _, want := range []string{"token-1", "token-1"} {
		if token, err := c.Token(ctx); err != nil || token != want {
			t.Errorf("%q, %v", token, err)
		}
	}
	c.Forget()
	if token, err := c.Token(ctx); err != nil || token != "token-2" {
		t.Errorf("after it was not taken: %q, %v", token, err)
	}
	json := &identity.Command{Path: script("json", `echo "{\"token\": \"$1\"}"`), Args: []string{"from-json"}, JSON: true}
	if token, err := json.Token(ctx); err != nil || token != "from-json" {
		t.Errorf("%q, %v", token, err)
	}
	for want, c := range map[string]*identity.Command{
		"exit status 3: cannot log in": {Path: script("fails", "echo hunter2; echo cannot log in >&2; exit 3")},
		"prints no token":              {Path: script("silent", "true")},
		"prints more than a token":     {Path: script("chatty", "echo your token is hunter2")},
		"prints no JSON object":        {Path: script("raw", "echo hunter2"), JSON: true},
		"no such file":                 {Path: filepath.Join(dir, "absent")},
	} {
		token, err := c.Token(ctx)
		if err == nil || token != "" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "clouddriver.auth.tokenCommand") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q, %v, want %q", token, err, want)
		}
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := (&identity.Command{Path: count}).Token(stopped); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
