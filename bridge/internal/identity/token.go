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

// PersonPrefix begins every token of the admin API.
const PersonPrefix = "fla_"

var (
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
	TokenByID(ctx context.Context, id string) (store.Token, bool, error)
	PutToken(ctx context.Context, t store.Token, ttlMilliseconds int64) error
	RevokeToken(ctx context.Context, id string) (found bool, err error)
	TouchTokens(ctx context.Context, ids []string) error
	RedeemToken(ctx context.Context, id string, key [32]byte, agent string) (store.Redemption, error)
}

// Identity is what somebody has proven.
type Identity struct {
	// Name says by what, for logs and the audit trail: "token 12ab34cd56ef", "certificate CN=agent".
	Name string
	// TokenID is the token behind it, if there is one.
	TokenID  string
	Patterns []string
	// Role is a person's; agents have none.
	Role Role
	// Ended is closed when the token is revoked or expires: what it opened must end. Nil: it lasts.
	Ended <-chan struct{}
	// Until is when the proof has to be given again; zero: never. It is no reason to end anything at once.
	Until time.Time
	// Recheck tells why the proof, though in time, is none any more: what it opened must end. To be asked again and again, by one goroutine; nil: nothing
	// can happen to it.
	Recheck func() error
}

// Subject tells one who proves things from another: the same for a token and every certificate that came of it.
func (i Identity) Subject() string {
	if i.TokenID != "" {
		return "token " + i.TokenID
	}
	return i.Name
}

// ID names the proof, for logs.
func (i Identity) ID() string { return i.Name }

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
	byID   map[string]*token
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
	return &Tokens{store: s, log: log, limit: rate.NewLimiter(guessesPerSecond, guessBurst), byHash: map[[32]byte]*token{}, byID: map[string]*token{}, used: map[string]bool{}}
}

// NewToken says what a token is for.
type NewToken struct {
	Patterns []string
	// TTL 0: it does not expire.
	TTL         time.Duration
	Description string
	// Uses is how many agents may enrol with it, each of which keeps its certificate; TTL is the time in which they may come first.
	// 0: any number.
	Uses int
	// Role makes it a person's.
	Role Role
}

// Check tells what is wrong with it.
func (n NewToken) Check() error {
	if n.Role == "" || n.Role == RoleAccountManager {
		if err := CheckPatterns(n.Patterns); err != nil {
			return err
		}
	} else if len(n.Patterns) > 0 {
		return fmt.Errorf("accounts: a %s has every account; leave them out", n.Role)
	}
	switch {
	case !n.Role.known() && n.Role != "":
		return fmt.Errorf("role: %q is none of %s", n.Role, Roles)
	case n.Role != "" && n.Uses != 0:
		return errors.New("uses: only tokens of agents have a number of uses")
	case n.Uses < 0 || n.Uses > maximumUses:
		return fmt.Errorf("uses: %d is not between 1 and %d; leave it out for any number of agents", n.Uses, maximumUses)
	case n.TTL < 0:
		return fmt.Errorf("ttl: %s is negative; leave it out for a token that does not expire", n.TTL)
	case len(n.Description) > maximumDescription:
		return fmt.Errorf("description: %d bytes are too many, %d are the limit", len(n.Description), maximumDescription)
	}
	return nil
}

const (
	// maximumUses bounds the list of keys of one token.
	maximumUses = 10_000
	// maximumDescription is the column's size, in bytes.
	maximumDescription = 255
)

// Create makes a token for agents of the accounts that the patterns cover, however many. ttl 0: it does not expire.
func (t *Tokens) Create(ctx context.Context, patterns []string, ttl time.Duration, description string) (id, text string, err error) {
	return t.Make(ctx, NewToken{Patterns: patterns, TTL: ttl, Description: description})
}

// Make makes a token. Its text is returned once and kept nowhere.
func (t *Tokens) Make(ctx context.Context, n NewToken) (id, text string, err error) {
	if err := n.Check(); err != nil {
		return "", "", err
	}
	return t.put(ctx, n)
}

