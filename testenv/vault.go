package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
)

// VaultServer is a real Vault, in memory and unsealed: secrets engine kv (version 2 at secret/), auth methods token, userpass, approle and
// kubernetes, none of them enabled yet.
type VaultServer struct {
	URL string `json:"url"`
	// TLSURL is the same server by HTTPS; CAFile holds who issued its certificate.
	TLSURL string `json:"tlsUrl"`
	CAFile string `json:"caFile"`
	// TokenFile holds a token that may do everything.
	TokenFile string `json:"tokenFile"`
	PID       int    `json:"pid"`
	Log       string `json:"log"`
}

// vaultPart is what a Vault is started with.
type vaultPart struct {
	dir, log      string
	port, tlsPort int
	container     bool
}

func newVaultPart(dir, log string, container bool) (*vaultPart, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return &vaultPart{dir: dir, log: log, port: ports[0], tlsPort: ports[1], container: container}, os.MkdirAll(dir, 0o700)
}

func (v *vaultPart) info() VaultServer {
	return VaultServer{
		URL: "http://" + loopback(v.port), TLSURL: "https://" + loopback(v.tlsPort),
		CAFile: filepath.Join(v.dir, "ca.pem"), TokenFile: filepath.Join(v.dir, "root-token"), Log: v.log,
	}
}

func (v *vaultPart) spec(program string) process.Spec {
	return process.Spec{
		Name: "vault", Dir: v.dir, Log: v.log,
		Args:   []string{program, "--dir=" + v.dir, "--port=" + strconv.Itoa(v.port), "--tls-port=" + strconv.Itoa(v.tlsPort)},
		Health: v.info().URL + "/v1/sys/health",
	}
}

// Call makes a request to Vault's API ("secret/data/x", without the leading /v1/) with the token that may do everything.
func (v VaultServer) Call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	token, err := os.ReadFile(v.TokenFile)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, v.URL+"/v1/"+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Vault-Token", strings.TrimSpace(string(token)))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		return nil, fmt.Errorf("vault: %s %s: %s: %s", method, path, answer.Status, text)
	}
	var said map[string]any
	if len(text) > 0 {
		err = json.Unmarshal(text, &said)
	}
	return said, err
}

// Vault starts a Vault for one test, which takes a second. The test is skipped where it cannot be had.
func Vault(t testing.TB) *VaultServer {
	t.Helper()
	program, err := openCache(t).Go(t.Context(), build.Vault())
	SkipMissing(t, "a Vault", err)
	dir := t.TempDir()
	part, err := newVaultPart(filepath.Join(dir, "vault"), filepath.Join(dir, "vault.log"), false)
	if err != nil {
		t.Fatal(err)
	}
	p := startForTest(t, filepath.Join(dir, "processes"), part.spec(program))
	if err := awaitHealth(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	server := part.info()
	server.PID = p.PID
	return &server
}

func (u *up) startVault(ctx context.Context) error {
	u.progress.begin("vault", "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Vault())
	if err != nil {
		return err
	}
	spec := u.vault.spec(program)
	if u.vault.container {
		u.progress.begin("vault", "its image is built")
		if spec, err = inContainer(ctx, spec); err != nil {
			return err
		}
	}
	u.progress.begin("vault", "starts")
	p, err := u.start(ctx, spec)
	if err != nil {
		return err
	}
	u.env.Vault.PID = p.PID
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.ready("vault", "ready on %s", loopback(u.vault.port))
	return nil
}
