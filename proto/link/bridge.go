package link

import (
	"math/rand/v2"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// BridgeConfig is what the bridge's end of one session is made of. Zero limits take the defaults that are named beside them.
type BridgeConfig struct {
	// Bridge identifies the process, Session the session (in logs and in Operations), Secret opens its other streams.
	Bridge, Session, Secret string
	// Format is the cats.Format of the tables.
	Format uint32
	// Capability and MinimumCapability default to Current and Oldest.
	Capability, MinimumCapability Capability
	// Rand spreads session ages and retries. It need not be secret.
	Rand *rand.Rand
	// LinkID is cats.Link.ID: the key of a link within its group.
	LinkID func(account string, l *linkv1.Link) string

	// Heartbeat (15 s) is the agent's interval; Silence (2.5 heartbeats) ends the session.
	Heartbeat, Silence time.Duration
	// Age (30 min, ±20 %) after which the session is drained, so that load spreads; negative: never. Grace (30 s) is how long it may take.
	Age, Grace time.Duration
	// HelloWait (10 s) is how long an agent may take to say Hello.
	HelloWait time.Duration
	// Window (8 MiB) is the inventory that may be on its way or unhandled.
	Window int
	// MaximumBody (1 MiB) is the largest body that is stored.
	MaximumBody int
	// Pipeline (8) writes of one account may be open at once. Resyncs (8) groups of the session may be compared item by item at once.
	Pipeline, Resyncs int
	// Backlog (1,024) frames for the agent may wait; while they do, no further step is handled.
	Backlog int
	// Accounts (10,000) that one agent may declare.
	Accounts int
}

// Bridge is the bridge's end of one session. Its zero value is not usable; see NewBridge.
type Bridge struct {
	cfg BridgeConfig
}

// NewBridge checks the configuration and returns the end of a session whose Hello has not come yet.
func NewBridge(now time.Time, cfg BridgeConfig) (*Bridge, error) { return &Bridge{cfg: cfg}, nil }

// ReceivedSession takes a frame of the session stream.
func (b *Bridge) ReceivedSession(now time.Time, frame *linkv1.SessionUp) {}

// ReceivedInventory takes a frame of the inventory stream.
func (b *Bridge) ReceivedInventory(now time.Time, frame *linkv1.InventoryUp) {}

// Heard tells that a frame came on the operations stream, which Operations handles: it counts as life.
func (b *Bridge) Heard(now time.Time) {}

// DeclareDone answers a Declare, with one verdict for each of its accounts and removed names; err: the registry cannot answer
// now, and is asked again later.
func (b *Bridge) DeclareDone(now time.Time, verdicts []*linkv1.AccountVerdict, err error) {}

// AttachResult answers an Attach.
type AttachResult struct {
	Account   string
	Epoch     uint64
	Continues bool
	// HeldBy names the live agent that has the account's caching; then nothing was attached, and the agent stands by until AttachAgain.
	HeldBy string
	// Err is asked again later.
	Err error
}

// AttachDone answers an Attach.
func (b *Bridge) AttachDone(now time.Time, r AttachResult) {}

// AttachAgain asks for the caching of an accepted account that this session stands by for, when its holder is gone.
func (b *Bridge) AttachAgain(now time.Time, account string) {}

// WriteResult answers a Write.
type WriteResult struct {
	Account  string
	Epoch    uint64
	Seq      uint64
	Rejected []*linkv1.Rejected
	// Fenced: the account's epoch is another one; nothing was written.
	Fenced bool
	// Err: nothing was written and nobody will try again.
	Err error
}

// WriteDone answers a Write after its commit.
func (b *Bridge) WriteDone(now time.Time, r WriteResult) {}

// DigestResult answers a ReadDigest.
type DigestResult struct {
	Account    string
	Epoch      uint64
	Seq        uint64
	Count, Xor uint64
	Err        error
}

// DigestDone answers a ReadDigest.
func (b *Bridge) DigestDone(now time.Time, r DigestResult) {}

// EntriesResult answers a ReadEntries.
type EntriesResult struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Entries []*linkv1.Entry
	Err     error
}

// EntriesDone answers a ReadEntries.
func (b *Bridge) EntriesDone(now time.Time, r EntriesResult) {}

// SweepResult answers a Sweep.
type SweepResult struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Deleted int
	Fenced  bool
	Err     error
}

// SweepDone answers a Sweep.
func (b *Bridge) SweepDone(now time.Time, r SweepResult) {}

// GroupsResult answers a ReadGroups.
type GroupsResult struct {
	Account string
	Epoch   uint64
	Groups  []*linkv1.Group
	Err     error
}

// GroupsDone answers a ReadGroups.
func (b *Bridge) GroupsDone(now time.Time, r GroupsResult) {}

// Drain asks the agent to finish and to go elsewhere; the session ends when it has, or after the grace.
func (b *Bridge) Drain(now time.Time, addresses []string, reason string) {}

// Busy tells whether operations of the session run: a session that is drained waits for them.
func (b *Bridge) Busy(now time.Time, busy bool) {}

// Close ends the session.
func (b *Bridge) Close(now time.Time, code linkv1.Close_Code, reason string, retryAfter time.Duration) {}

// Lost tells that the streams are gone. Results of actions may still be fed; they change nothing.
func (b *Bridge) Lost(now time.Time, reason string) {}

// Tick tells the time; call it once a second or so.
func (b *Bridge) Tick(now time.Time) {}

// NextAction returns the oldest action that is due, nil when there is none.
func (b *Bridge) NextAction() Action { return nil }

// NextSession returns the next frame for the session stream, nil when there is none.
func (b *Bridge) NextSession() *linkv1.SessionDown { return nil }

// NextInventory returns the next frame for the inventory stream, nil when there is none.
func (b *Bridge) NextInventory() *linkv1.InventoryDown { return nil }