func (t *Tokens) put(ctx context.Context, n NewToken) (id, text string, err error) {
	var random [32]byte
	var number [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", "", err
	}
	if _, err := rand.Read(number[:]); err != nil {
		return "", "", err
	}
	prefix := TokenPrefix
	if n.Role != "" {
		prefix = PersonPrefix
	}
	id, text = hex.EncodeToString(number[:]), prefix+base64.RawURLEncoding.EncodeToString(random[:])
	made := store.Token{ID: id, Hash: sha256.Sum256([]byte(text)), Patterns: n.Patterns, Description: n.Description, Uses: n.Uses, Role: string(n.Role)}
	if made.Patterns == nil {
		made.Patterns = []string{}
	}
	if err := t.store.PutToken(ctx, made, n.TTL.Milliseconds()); err != nil {
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

// Authenticate returns what an agents' token proves by itself; ErrUnauthenticated or ErrUnavailable when it proves nothing. A token for a
// number of agents proves nothing by itself: it has to be exchanged for a certificate.
func (t *Tokens) Authenticate(ctx context.Context, text string) (Identity, error) {
	found, err := t.find(ctx, text, TokenPrefix)
	if err != nil {
		return Identity{}, err
	}
	if found.Uses != 0 {
		return Identity{}, refused("the enrolment token %s is for %d agents and has to be exchanged for a certificate, which this agent does not do: give it a token that was made without --uses", found.ID, found.Uses)
	}
	return t.identity(found)
}

// Person returns what a person's token proves.
func (t *Tokens) Person(ctx context.Context, text string) (Identity, error) {
	found, err := t.find(ctx, text, PersonPrefix)
	if err != nil {
		return Identity{}, err
	}
	return t.identity(found)
}

// Redeem exchanges an agents' token: what it proves is behind a certificate for the key from now on.
func (t *Tokens) Redeem(ctx context.Context, text string, key [32]byte, kept bool, agent string) (Identity, error) {
	found, err := t.find(ctx, text, TokenPrefix)
	if err != nil {
		return Identity{}, err
	}
	if found.Uses == 0 {
		return t.identity(found)
	}
	if !kept {
		return Identity{}, &Refusal{Reason: errNotKept.Error()}
	}
	result, err := t.store.RedeemToken(ctx, found.ID, key, clip(agent, 255))
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := redemption(found.ID, result, found.Uses); err != nil {
		return Identity{}, err
	}
	return t.identity(found)
}

// Behind returns what the token of an id proves that an agent's certificate names.
func (t *Tokens) Behind(ctx context.Context, id string) (Identity, error) {
	return t.behind(ctx, id, "", "the enrolment token %s, which this certificate came of, is not there any more: make another one with \"fairlead token create --accounts PATTERN\"")
}

// behind is Behind for tokens of a role; gone words that there is none of that id.
func (t *Tokens) behind(ctx context.Context, id string, role Role, gone string) (Identity, error) {
	known, there := t.snapshot(func() *token { return t.byID[id] })
	if !there {
		if !t.limit.Allow() {
			return Identity{}, fmt.Errorf("%w: too many unknown tokens are being tried", ErrUnavailable)
		}
		found, ok, err := t.store.TokenByID(ctx, id)
		if err != nil {
			return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if !ok {
			return Identity{}, refused(gone, id)
		}
		known = t.learn([]store.Token{found}, time.Now())
	}
	if Role(known.Role) != role {
		return Identity{}, ErrUnauthenticated
	}
	return t.identity(known)
}

// find returns the token of a text.
func (t *Tokens) find(ctx context.Context, text, prefix string) (token, error) {
	if !strings.HasPrefix(text, prefix) {
		return token{}, ErrUnauthenticated
	}
	hash := sha256.Sum256([]byte(text))
	known, there := t.snapshot(func() *token { return t.byHash[hash] })
	if !there {
		if !t.limit.Allow() {
			return token{}, fmt.Errorf("%w: too many unknown tokens are being tried", ErrUnavailable)
		}
		found, ok, err := t.store.TokenByHash(ctx, hash)
		if err != nil {
			return token{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if !ok {
			return token{}, ErrUnauthenticated
		}
		known = t.learn([]store.Token{found}, time.Now())
	}
	if (known.Role == "") != (prefix == TokenPrefix) || Role(known.Role) == rolePlugin {
		return token{}, ErrUnauthenticated
	}
	return known, nil
}

// snapshot copies a token as it is now.
func (t *Tokens) snapshot(of func() *token) (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := of(); k != nil {
		return *k, true
	}
	return token{}, false
}

// identity is what a token proves now.
func (t *Tokens) identity(k token) (Identity, error) {
	switch {
	case k.Revoked != 0:
		return Identity{}, revokedToken(k.ID)
	case k.expired(time.Now()):
		return Identity{}, expiredToken(k.ID)
	case k.over:
		return Identity{}, ErrUnauthenticated // its row was deleted
	}
	t.mu.Lock()
	t.used[k.ID] = true
	t.mu.Unlock()
	return Identity{Name: "token " + k.ID, TokenID: k.ID, Patterns: k.Patterns, Role: Role(k.Role), Ended: k.ended}, nil
}

// learn takes what the database says of tokens and returns the last of them as it is now.
func (t *Tokens) learn(list []store.Token, now time.Time) (last token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, found := range list {
		k := t.byHash[found.Hash]
		if k == nil {
			k = &token{ended: make(chan struct{})}
			t.byHash[found.Hash], t.byID[found.ID] = k, k
		}
		k.Token, k.read = found, now
		if found.Expires != 0 {
			k.expires = now.Add(time.Duration(found.Remaining) * time.Millisecond)
		}
	}
	t.expire(now)
	if n := len(list); n > 0 {
		last = *t.byHash[list[n-1].Hash]
	}
	return last
}

// expired tells whether a token's time is over. One for a number of agents has a time in which they have to come, and what
// came by then goes on.
func (k token) expired(now time.Time) bool {
	return k.Uses == 0 && !k.expires.IsZero() && !now.Before(k.expires)
}

// expire ends tokens that are revoked or whose time is over. The lock is held.
func (t *Tokens) expire(now time.Time) {
	for _, k := range t.byHash {
		if !k.over && (k.Revoked != 0 || k.expired(now)) {
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
		delete(t.byID, k.ID)
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
