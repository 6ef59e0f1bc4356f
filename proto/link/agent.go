package link

import (
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

	// OutboxBytes (16 MiB) and OutboxChanges (50,000) bound what one account has unsent or unacknowledged;
	// TotalBytes (256 MiB) all accounts together.
	OutboxBytes, OutboxChanges, TotalBytes int
	// BatchBytes (256 KiB) and BatchChanges (1,000) end a batch; a change set is never cut for them.
	BatchBytes, BatchChanges int
	// PageEntries (1,000) is the size of a snapshot's pages, FetchKeys (200) of a Fetch.
	PageEntries, FetchKeys int
	// CheckInterval (5 min) is how often an agreed group is compared again, ±50 %; CheckIntervals overrides it by type.
	CheckInterval  time.Duration
	CheckIntervals map[string]time.Duration
	// WelcomeWait (10 s) is how long a bridge may take to answer Hello.
	WelcomeWait time.Duration

	Ledger LedgerConfig
}

// LedgerConfig bounds the operations of an Agent.
type LedgerConfig struct {
	// Running (32) operations at once; Waiting (256) more until one ends. Further ones are not started.
	Running, Waiting int
	// Bytes (64 MiB) of output kept for running and finished operations; Results (1,024) finished ones kept.
	Bytes, Results int
	// Marks (65,536) of mutations that began here, each kept until its deadline and Retain (10 min) are over, so that none begins twice.
	// While all are taken, no further mutation begins.
	Marks  int
	Retain time.Duration
}

// Agent is an agent process's end of the link. Its zero value is not usable; see NewAgent.
type Agent struct {
	cfg AgentConfig
}

// NewAgent checks the configuration and returns an agent without accounts and without a session.
func NewAgent(cfg AgentConfig) (*Agent, error) { return &Agent{cfg: cfg}, nil }

// SetAccounts replaces the accounts that the agent serves. What an account had before stays if its Records are the same.
// Removed names accounts that a person took out of the configuration: they leave Clouddriver.
func (a *Agent) SetAccounts(now time.Time, served []Served, removed []string) {}

// SetFacts replaces the facts of an account; they are told to each bridge again.
func (a *Agent) SetFacts(facts *linkv1.Facts) {}

// Room reports whether the account's outbox can take a change set. Ask before changing the records: a shell that finds no room stops
// reading the watch, and goes on when it does (it changes with acknowledgements, attach and detach).
func (a *Agent) Room(account string) bool { return true }

// Put hands over one change set: what one event changed, to be committed in one transaction. A newer state of an item replaces one that
// was not sent yet, in its place; sets that share items become one. Put takes the set always, even above the bound, and
// reports whether there is room for another. While the agent only stands by for the account, the records alone matter and
// the set is dropped.
func (a *Agent) Put(account string, changes []*linkv1.Change) (room bool) { return true }

// Watches tells the complete list of types that the account has, logical ones ("applications", "clusters") included, once discovery knows it.
// Rows of other types leave the tables.
func (a *Agent) Watches(account string, types []string) {}

// Live tells that the records of the type are a complete snapshot and that its watch runs. Groups of links are live when both their types are;
// logical types are the shell's to call live, when all kinds are.
func (a *Agent) Live(now time.Time, account, typ string) {}

// NotLive tells that the type's watch broke: its groups are not compared until it is live again.
func (a *Agent) NotLive(account, typ string) {}

// Dropped tells that the type is no longer watched at all: its rows leave. The shell puts cats.Inventory.Drop's changes first.
func (a *Agent) Dropped(now time.Time, account, typ string) {}

// FetchDone answers a Fetch after its last Put, also when it failed (the next comparison will find out).
func (a *Agent) FetchDone(now time.Time, account, typ string) {}

// Connected tells that a session stream is open.
func (a *Agent) Connected(now time.Time) {}

// ReceivedSession takes a frame of the session stream.
func (a *Agent) ReceivedSession(now time.Time, frame *linkv1.SessionDown) {}

// ReceivedInventory takes a frame of the inventory stream.
func (a *Agent) ReceivedInventory(now time.Time, frame *linkv1.InventoryDown) {}

// ReceivedOperation takes a frame of the operations stream.
func (a *Agent) ReceivedOperation(now time.Time, frame *linkv1.OperationDown) {}

// Lost tells that the session is over, for whatever reason. Nothing of it may be fed afterwards.
func (a *Agent) Lost(now time.Time, reason string) {}

// Tick tells the time; call it once a second or so.
func (a *Agent) Tick(now time.Time) {}

// Goodbye tells that the process will end: no operation begins any more, running ones may finish, then Disconnect comes.
func (a *Agent) Goodbye(now time.Time, reason string) {}

// OutputRoom is how many bytes of output the operation may give now. Zero: wait for credit, or for the operation's end.
func (a *Agent) OutputRoom(id string) int { return 0 }

// Output appends to a running operation's output, at most OutputRoom bytes. The data belongs to the Agent afterwards.
func (a *Agent) Output(id string, data []byte) {}

// Finish ends a running operation. A nil outcome is an error of the shell and becomes STATE_UNKNOWN.
func (a *Agent) Finish(now time.Time, id string, outcome *linkv1.Outcome) {}

// NextAction returns the oldest action that is due, nil when there is none.
func (a *Agent) NextAction() Action { return nil }

// NextSession returns the next frame for the session stream, nil when there is none.
func (a *Agent) NextSession() *linkv1.SessionUp { return nil }

// NextInventory returns the next frame for the inventory stream, nil when there is none or no credit.
func (a *Agent) NextInventory() *linkv1.InventoryUp { return nil }

// NextOperation returns the next frame for the operations stream, nil when there is none or no credit.
func (a *Agent) NextOperation() *linkv1.OperationUp { return nil }
