package link

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	simulationSteps = flag.Int("steps", 1_000_000, "steps of the simulation")
	simulationSeed  = flag.Uint64("seed", 1, "seed of the simulation; 0: one from the clock, printed")
)

// episodeSteps of chaos, then calm until everything agrees: then the next world begins.
const episodeSteps = 3_000

// A simulation is one world under faults, with the invariants of the design checked after each step. Everything that happens follows from
// the seed.
type simulation struct {
	*world
	t      *testing.T
	seed   uint64
	steps  int
	failed string
	calm   bool

	accounts []string
	names    []string
	backup   map[string]*tables
	ops      int
	open     map[string]*bridgeNode
	// committed and restored remember writes by account, epoch and number; ended the last pages that agents sent.
	committed map[stepKey]bool
	batches   map[epochKey][]uint64
	ended     map[stepKey]groupKey
	// never holds ids whose caller was told that they did not begin.
	never map[string]bool

	mutant mutant
	trace  []string
}

type epochKey struct {
	account, instance string
	epoch             uint64
}

type stepKey struct {
	epochKey
	seq uint64
}

// mutant plants one bug.
type mutant string

const (
	sound             mutant = ""
	acksBeforeCommit  mutant = "the bridge acknowledges a batch before its commit"
	sweepsPartly      mutant = "an agent calls a snapshot complete after its first page"
	ignoresFence      mutant = "the database does not look at fences"
	forgetsOperations mutant = "an agent forgets its ledger with its session"
	losesWants        mutant = "an agent ignores what the bridge wants"
)

func newSimulation(t *testing.T, seed uint64, m mutant) *simulation {
	s := &simulation{world: newWorld(seed), t: t, seed: seed, mutant: m,
		accounts: []string{"prod", "stage"}, open: map[string]*bridgeNode{}, committed: map[stepKey]bool{},
		batches: map[epochKey][]uint64{}, ended: map[stepKey]groupKey{}, never: map[string]bool{}, backup: map[string]*tables{}}
	s.random = seeded(seed)
	for i := range 9 {
		s.names = append(s.names, string(rune('a'+i%3))+strconv.Itoa(i))
	}
	s.db.fenceless, s.db.maxBody = m == ignoresFence, 100
	s.db.regressed = func(account, key string, before written, version int) {
		s.fail("row %s of %s went from version %d back to %d by the same process", key, account, before.version, version)
	}
	s.watch = watcher{write: s.wrote, sweep: s.swept, sent: s.sentInventory, ack: s.acknowledged, finished: s.finished}
	for i := range 2 {
		b := s.addBridge("bridge"+strconv.Itoa(i), s.tuneBridge(s.random), OperationsConfig{Window: 8 + s.random.IntN(20)})
		b.skew = s.skew()
	}
	for i, accounts := range [][]string{{"prod", "stage"}, {"prod"}, {"stage"}} {
		n := s.addAgent("agent"+strconv.Itoa(i), accounts, s.tuneAgent(s.random))
		n.skew, n.patient = s.skew(), i != 1
	}
	return s
}

func (s *simulation) skew() time.Duration {
	return time.Duration(s.random.IntN(20*60)-10*60) * time.Second
}

// tuneAgent makes everything small, so that limits are met.
func (s *simulation) tuneAgent(r *rand.Rand) func(*AgentConfig) {
	outbox, batch, page, fetch := 200+r.IntN(2000), 60+r.IntN(400), 1+r.IntN(4), 1+r.IntN(3)
	running, share := 1+r.IntN(3), 1+r.IntN(outbox)
	return func(c *AgentConfig) {
		c.TotalBytes, c.ShareBytes = outbox+share, share
		c.OutboxBytes, c.BatchBytes, c.BatchChanges, c.PageEntries, c.FetchKeys = outbox, batch, 1+batch/40, page, fetch
		c.CheckInterval = time.Minute
		c.Ledger = LedgerConfig{Running: running, Waiting: 2, Results: 3}
	}
}

func (s *simulation) tuneBridge(r *rand.Rand) func(*BridgeConfig) {
	window, pipeline, resyncs, backlog := 100+r.IntN(2000), 1+r.IntN(4), 1+r.IntN(2), 4+r.IntN(20)
	return func(c *BridgeConfig) {
		c.Window, c.Pipeline, c.Resyncs, c.Backlog = window, pipeline, resyncs, backlog
		if pipeline > 2 {
			// Otherwise only the database knows the limit.
			c.MaximumBody = s.db.maxBody
		}
		c.ResyncWait, c.Age, c.Grace = 20*time.Second, 10*time.Minute, 10*time.Second
	}
}

func (s *simulation) fail(format string, args ...any) {
	if s.failed == "" {
		s.failed = fmt.Sprintf(format, args...)
	}
}

func (s *simulation) log(format string, args ...any) {
	if *simulationStory {
		s.trace = append(s.trace, fmt.Sprintf("%6d ", s.steps)+fmt.Sprintf(format, args...))
	}
}

var simulationStory = flag.Bool("story", false, "print what the simulation did when it fails")

// episode runs one world; it returns its steps and what failed.
func episode(t *testing.T, seed uint64, m mutant) (steps int, failed string) {
	s := newSimulation(t, seed, m)
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("seed %d, step %d:", seed, s.steps)
			panic(r)
		}
	}()
	for s.failed == "" && s.steps < episodeSteps {
		s.step()
	}
	if s.failed == "" {
		s.converge()
	}
	if s.failed != "" && *simulationStory {
		t.Log("\n" + strings.Join(s.trace, "\n"))
	}
	return s.steps, s.failed
}

func TestSimulationUnderFaults(t *testing.T) {
	seed := *simulationSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	begin, steps := time.Now(), 0
	for i := uint64(0); steps < *simulationSteps; i++ {
		n, failed := episode(t, seed+i, sound)
		steps += n
		if failed != "" {
			t.Fatalf("after %d steps: %s\nreplay: go test ./proto/link -run Simulation -steps=%d -seed=%d -story", steps, failed, episodeSteps, seed+i)
		}
	}
	t.Logf("%d steps from seed %d, %.0f steps/s", steps, seed, float64(steps)/time.Since(begin).Seconds())
}

// TestSimulationFindsPlantedBugs shows that the invariants are looked at: each has a bug that only it keeps out.
func TestSimulationFindsPlantedBugs(t *testing.T) {
	for m, says := range map[mutant]string{
		acksBeforeCommit:  "was acknowledged and not committed",
		sweepsPartly:      "did not end a complete snapshot",
		ignoresFence:      "was committed while the fence was at",
		forgetsOperations: "took effect",
		losesWants:        "after the last fault",
	} {
		t.Run(string(m), func(t *testing.T) {
			total := 0
			for seed := uint64(1); total < 2_000_000; seed++ {
				steps, failed := episode(t, seed, m)
				total += steps
				if strings.Contains(failed, says) {
					t.Logf("found after %d steps: %s", total, failed)
					return
				}
				if failed != "" {
					t.Logf("seed %d: something else first: %s", seed, failed)
				}
			}
			t.Fatalf("not found in %d steps", total)
		})
	}
}
