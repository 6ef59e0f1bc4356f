package secrets

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// Vault says where Vault is and how the agent proves itself there.
type Vault struct {
	URL string
	// Namespace is Vault Enterprise's and HCP's; "" elsewhere.
	Namespace string
	TLS       VaultTLS
	// NoProxy ignores HTTPS_PROXY.
	NoProxy bool
	// Login gets a token.
	Login Login
}

// VaultTLS says how Vault is recognised.
type VaultTLS struct {
	CAFile, ServerName string
	CertFile, KeyFile  string
	InsecureSkipVerify bool
}

// vaultClient reads kv secrets. Its token is fetched when it is needed first, and kept.
type vaultClient struct {
	api   *api.Client
	login Login
	// logging is held (one token) while a token is fetched or renewed.
	logging chan struct{}
	// renewed tells keep that there is another token.
	renewed chan struct{}

	mu    sync.Mutex
	token token
	// versions of the kv engines, by mount.
	versions map[string]int
}

// token is a token of Vault's.
type token struct {
	value string
	// renew is when to renew it, or to fetch another one; zero: it lives for ever. expires is when it ends.
	renew, expires time.Time
	renewable      bool
}

// retryLogin is the pause of keep after a failure.
const retryLogin = 10 * time.Second

func newVaultClient(v Vault) (*vaultClient, error) {
	address, err := url.Parse(v.URL)
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
		return nil, fmt.Errorf("secrets.vault.url: %q: want https://HOST:PORT", v.URL)
	}
	if err := v.Login.check(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	}
	if v.NoProxy {
		transport.Proxy = nil
	}
	config := &api.Config{Address: v.URL, HttpClient: &http.Client{Transport: transport}, Timeout: requestLimit, MaxRetries: 1, DisableRedirects: false}
	if err := config.ConfigureTLS(&api.TLSConfig{CACert: v.TLS.CAFile, TLSServerName: v.TLS.ServerName, ClientCert: v.TLS.CertFile,
		ClientKey: v.TLS.KeyFile, Insecure: v.TLS.InsecureSkipVerify}); err != nil {
		return nil, fmt.Errorf("secrets.vault: TLS: %w", err)
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("secrets.vault: %w", err)
	}
	client.ClearToken() // whatever the environment says: the configuration decides
	client.SetNamespace(v.Namespace)
	return &vaultClient{api: client, login: v.Login, logging: make(chan struct{}, 1), renewed: make(chan struct{}, 1), versions: map[string]int{}}, nil
}

// read returns the value of a key of a kv secret. A token that is refused is fetched anew, once.
func (c *vaultClient) read(ctx context.Context, mount, secret, key string) (string, error) {
	used, err := c.present(ctx)
	if err != nil {
		return "", err
	}
	data, err := c.data(ctx, used, mount, secret)
	if refused(err) {
		c.forget(used)
		if used, err = c.present(ctx); err != nil {
			return "", err
		}
		data, err = c.data(ctx, used, mount, secret)
	}
	if err != nil {
		c.mu.Lock()
		delete(c.versions, mount) // it may have been replaced by an engine of the other version
		c.mu.Unlock()
		return "", plain(err)
	}
	value, ok := data[key]
	if !ok {
		return "", fmt.Errorf("key %s: %w", key, ErrNotFound)
	}
	content, err := text(value, key)
	return string(content), err
}

