package testenv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv/internal/process"
	"go.yaml.in/yaml/v3"
)

// bridgePart is what a bridge is started with.
type bridgePart struct {
	n                             int
	name, dir, log, keyFile       string
	agents, plugin, admin, metric int // ports
	database                      *mariadb
	configure                     func(config map[string]any) // has the last word on the configuration; may be nil
	up                            *later[Bridge]              // its process runs
	ok                            *later[Bridge]              // it is ready
}

func newBridgePart(name, dir, log string, database *mariadb) (*bridgePart, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	return &bridgePart{
		name: name, dir: dir, log: log, keyFile: filepath.Join(dir, "key"), database: database, up: newLater[Bridge](), ok: newLater[Bridge](),
		agents: ports[0], plugin: ports[1], admin: ports[2], metric: ports[3],
	}, nil
}

func (b *bridgePart) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bridgePart) info() Bridge {
	return Bridge{
		Admin: "http://" + loopback(b.admin), Agents: loopback(b.agents), Plugin: "http://" + loopback(b.plugin),
		PluginSecretFile: b.file("plugin-secret"), AdminTokenFile: b.file("admin-token"), CAFile: b.file("ca.pem"), Log: b.log,
	}
}

// config is fairlead-bridge.yml.
func (b *bridgePart) config() map[string]any {
	return map[string]any{
		"name":     b.name,
		"keyFile":  b.keyFile,
		"database": map[string]any{"dsn": b.database.dsn(bridgeUser)},
		"agents":   map[string]any{"address": loopback(b.agents)},
		"peers":    map[string]any{"address": "127.0.0.1:0"},
		"plugin":   map[string]any{"address": loopback(b.plugin), "secretFile": b.file("plugin-secret")},
		"admin":    map[string]any{"address": loopback(b.admin), "tokenFile": b.file("admin-token")},
		"metrics":  map[string]any{"address": loopback(b.metric)},
		"log":      map[string]any{"level": "info", "format": "text"},
	}
}

// install writes the configuration and the secrets that an install path would have made.
func (b *bridgePart) install(program string) (process.Spec, error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return process.Spec{}, err
	}
	settings := b.config()
	if b.configure != nil {
		b.configure(settings)
	}
	config, err := yaml.Marshal(settings)
	if err != nil {
		return process.Spec{}, err
	}
	key, secret, token := make([]byte, 32), make([]byte, 32), make([]byte, 32)
	for _, random := range [][]byte{key, secret, token} {
		if _, err := rand.Read(random); err != nil {
			return process.Spec{}, err
		}
	}
	files := map[string]string{
		"fairlead-bridge.yml": string(config),
		"plugin-secret":       hex.EncodeToString(secret),
		"admin-token":         hex.EncodeToString(token),
	}
	if b.keyFile == b.file("key") {
		files["key"] = base64.StdEncoding.EncodeToString(key)
	}
	for name, content := range files {
		if err := os.WriteFile(b.file(name), []byte(content), 0o600); err != nil {
			return process.Spec{}, err
		}
	}
	return process.Spec{
		Name: b.name, Dir: b.dir, Log: b.log,
		Args:   []string{program, "--config", b.file("fairlead-bridge.yml")},
		Health: b.info().Admin + "/readyz",
	}, nil
}

// AdminClient is a client of the bridge's admin API, with the operator's token.
func (b Bridge) AdminClient() (adminv1connect.AdminServiceClient, error) {
	token, err := os.ReadFile(b.AdminTokenFile)
	if err != nil {
		return nil, err
	}
	bearer := "Bearer " + strings.TrimSpace(string(token))
	authorize := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			request.Header().Set("Authorization", bearer)
			return next(ctx, request)
		}
	})
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, b.Admin, connect.WithInterceptors(authorize)), nil
}

// enrol makes an enrolment token for an agent's accounts and writes the CA to the bridge's caFile; it returns token and pin.
func enrol(ctx context.Context, bridge Bridge, accounts []string) (token, pin string, err error) {
	client, err := bridge.AdminClient()
	if err != nil {
		return "", "", err
	}
	answer, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{
		Accounts: accounts, Description: fmt.Sprintf("test environment, %d accounts from %s on", len(accounts), accounts[0]),
	}))
	if err != nil {
		return "", "", fmt.Errorf("bridge at %s: make an enrolment token: %w", bridge.Admin, err)
	}
	ca, err := fetchCA(ctx, bridge.Agents, answer.Msg.GetCaPin())
	if err != nil {
		return "", "", fmt.Errorf("bridge's endpoint for agents: %w", err)
	}
	return answer.Msg.GetToken(), answer.Msg.GetCaPin(), os.WriteFile(bridge.CAFile, ca, 0o644)
}

// fetchCA asks a TLS endpoint for its certificates and returns, as PEM, the one whose public key has the given pin
// ("sha256:…").
func fetchCA(ctx context.Context, address, pin string) ([]byte, error) {
	var ca []byte
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		// Nothing is trusted here: the pin, which came another way, decides.
		InsecureSkipVerify: true,
		NextProtos:         []string{"h2"},
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, certificate := range state.PeerCertificates {
				if sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo); "sha256:"+hex.EncodeToString(sum[:]) == pin {
					ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
					return nil
				}
			}
			return errors.New("it shows no certificate with the pin " + pin)
		},
	}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return ca, connection.Close()
}

// agentPart is what an agent is started with.
type agentPart struct {
	name, dir, log string
	port, metric   int
	bridge         string // HOST:PORT
	account        string
	configure      func(config map[string]any) // has the last word on the configuration; may be nil
}

func (a *agentPart) file(name string) string { return filepath.Join(a.dir, name) }

func (a *agentPart) admin() string { return "http://" + loopback(a.port) }

// config is armory-agent.yml.
func (a *agentPart) config(pin string) map[string]any {
	config := map[string]any{
		"clouddriver": map[string]any{
			"grpc": a.bridge, "insecure": false,
			"auth": map[string]any{"tokenFile": a.file("token")},
			"tls":  map[string]any{"pin": pin},
		},
		"kubernetes": map[string]any{"accounts": []any{
			map[string]any{"name": a.account, "kubeconfigFile": a.file("kubeconfig")},
		}},
		"server":     map[string]any{"host": "127.0.0.1", "port": a.port},
		"prometheus": map[string]any{"enabled": true, "port": a.metric},
		"logging":    map[string]any{"level": "info", "format": "text"},
	}
	if a.configure != nil {
		a.configure(config)
	}
	return config
}

// accounts are the names of the accounts in the configuration.
func (a *agentPart) accounts() []string {
	var names []string
	for _, account := range a.config("")["kubernetes"].(map[string]any)["accounts"].([]any) {
		names = append(names, account.(map[string]any)["name"].(string))
	}
	return names
}

// install writes the configuration, the enrolment token and the kubeconfig, all of them in the agent's own directory.
func (a *agentPart) install(program, token, pin string, kubeconfig []byte) (process.Spec, error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return process.Spec{}, err
	}
	config, err := yaml.Marshal(a.config(pin))
	if err != nil {
		return process.Spec{}, err
	}
	for name, content := range map[string][]byte{
		"armory-agent.yml": config, "token": []byte(token), "kubeconfig": kubeconfig,
	} {
		if err := os.WriteFile(a.file(name), content, 0o600); err != nil {
			return process.Spec{}, err
		}
	}
	return process.Spec{
		Name: a.name, Dir: a.dir, Log: a.log,
		Args:   []string{program, "--config", a.file("armory-agent.yml")},
		Health: a.admin() + "/readyz",
	}, nil
}
