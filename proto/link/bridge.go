package link

import (
	"errors"
	"fmt"
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

	// Heartbeat (15 s) is the agent's interval; Silence (2 heartbeats) ends the session.
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
	// ResyncWait (2 min) without a page takes an agent's permit to send a snapshot away.
	ResyncWait time.Duration
	// Backlog (1,024) frames for the agent may wait; while they do, no further step is handled.
	Backlog int
	// Accounts (10,000) that one agent may declare.
	Accounts int
	// CheckInterval is how often agents have an agreed group compared again; 0: as they were told themselves.
	CheckInterval time.Duration
	// MetricsInterval is how often agents may send their metrics; 0: never.
	MetricsInterval time.Duration
}

func (c *BridgeConfig) complete() error {
	switch {
	case c.Session == "":
		return errors.New("link: bridge: Session is empty; give each session its own id")
	case c.Secret == "":
		return errors.New("link: bridge: Secret is empty; give each session its own random one")
	case c.Rand == nil:
		return errors.New("link: bridge: Rand is missing")
	case c.LinkID == nil:
		return errors.New("link: bridge: LinkID is missing; it is cats.Link.ID")
	}
	setDefault(&c.Capability, Current)
	setDefault(&c.MinimumCapability, Oldest)
	setDefault(&c.Heartbeat, 15*time.Second)
	setDefault(&c.Silence, 2*c.Heartbeat)
	setDefault(&c.Age, 30*time.Minute)
	setDefault(&c.Grace, 30*time.Second)
	setDefault(&c.HelloWait, 10*time.Second)
	setDefault(&c.Window, 8<<20)
	setDefault(&c.MaximumBody, 1<<20)
	setDefault(&c.Pipeline, 8)
	setDefault(&c.Resyncs, 8)
	setDefault(&c.ResyncWait, 2*time.Minute)
	setDefault(&c.Backlog, 1024)
	setDefault(&c.Accounts, 10_000)
	if c.Silence < c.Heartbeat {
		return fmt.Errorf("link: bridge: Silence %s is shorter than Heartbeat %s: idle sessions would end", c.Silence, c.Heartbeat)
	}
	return nil
}

// Bridge is the bridge's end of one session. Its zero value is not usable; see NewBridge.
type Bridge struct {
	cfg   BridgeConfig
	now   time.Time
	live  liveness
	until time.Time // the session's age

	agent *linkv1.Agent
	ended bool
	// echo is the newest heartbeat that was not sent back.
	echo       *linkv1.Heartbeat
	draining   bool
	drainUntil time.Time
	leaving    bool

	accounts map[string]*bridgeAccount
	order    []*bridgeAccount
	resumes  map[string]uint64
	// removed names wait for the registry. declaring: it was asked; redeclare: ask once more after its answer.
	removed              []string
	declaring, redeclare bool
	retry                retry

	// held is what the agent has used of its window, owed what will be given back with the next Credit.
	held, owed int
	// open is the bytes of writes whose result has not come, those of former attaches included.
	open    map[writeKey]int
	resyncs int
	// permits are the groups that wait for a resync to end.
	permits queue[permit]

	out     queue[*linkv1.SessionDown]
	down    queue[*linkv1.InventoryDown]
	actions queue[Action]
}

type writeKey struct {
	account    string
	epoch, seq uint64
}

// NewBridge checks the configuration and returns the end of a session whose Hello has not come yet.
func NewBridge(now time.Time, cfg BridgeConfig) (*Bridge, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Bridge{cfg: cfg, now: now, accounts: make(map[string]*bridgeAccount), resumes: make(map[string]uint64), open: make(map[writeKey]int)}
	b.live.begin(now, 0, cfg.HelloWait)
	return b, nil
}

// NextAction returns the oldest action that is due, nil when there is none.
func (b *Bridge) NextAction() Action {
	action, _ := b.actions.pop()
	return action
}

func (b *Bridge) act(action Action) { b.actions.push(action) }

func (b *Bridge) tell(now time.Time) {
	if now.After(b.now) {
		b.now = now
	}
}

// retry is when something that failed is tried again: 1 s, doubling to 30 s, ±50 %.
type retry struct {
	wait time.Duration
	at   time.Time
}

func (r *retry) failed(now time.Time, random *rand.Rand) {
	r.wait = min(max(2*r.wait, time.Second), 30*time.Second)
	r.at = now.Add(r.wait/2 + time.Duration(random.Float64()*float64(r.wait)))
}

func (r *retry) worked() { *r = retry{} }

func (r *retry) due(now time.Time) bool { return r.wait > 0 && !now.Before(r.at) }