// data reads a kv secret of either version.
func (c *vaultClient) data(ctx context.Context, t token, mount, secret string) (map[string]any, error) {
	client, err := c.as(t)
	if err != nil {
		return nil, err
	}
	version, err := c.version(ctx, client, mount)
	if err != nil {
		return nil, err
	}
	if version == 2 {
		// A path as the HTTP API has it is understood too.
		read, err := client.KVv2(mount).Get(ctx, strings.TrimPrefix(secret, "data/"))
		if errors.Is(err, api.ErrSecretNotFound) || err == nil && read.Data == nil {
			return nil, ErrNotFound // deleted versions have no data
		}
		if err != nil {
			return nil, err
		}
		return read.Data, nil
	}
	read, err := client.KVv1(mount).Get(ctx, secret)
	if errors.Is(err, api.ErrSecretNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return read.Data, nil
}

// version asks which version a kv engine has, as Vault's own command line does: whoever may read below the mount may ask.
func (c *vaultClient) version(ctx context.Context, client *api.Client, mount string) (int, error) {
	c.mu.Lock()
	known := c.versions[mount]
	c.mu.Unlock()
	if known != 0 {
		return known, nil
	}
	answer, err := client.Logical().ReadWithContext(ctx, path.Join("sys/internal/ui/mounts", mount))
	if err != nil {
		return 0, err
	}
	version := 1
	if answer != nil {
		if options, ok := answer.Data["options"].(map[string]any); ok && options["version"] == "2" {
			version = 2
		}
	}
	c.mu.Lock()
	c.versions[mount] = version
	c.mu.Unlock()
	return version, nil
}

// as returns a client that uses the token.
func (c *vaultClient) as(t token) (*api.Client, error) {
	client, err := c.api.CloneWithHeaders()
	if err != nil {
		return nil, err
	}
	client.SetToken(t.value)
	return client, nil
}

// present returns the token, and fetches one if there is none that is valid.
func (c *vaultClient) present(ctx context.Context) (token, error) {
	if t, ok := c.valid(); ok {
		return t, nil
	}
	select {
	case c.logging <- struct{}{}:
		defer func() { <-c.logging }()
	case <-ctx.Done():
		return token{}, ctx.Err()
	}
	if t, ok := c.valid(); ok {
		return t, nil // somebody else was here
	}
	return c.fetch(ctx)
}

func (c *vaultClient) valid() (token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token, c.token.value != "" && (c.token.expires.IsZero() || time.Now().Before(c.token.expires))
}

func (c *vaultClient) forget(t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.value == t.value {
		c.token = token{}
	}
}

// fetch logs in. The caller holds logging.
func (c *vaultClient) fetch(ctx context.Context) (token, error) {
	client, err := c.as(token{})
	if err != nil {
		return token{}, err
	}
	asked := time.Now()
	secret, err := c.login.do(ctx, client)
	if err != nil {
		return token{}, fmt.Errorf("log in to Vault (%s): %w", c.login.Method, plain(err))
	}
	return c.keepToken(asked, secret.ClientToken, secret.LeaseDuration, secret.Renewable), nil
}

// keepToken remembers a token. It is renewed after half of its life.
func (c *vaultClient) keepToken(asked time.Time, value string, seconds int, renewable bool) token {
	t := token{value: value, renewable: renewable}
	if life := time.Duration(seconds) * time.Second; life > 0 {
		t.renew, t.expires = asked.Add(life/2), asked.Add(life)
	}
	c.mu.Lock()
	c.token = t
	c.mu.Unlock()
	select {
	case c.renewed <- struct{}{}:
	default:
	}
	return t
}

// keep renews the token after half of its life, and fetches another one where that is not possible, until ctx ends.
func (c *vaultClient) keep(ctx context.Context) {
	for {
		c.mu.Lock()
		due := c.token.renew
		c.mu.Unlock()
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return
		case <-c.renewed:
			continue
		case <-timer:
		}
		if c.extend(ctx) == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryLogin):
		}
	}
}

// extend makes the token live longer: by renewal, else by logging in again.
func (c *vaultClient) extend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	select {
	case c.logging <- struct{}{}:
		defer func() { <-c.logging }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	t := c.token
	c.mu.Unlock()
	if t.value == "" || t.renew.IsZero() || time.Now().Before(t.renew) {
		return nil // it was forgotten or replaced meanwhile
	}
	if t.renewable {
		client, err := c.as(t)
		if err != nil {
			return err
		}
		asked := time.Now()
		renewed, err := client.Auth().Token().RenewSelfWithContext(ctx, 0)
		// At its maximum life Vault grants what is left: less than before, so that half of it would come sooner and sooner.
		if err == nil && renewed.Auth != nil && (asked.Add(time.Duration(renewed.Auth.LeaseDuration) * time.Second)).After(t.expires.Add(time.Second)) {
			c.keepToken(asked, t.value, renewed.Auth.LeaseDuration, renewed.Auth.Renewable)
			return nil
		}
	}
	_, err := c.fetch(ctx)
	return err
}

// refused tells that Vault does not take the token.
func refused(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden
}

// plain words Vault's answer in one line.
func plain(err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	text := strings.Join(answer.Errors, "; ")
	if text == "" {
		text = http.StatusText(answer.StatusCode)
	}
	return fmt.Errorf("vault answers %d: %s", answer.StatusCode, strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
}

// decode reads what a token's lookup says.
func decode(data map[string]any) (ttl int, renewable bool) {
	if n, ok := data["ttl"].(json.Number); ok {
		seconds, _ := n.Int64()
		ttl = int(seconds)
	}
	renewable, _ = data["renewable"].(bool)
	return ttl, renewable
}
