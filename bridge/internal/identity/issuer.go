package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

// TokenRule says what certain tokens of an OIDC issuer prove: a Kubernetes API server's for service accounts, or an identity provider's
// for people.
type TokenRule struct {
	// Issuer and Audience are what tokens must carry.
	Issuer, Audience string
	// The issuer's keys: one of a file, their text, an address; none of them: discovered at the issuer.
	JWKSFile, JWKS, JWKSURL string
	// CAFile is whom to trust when keys are fetched; "": the system's CAs. TokenFile is a token to show then.
	CAFile, TokenFile string
	// Claim is looked at, "sub" if it is empty; one of its values must fit one of the patterns.
	Claim  string
	Values []string
	// Accounts and Role are what is proven.
	Accounts []string
	Role     Role
}

// Check tells what is wrong with a rule.
func (r *TokenRule) Check() error {
	if u, err := url.Parse(r.Issuer); err != nil || r.Issuer == "" || u.Scheme == "" {
		return fmt.Errorf("issuer: %q is not the address that tokens carry as \"iss\"", r.Issuer)
	}
	if r.Audience == "" {
		return errors.New("audience: is not set; without it a token made for another service would be taken here")
	}
	given := 0
	for _, s := range []string{r.JWKSFile, r.JWKS, r.JWKSURL} {
		if s != "" {
			given++
		}
	}
	if given > 1 {
		return errors.New("jwks, jwksFile, jwksURL: give one of them")
	}
	if len(r.Values) == 0 {
		return errors.New("nothing says whose tokens it is about; \"*\" is everybody whom the issuer knows")
	}
	if r.Role != "" && !r.Role.known() {
		return fmt.Errorf("role: %q is none of %s", r.Role, Roles)
	}
	if r.Role == RoleViewer || r.Role == RoleOperator {
		if len(r.Accounts) > 0 {
			return fmt.Errorf("accounts: a %s has every account; leave them out", r.Role)
		}
		return nil
	}
	return CheckPatterns(r.Accounts)
}

// Issuers verifies tokens by rules.
type Issuers struct {
	rules []*tokenRule
	// What nobody has verified yet costs work.
	limit *rate.Limiter
}

type tokenRule struct {
	TokenRule

	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	tried    time.Time
	failed   error
}

// NewIssuers checks the rules and reads the keys that are given; those that have to be fetched are when they are first needed, so that an
// issuer that is away delays nothing.
func NewIssuers(rules []TokenRule) (*Issuers, error) {
	s := &Issuers{limit: rate.NewLimiter(guessesPerSecond, guessBurst)}
	for i, r := range rules {
		made, err := newTokenRule(r)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		s.rules = append(s.rules, made)
	}
	return s, nil
}

func newTokenRule(r TokenRule) (*tokenRule, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	made := &tokenRule{TokenRule: r}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: fetchTimeout, IdleConnTimeout: time.Minute}
	if r.CAFile != "" {
		content, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("caFile: %s: no PEM certificate in it", r.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	made.client = &http.Client{Transport: &bearerTransport{file: r.TokenFile, next: transport}, Timeout: fetchTimeout,
		// The token must not follow to wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch {
	case r.JWKS != "":
		keys, err := parseKeys([]byte(r.JWKS))
		if err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
		made.verifier = made.verify(fixedKeys{keys})
	case r.JWKSFile != "":
		keys := &fileKeys{name: r.JWKSFile}
		if _, err := keys.get(); err != nil {
			return nil, fmt.Errorf("jwksFile: %w", err)
		}
		made.verifier = made.verify(keys)
	case r.JWKSURL != "":
		made.verifier = made.verify(oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), made.client), r.JWKSURL))
	}
	return made, nil
}

const (
	fetchTimeout = 10 * time.Second
	// discoverEvery is how often an issuer that does not answer is asked.
	discoverEvery = 5 * time.Second
)

// algorithms are those with public keys that Kubernetes and identity providers use.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

func (r *tokenRule) verify(keys oidc.KeySet) *oidc.IDTokenVerifier {
	return oidc.NewVerifier(r.Issuer, keys, &oidc.Config{ClientID: r.Audience, SupportedSigningAlgs: algorithms})
}

// ready returns the verifier; where keys have to be discovered, it asks the issuer.
func (r *tokenRule) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verifier != nil {
		return r.verifier, nil
	}
	if r.failed != nil && time.Since(r.tried) < discoverEvery {
		return nil, r.failed
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, r.client), r.Issuer)
	r.tried, r.failed = time.Now(), err
	if err != nil {
		return nil, err
	}
	r.verifier = provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), r.client), &oidc.Config{ClientID: r.Audience, SupportedSigningAlgs: algorithms})
	return r.verifier, nil
}

// Identify returns what a token proves.
func (s *Issuers) Identify(ctx context.Context, token string) (Identity, error) {
	issuer, audiences, subject := glance(token)
	if !s.limit.Allow() {
		return Identity{}, fmt.Errorf("%w: too many tokens are being tried", ErrUnavailable)
	}
	var id Identity
	known, unfit := false, error(nil)
	for _, r := range s.rules {
		if r.Issuer != issuer {
			continue
		}
		known = true
		verifier, err := r.ready(ctx)
		if err != nil {
			return Identity{}, fmt.Errorf("%w: the keys of issuer %s cannot be fetched: %w", ErrUnavailable, issuer, err)
		}
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			unfit = r.explain(err, audiences)
			continue
		}
		if r.fits(verified) {
			id.Name, id.Until = "subject "+clip(verified.Subject, 200), verified.Expiry
			id.Patterns = append(id.Patterns, r.Accounts...)
			id.Role = higher(id.Role, r.Role)
		}
	}
	switch {
	case id.Name != "":
		return id, nil
	case unfit != nil:
		return Identity{}, unfit
	case known:
		return Identity{}, refused("no rule is about tokens of issuer %s with subject %s", issuer, clip(subject, 200))
	}
	return Identity{}, refused("tokens of issuer %q are not known here", clip(issuer, 200))
}

