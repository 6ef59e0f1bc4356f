package link

import (
	"errors"
	"math/rand/v2"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Records is what an agent knows of one account: keys, hashes and links of all objects, not the objects.
// It must be guarded by the same lock as the Agent. cats.Inventory is one.
type Records interface {
	// Groups lists the groups that have items.
	Groups() []*linkv1.Group
	// Digest is the group's count and XOR, as in linkv1.Digest.
	Digest(group *linkv1.Group) (count, xor uint64)
	// Page lists at most limit entries above the key, in byte order of the keys.
	Page(group *linkv1.Group, after string, limit int) []*linkv1.Entry
	// Change rebuilds the put of an item; false if it is not there or its body is not kept.
	Change(group *linkv1.Group, key string) (*linkv1.Change, bool)
}

// Served is an account with its records.
type Served struct {
	Account *linkv1.Account
	Records Records
}

// AgentConfig is what an Agent is made of. Zero limits take the defaults that are named beside them.
type AgentConfig struct {
	// Agent names this process; Instance is random and new for each start.
	Agent *linkv1.Agent
	// Format is cats.Format.
	Format uint32
	// Capability and MinimumCapability default to Current and Oldest.
	Capability, MinimumCapability Capability
	// Rand spreads checks. It need not be secret.
	Rand *rand.Rand

	// OutboxBytes (8 MiB) and OutboxChanges (50,000) bound what one account has unsent or unacknowledged, TotalBytes (8 MiB) what all have
	// together; each may have ShareBytes (128 KiB) whatever the others have, so that one whose bridge does not take its inventory stops nobody else.
	OutboxBytes, OutboxChanges, TotalBytes, ShareBytes int
	// BatchBytes (256 KiB) and BatchChanges (1,000) end a batch; a change set is never cut for them.
	BatchBytes, BatchChanges int
	// PageEntries (1,000) is the size of a snapshot's pages, FetchKeys (200) of a Fetch.
	PageEntries, FetchKeys int
	// CheckInterval (5 min) is how often an agreed group is compared again, ±50 %, unless the bridge says another one; CheckIntervals are
	// shorter ones by type (by default 10 s for "applications", whose rows Clouddriver's own eviction deletes across accounts).
	CheckInterval  time.Duration
	CheckIntervals map[string]time.Duration
	// Logical types ("applications", "clusters") have rows that follow from objects of all kinds. They are complete only when every kind is.
	// When LogicalWait (1 min) has gone by without another kind becoming so, what is known of them is sent: one kind that cannot be listed does
	// not keep them away.
	Logical     []string
	LogicalWait time.Duration
	// SurveyWait (5 s) is how long an account's first listing waits for the bridge to say which groups are empty in the tables.
	SurveyWait time.Duration
	// WelcomeWait (10 s) is how long a bridge may take to answer Hello.
	WelcomeWait time.Duration

	Ledger LedgerConfig
}

// maxSetBytes is what a change set may have beside its largest item: what one event or the end of a listing changes is cut there, and sets
// that share items stay apart. Together with BatchBytes it keeps frames below 1 MiB, but for the body of an object that is itself as large.
const maxSetBytes = 512 << 10

// maxBackoff is the longest wait after giving a group up.
const maxBackoff = time.Hour

func (c *AgentConfig) complete() error {
	switch {
	case c.Agent.GetInstance() == "":
		return errors.New("link: agent: Agent.Instance is empty; give each process start its own random one")
	case c.Rand == nil:
		return errors.New("link: agent: Rand is missing")
	}
	setDefault(&c.Capability, Current)
	setDefault(&c.MinimumCapability, Oldest)
	setDefault(&c.OutboxBytes, 8<<20)
	setDefault(&c.OutboxChanges, 50_000)
	setDefault(&c.TotalBytes, 8<<20)
	setDefault(&c.ShareBytes, 128<<10)
	setDefault(&c.BatchBytes, 256<<10)
	setDefault(&c.BatchChanges, 1_000)
	setDefault(&c.PageEntries, 1_000)
	setDefault(&c.FetchKeys, 200)
	setDefault(&c.CheckInterval, 5*time.Minute)
	if c.CheckIntervals == nil {
		c.CheckIntervals = map[string]time.Duration{"applications": 10 * time.Second}
	}
	if c.Logical == nil {
		c.Logical = []string{"applications", "clusters"}
	}
	setDefault(&c.LogicalWait, time.Minute)
	setDefault(&c.SurveyWait, 5*time.Second)
	setDefault(&c.WelcomeWait, 10*time.Second)
	c.Ledger.complete()
	return nil
}

func setDefault[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// Agent is an agent process's end of the link. Its zero value is not usable; see NewAgent.
type Agent struct {
	cfg AgentConfig
	now time.Time

	accounts map[string]*agentAccount
	order    []*agentAccount
	// epochs are the last ones of accounts that left: if one comes back, no epoch may come up again for this process.
	epochs map[string]uint64
	// removed accounts are told to bridges until one has answered.
	removed []string
	// bytes is the sum of all outboxes; ready holds the accounts that may have a frame to send.
	bytes int
	ready queue[*agentAccount]

	session *agentSession
	leaving string
	ledger  ledger
	actions queue[Action]
}

// NewAgent checks the configuration and returns an agent without accounts and without a session.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, accounts: make(map[string]*agentAccount), epochs: make(map[string]uint64)}
	a.ledger = newLedger(cfg.Ledger, func(action Action) { a.actions.push(action) })
	return a, nil
}

// NextAction returns the oldest action that is due, nil when there is none.
func (a *Agent) NextAction() Action {
	action, _ := a.actions.pop()
	return action
}

func (a *Agent) act(action Action) { a.actions.push(action) }

// tell keeps the latest reading of the clock; an older one (inputs may race for the shell's lock) changes nothing.
func (a *Agent) tell(now time.Time) {
	if now.After(a.now) {
		a.now = now
	}
}

// Tick tells the time; call it once a second or so.
func (a *Agent) Tick(now time.Time) {
	a.tell(now)
	a.ledger.tick(a.now)
	for _, acc := range a.order {
		acc.tick(a)
	}
	a.tickSession()
}

// SetAccounts replaces the accounts that the agent serves. What an account had before stays if its Records are the same.
// Removed names accounts that a person took out of the configuration: they leave Clouddriver.
func (a *Agent) SetAccounts(now time.Time, served []Served, removed []string) {
	a.tell(now)
	before := a.accounts
	a.accounts = make(map[string]*agentAccount, len(served))
	a.order = a.order[:0]
	for _, s := range served {
		name := s.Account.GetName()
		if _, twice := a.accounts[name]; twice {
			continue
		}
		acc := before[name]
		if acc == nil || acc.records != s.Records {
			if acc != nil {
				acc.leave(a)
				a.renew(name)
			}
			acc = newAgentAccount(s.Records)
			acc.epoch = a.epochs[name]
		}
		delete(before, name)
		acc.name, acc.declared = name, s.Account
		a.accounts[name] = acc
		a.order = append(a.order, acc)
		a.removed = without(a.removed, name)
	}
	for name, acc := range before {
		acc.leave(a)
		a.ledger.limit(now, name, 0)
	}
	for _, name := range removed {
		if a.accounts[name] == nil {
			a.removed = append(without(a.removed, name), name)
		}
	}
	if a.session != nil {
		a.session.declare = true
	}
}

// renew notes that an account has other records than its bridge compared.
func (a *Agent) renew(name string) {
	if a.session == nil {
		return
	}
	if a.session.renewed == nil {
		a.session.renewed = make(map[string]bool)
	}
	a.session.renewed[name] = true
}

func without(names []string, name string) []string {
	kept := names[:0]
	for _, n := range names {
		if n != name {
			kept = append(kept, n)
		}
	}
	return kept
}

// SetFacts replaces the facts of an account; they are told to each bridge again.
func (a *Agent) SetFacts(facts *linkv1.Facts) {
	if acc := a.accounts[facts.GetAccount()]; acc != nil {
		acc.facts, acc.factsDue = facts, true
		if a.session != nil {
			a.session.factsDue = true
		}
	}
}

// Room reports whether the account's outbox can take a change set. Ask before changing the records: a shell that finds no room stops
// reading the watch, and goes on when it does (it changes with acknowledgements, attach and detach).
func (a *Agent) Room(account string) bool {
	acc := a.accounts[account]
	if acc == nil {
		return true
	}
	if acc.box.bytes >= a.cfg.OutboxBytes || acc.box.changes >= a.cfg.OutboxChanges {
		return false
	}
	return a.bytes < a.cfg.TotalBytes || acc.box.bytes < a.cfg.ShareBytes
}

// Put hands over one change set: what one event changed, to be committed in one transaction. A newer state of an item replaces one that
// was not sent yet, in its place; sets that share items become one. Put takes the set always, even above the bound, and
// reports whether there is room for another. What a comparison will tell anyway is not kept: changes while no session can continue (before
// the first attach, or standing by), and those of a type's first list, unless the tables have nothing of their group; differing objects are
// then asked for by Fetch.
func (a *Agent) Put(account string, changes []*linkv1.Change) (room bool) {
	return a.PutRead(account, changes, time.Time{})
}

// PutRead is Put for what was read at the given time: Committed tells how long it took.
func (a *Agent) PutRead(account string, changes []*linkv1.Change, read time.Time) (room bool) {
	acc := a.accounts[account]
	if acc == nil {
		return true
	}
	acc.put(a, changes, read)
	return a.Room(account)
}

// Watches tells the complete list of types that the account has, logical ones ("applications", "clusters") included, once discovery knows it.
// Rows of other types leave the tables.
func (a *Agent) Watches(account string, types []string) {
	if acc := a.accounts[account]; acc != nil {
		acc.setWatches(a, types)
	}
}

// Live tells that the records of the type are a complete snapshot and that its watch runs. Groups of links are live when both their types are;
// logical types are the shell's to call live, when all kinds are.
func (a *Agent) Live(now time.Time, account, typ string) {
	a.tell(now)
	if acc := a.accounts[account]; acc != nil {
		acc.setLive(a, typ)
	}
}

// NotLive tells that the type's watch broke: its groups are not compared until it is live again.
func (a *Agent) NotLive(account, typ string) {
	if acc := a.accounts[account]; acc != nil {
		acc.setNotLive(typ)
	}
}

// Dropped tells that the type is no longer watched at all: its rows leave. The shell puts cats.Inventory.Drop's changes first.
func (a *Agent) Dropped(now time.Time, account, typ string) {
	a.tell(now)
	if acc := a.accounts[account]; acc != nil {
		acc.setDropped(a, typ)
	}
}

// FetchDone answers a Fetch after its last Put, also when it failed (the next comparison will find out).
func (a *Agent) FetchDone(now time.Time, account, typ string) {
	a.tell(now)
	if acc := a.accounts[account]; acc != nil {
		acc.fetchDone(a, typ)
	}
}

// Outbox tells how much of an account is unsent or unacknowledged, for metrics.
func (a *Agent) Outbox(account string) (changes, bytes int) {
	if acc := a.accounts[account]; acc != nil {
		return acc.box.changes, acc.box.bytes
	}
	return 0, 0
}
