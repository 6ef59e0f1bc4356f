package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// TokenPrefix begins every enrolment token, so that people and secret scanners know one when they see it.
const TokenPrefix = "flt_"

var (
	// ErrUnauthenticated says that a token is missing, unknown, expired or revoked.
	ErrUnauthenticated = errors.New("the enrolment token is missing, unknown, expired or revoked: make one with \"fairlead token create --accounts PATTERN\"")
	// ErrUnavailable says that nobody knows at the moment whether a token is good.
	ErrUnavailable = errors.New("the enrolment token cannot be checked at the moment")
	// ErrNoToken says that there is no token of an id.
	ErrNoToken = errors.New("no such token")
)

const (
	// pollInterval is how soon a bridge learns of tokens that another one made or revoked.
	pollInterval = 3 * time.Second
	// Guesses ask the database; they must not be able to keep it busy.
	guessesPerSecond, guessBurst = 20, 50
)

// TokenStore is where tokens are kept (store.Store).
type TokenStore interface {
	Tokens(ctx context.Context) ([]store.Token, error)
	TokenByHash(ctx context.Context, hash [32]byte) (store.Token, bool, error)
	PutToken(ctx context.Context, t store.Token, ttlMilliseconds int64) error
	RevokeToken(ctx context.Context, id string) (found bool, err error)
	TouchTokens(ctx context.Context, ids []string) error
}

// Identity is what a token proves.
type Identity struct {
	TokenID  string
	Patterns []string
	// Ended is closed when the token is revoked or expires: what it opened must end.
	Ended <-chan struct{}
}

// ID names the proof, for logs.
func (i Identity) ID() string { return i.TokenID }

// Allows tells whether the identity may serve an account.
func (i Identity) Allows(account string) bool {
	for _, p := range i.Patterns {
		if matches(p, account) {
			return true
		}
	}
	return false
}

// Tokens knows the enrolment tokens. Those that it has seen stay good while the database is away.
type Tokens struct {
	store TokenStore
	log   *slog.Logger
	limit *rate.Limiter

	mu     sync.Mutex
	byHash map[[32]byte]*token
	used   map[string]bool // since the last poll
}

type token struct {
	store.Token

	expires time.Time // by this process's clock; zero: never
	read    time.Time // when the database was last asked about it
	ended   chan struct{}
	over    bool
}

// NewTokens returns the tokens of a store. Run keeps them up to date.
func NewTokens(s TokenStore, log *slog.Logger) *Tokens {
	return &Tokens{store: s, log: log, limit: rate.NewLimiter(guessesPerSecond, guessBurst), byHash: map[[32]byte]*token{}, used: map[string]bool{}}
}

// Create makes a token for the accounts that the patterns cover. Its text is returned once and kept nowhere. ttl 0: it does not expire.
func (t *Tokens) Create(ctx context.Context, patterns []string, ttl time.Duration, description string) (id, text string, err error) {
	if err := CheckPatterns(patterns); err != nil {
		return "", "", err
	}
	if ttl < 0 || len(description) > 255 {
		return "", "", errors.New("ttl must not be negative, description at most 255 bytes long")
	}
	var random [32]byte
	var number [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", "", err
	}
	if _, err := rand.Read(number[:]); err != nil {
		return "", "", err
	}
	id, text = hex.EncodeToString(number[:]), TokenPrefix+base64.RawURLEncoding.EncodeToString(random[:])
	if err := t.store.PutToken(ctx, store.Token{ID: id, Hash: sha256.Sum256([]byte(text)), Patterns: patterns, Description: description}, ttl.Milliseconds()); err != nil {
		return "", "", err
	}
	return id, text, nil
}

// List returns all tokens, oldest first.
func (t *Tokens) List(ctx context.Context) ([]store.Token, error) { return t.store.Tokens(ctx) }

// Revoke ends a token and what it opened; other bridges follow within seconds.
func (t *Tokens) Revoke(ctx context.Context, id string) error {
	found, err := t.store.RevokeToken(ctx, id)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("token %q: %w", id, ErrNoToken)
	}
	return t.refresh(ctx)
}

// Authenticate returns what a token proves; ErrUnauthenticated or ErrUnavailable when it proves nothing.
func (t *Tokens) Authenticate(ctx context.Context, text string) (Identity, error) {
	if !strings.HasPrefix(text, TokenPrefix) {
		return Identity{}, ErrUnauthenticated
	}
	hash := sha256.Sum256([]byte(text))
	now := time.Now()
	if identity, known := t.known(hash, now); known {
		return identity, nil
	}
	if !t.limit.Allow() {
		return Identity{}, fmt.Errorf("%w: too many unknown tokens are being tried", ErrUnavailable)
	}
	found, ok, err := t.store.TokenByHash(ctx, hash)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !ok {
		return Identity{}, ErrUnauthenticated
	}
	t.learn([]store.Token{found}, now)
	if identity, known := t.known(hash, now); known {
		return identity, nil
	}
	return Identity{}, ErrUnauthenticated
}

func (t *Tokens) known(hash [32]byte, now time.Time) (Identity, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.byHash[hash]
	if k == nil || k.over || !k.expires.IsZero() && !now.Before(k.expires) {
		return Identity{}, false
	}
	t.used[k.ID] = true
	return Identity{TokenID: k.ID, Patterns: k.Patterns, Ended: k.ended}, true
}

// learn takes what the database says of tokens.
func (t *Tokens) learn(list []store.Token, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, found := range list {
		k := t.byHash[found.Hash]
		if k == nil {
			k = &token{ended: make(chan struct{})}
			t.byHash[found.Hash] = k
		}
		k.Token, k.read = found, now
		if found.Expires != 0 {
			k.expires = now.Add(time.Duration(found.Remaining) * time.Millisecond)
		}
	}
	t.expire(now)
}

// expire ends tokens that are revoked or whose time is over. The lock is held.
func (t *Tokens) expire(now time.Time) {
	for _, k := range t.byHash {
		if !k.over && (k.Revoked != 0 || !k.expires.IsZero() && !now.Before(k.expires)) {
			k.over = true
			close(k.ended)
		}
	}
}

// refresh reads all tokens.
func (t *Tokens) refresh(ctx context.Context) error {
	began := time.Now()
	list, err := t.store.Tokens(ctx)
	if err != nil {
		return err
	}
	t.learn(list, time.Now())
	t.forget(list, began)
	return nil
}

// forget ends tokens whose row somebody deleted: they are not in a list that was read after them.
func (t *Tokens) forget(list []store.Token, began time.Time) {
	there := make(map[[32]byte]bool, len(list))
	for _, k := range list {
		there[k.Hash] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, k := range t.byHash {
		if there[hash] || k.read.After(began) {
			continue
		}
		if !k.over {
			k.over = true
			close(k.ended)
		}
		delete(t.byHash, hash)
	}
}

// Run follows what other bridges do with tokens, and notes which were used, until ctx ends.
func (t *Tokens) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if err := t.poll(ctx); err != nil && ctx.Err() == nil {
			t.log.Debug("tokens could not be read", "error", err)
			// Without the database, time goes on.
			t.mu.Lock()
			t.expire(time.Now())
			t.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (t *Tokens) poll(ctx context.Context) error {
	if err := t.refresh(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	ids := make([]string, 0, len(t.used))
	for id := range t.used {
		ids = append(ids, id)
	}
	clear(t.used)
	t.mu.Unlock()
	return t.store.TouchTokens(ctx, ids)
}