// higher is the role that may more.
func higher(a, b Role) Role {
	rank := map[Role]int{RoleViewer: 1, RoleAccountManager: 2, RoleOperator: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

func (r *tokenRule) explain(err error, audiences []string) error {
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return refused("the token of issuer %s has expired at %s, and this bridge's clock says %s: the file that it is read from is not renewed, or a clock is wrong", r.Issuer, stamp(expired.Expiry), stamp(time.Now()))
	case strings.Contains(err.Error(), "audience"):
		return refused("the token of issuer %s is for audience %s, the rule wants %q: set the audience of the projected token", r.Issuer, strings.Join(audiences, ", "), r.Audience)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), strings.Contains(err.Error(), "fetching keys"):
		return fmt.Errorf("%w: the keys of issuer %s cannot be fetched: %w", ErrUnavailable, r.Issuer, err)
	}
	return refused("the token of issuer %s is not good: its signature is by none of the issuer's keys, or it is damaged", r.Issuer)
}

// fits tells whether a claim of a verified token is one that the rule is about.
func (r *tokenRule) fits(token *oidc.IDToken) bool {
	values := []string{token.Subject}
	if r.Claim != "" && r.Claim != "sub" {
		var claims map[string]any
		if token.Claims(&claims) != nil {
			return false
		}
		values = nil
		switch v := claims[r.Claim].(type) {
		case string:
			values = []string{v}
		case []any:
			for _, item := range v {
				if s, ok := item.(string); ok {
					values = append(values, s)
				}
			}
		}
	}
	return fits(r.Values, values)
}

// glance reads what a token says of itself. Nothing is trusted by that: it chooses the rule and words refusals.
func glance(token string) (issuer string, audiences []string, subject string) {
	parsed, err := jose.ParseSigned(token, joseAlgorithms())
	if err != nil {
		return "", nil, ""
	}
	var claims struct {
		Issuer   string          `json:"iss"`
		Subject  string          `json:"sub"`
		Audience json.RawMessage `json:"aud"`
	}
	if json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &claims) != nil {
		return "", nil, ""
	}
	if json.Unmarshal(claims.Audience, &audiences) != nil {
		var one string
		_ = json.Unmarshal(claims.Audience, &one) // "" then
		audiences = []string{one}
	}
	return claims.Issuer, audiences, claims.Subject
}

func joseAlgorithms() []jose.SignatureAlgorithm {
	list := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for _, a := range algorithms {
		list = append(list, jose.SignatureAlgorithm(a))
	}
	return list
}

// fixedKeys are keys that were given.
type fixedKeys struct{ keys *jose.JSONWebKeySet }

// VerifySignature implements oidc.KeySet.
func (k fixedKeys) VerifySignature(_ context.Context, token string) ([]byte, error) {
	parsed, err := jose.ParseSigned(token, joseAlgorithms())
	if err != nil {
		return nil, errors.New("malformed")
	}
	for _, key := range k.keys.Keys {
		if id := parsed.Signatures[0].Header.KeyID; id != "" && key.KeyID != "" && id != key.KeyID {
			continue
		}
		if payload, err := parsed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key verifies it")
}

// fileKeys are read again when their file changes.
type fileKeys struct {
	name string

	mu   sync.Mutex
	seen os.FileInfo
	keys *jose.JSONWebKeySet
}

// VerifySignature implements oidc.KeySet.
func (k *fileKeys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	keys, err := k.get()
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	return fixedKeys{keys}.VerifySignature(ctx, token)
}

// get returns the file's keys; while it makes no sense, those that it held before.
func (k *fileKeys) get() (*jose.JSONWebKeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.name)
	if err == nil && k.keys != nil && os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime()) && info.Size() == k.seen.Size() {
		return k.keys, nil
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(k.name)
	}
	var keys *jose.JSONWebKeySet
	if err == nil {
		keys, err = parseKeys(content)
	}
	if err != nil {
		if k.keys != nil {
			return k.keys, nil
		}
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	k.keys, k.seen = keys, info
	return keys, nil
}

func parseKeys(content []byte) (*jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(content, &set); err != nil {
		return nil, errors.New("is not a JSON Web Key Set, as \"kubectl get --raw /openid/v1/jwks\" prints it")
	}
	// Only what verifies: a symmetric key in a file that is not secret would let everybody sign.
	kept := set.Keys[:0]
	for _, key := range set.Keys {
		if key.IsPublic() && key.Valid() {
			kept = append(kept, key)
		}
	}
	if set.Keys = kept; len(kept) == 0 {
		return nil, errors.New("holds no public key")
	}
	return &set, nil
}

// bearerTransport shows a token that is read from a file each time.
type bearerTransport struct {
	file string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.file != "" {
		content, err := os.ReadFile(b.file)
		if err != nil {
			return nil, fmt.Errorf("tokenFile: %w", err)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(content)))
	}
	return b.next.RoundTrip(r)
}
