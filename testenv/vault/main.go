// Command vault is a real Vault server for tests, as small as it can be: in memory, unsealed, with the kv secrets engine and the
// auth methods token, userpass, approle and kubernetes.
//
//	vault --dir DIR --port N --tls-port N
//
// serves HTTP and HTTPS on 127.0.0.1. DIR/ca.pem is the certificate's issuer, DIR/root-token a token that may do everything; both are
// there before a port opens. A kv version 2 engine is mounted at secret/.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	log "github.com/hashicorp/go-hclog"
	kubeauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir := flag.String("dir", ".", "directory for ca.pem and root-token")
	host := flag.String("host", "127.0.0.1", "address to listen on")
	port := flag.Int("port", 0, "port for HTTP")
	tlsPort := flag.Int("tls-port", 0, "port for HTTPS")
	flag.Parse()
	if err := run(ctx, *dir, *host, *port, *tlsPort); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, host string, port, tlsPort int) error {
	core, root, err := open(ctx)
	if err != nil {
		return err
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})
	if err := mountSecret(handler, root); err != nil {
		return err
	}
	certificate, ca, err := makeCertificate(host)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.pem": ca, "root-token": []byte(root)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	plain, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		return err
	}
	secure, err := tls.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(tlsPort)), &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	for _, listener := range []net.Listener{plain, secure} {
		go func() { ended <- server.Serve(listener) }()
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return errors.Join(err, server.Close(), core.Shutdown())
}

// open starts a new, unsealed Vault.
func open(ctx context.Context) (*vault.Core, string, error) {
	logger := log.Default()
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, "", err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, Logger: logger, DisableMlock: true, BuiltinRegistry: registry{},
		LogicalBackends: map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{
			"userpass": userpass.Factory, "kubernetes": kubeauth.Factory, "approle": approle.Factory,
		},
	})
	if err != nil {
		return nil, "", err
	}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	if err != nil {
		return nil, "", err
	}
	for _, share := range made.SecretShares {
		if _, err := core.Unseal(share); err != nil {
			return nil, "", err
		}
	}
	return core, made.RootToken, nil
}

// mountSecret asks the server itself, before anybody else can.
func mountSecret(handler http.Handler, root string) error {
	body, err := json.Marshal(map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	request, err := http.NewRequest(http.MethodPost, "http://"+listener.Addr().String()+"/v1/sys/mounts/secret", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", root)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("mount secret/: %s", answer.Status)
	}
	return nil
}
