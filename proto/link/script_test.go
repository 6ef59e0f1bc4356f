package link

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the results of the scripts in testdata anew")

// TestScripts runs testdata/*.txt: one behaviour each, a line for each step:
//
//	WHO WHAT …        -> RESULT
//
// Nothing moves but by a step. What a step prints is compared with its result, if it has one. testdata/README.md lists the steps.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, world: newWorld(1), backups: map[string]*tables{}}
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		step, want, compared := strings.Cut(line, "->")
		words := strings.Fields(step)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			continue
		}
		got, err := s.do(words)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", file, i+1, strings.TrimSpace(step), err)
		}
		if want = strings.TrimSpace(want); compared && got != want && !*update {
			t.Errorf("%s:%d: %s\n got: %s\nwant: %s", file, i+1, strings.TrimSpace(step), got, want)
		}
		out.WriteString(scriptLine(strings.TrimSpace(step), got, compared))
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func scriptLine(step, result string, compared bool) string {
	if !compared {
		return step + "\n"
	}
	return fmt.Sprintf("%-32s -> %s\n", step, result)
}

// script is the world of one script. Agents and bridges appear when they are first named.
type script struct {
	*world
	t       *testing.T
	options []string
	backups map[string]*tables
}

// do makes one step.
func (s *script) do(words []string) (result string, err error) {
	who, rest := words[0], words[1:]
	switch {
	case who == "with":
		s.options = append(s.options, strings.Join(rest, " "))
		s.directory = s.has("directory")
		return "", nil
	case who == "run":
		return "", s.run(rest)
	case who == "time":
		return s.tickAll(rest)
	case len(rest) == 0:
		return "", fmt.Errorf("%s does what?", who)
	case who == "cluster":
		return s.clusterStep(rest)
	case who == "db":
		return s.databaseStep(rest)
	case who == "net":
		return s.netStep(rest)
	case who == "caller":
		return s.callerStep(rest)
	case strings.HasPrefix(who, "agent") || strings.HasPrefix(who, "replica"):
		return s.agentStep(s.agent(who), rest)
	case strings.HasPrefix(who, "bridge"):
		return s.bridgeStep(s.bridge(who), rest)
	}
	return "", fmt.Errorf("nobody is called %q", who)
}

// run lets everything move until nothing can, for some time if one is given.
func (s *script) run(words []string) error {
	s.settle()
	if len(words) == 0 {
		return nil
	}
	d, err := time.ParseDuration(words[0])
	if err == nil {
		s.pass(d)
	}
	return err
}

// tickAll lets time go by while nothing moves.
func (s *script) tickAll(words []string) (string, error) {
	d, err := time.ParseDuration(words[0])
	for ; err == nil && d > 0; d -= time.Second {
		s.now = s.now.Add(time.Second)
		for _, n := range s.agents {
			n.tick()
		}
		for _, b := range s.bridges {
			if !b.stopped {
				b.tick()
			}
		}
	}
	return "", err
}

func (s *script) agent(name string) *agentNode {
	for _, n := range s.agents {
		if n.name == name {
			return n
		}
	}
	n := s.addAgentOptions(name)
	return n
}

func (s *script) addAgentOptions(name string) *agentNode {
	n := &agentNode{w: s.world, name: name, names: []string{"prod"}, bare: !s.has("links")}
	n.patient = s.has("lists after the policy")
	if s.has("services forbidden") {
		n.never = svcType
	}
	if s.clusters["prod"] == nil {
		s.clusters["prod"] = newCluster("prod")
	}
	n.tune = func(c *AgentConfig) {
		c.CheckIntervals = map[string]time.Duration{}
		c.PageEntries = s.number("pages of", 1000)
		c.OutboxChanges = s.number("outbox of", 1000)
		c.BatchChanges = s.number("batches of", 1000)
		c.Ledger.Results = s.number("results", 100)
		c.Ledger.Running = s.number("running", 100)
		if c.Ledger.Waiting = 100; s.has("none waiting") {
			c.Ledger.Waiting = -1
		}
		c.Capability = Capability(s.number("agent capability", int(Current)))
		c.MinimumCapability = Capability(s.number("agent minimum", int(Oldest)))
		c.Format = uint32(s.number("agent format", 1))
	}
	s.agents = append(s.agents, n)
	n.start()
	return n
}

func (s *script) bridge(name string) *bridgeNode {
	for _, b := range s.bridges {
		if b.name == name {
			return b
		}
	}
	return s.addBridge(name, func(c *BridgeConfig) {
		c.Age = -1
		if s.has("age") {
			c.Age = 30 * time.Minute
		}
		c.Window = s.number("credit", 8<<20)
		c.MaximumBody = s.number("largest body", 1<<20)
		c.Resyncs = s.number("resyncs", 8)
		c.Capability = Capability(s.number("bridge capability", int(Current)))
		c.MinimumCapability = Capability(s.number("bridge minimum", int(Oldest)))
	}, OperationsConfig{Window: s.number("output window", 0)})
}

func (s *script) has(option string) bool { return slices.Contains(s.options, option) }

// number is the value of an option "NAME N".
func (s *script) number(name string, standard int) int {
	for _, o := range s.options {
		var n int
		if rest, ok := strings.CutPrefix(o, name+" "); ok {
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n
			}
		}
	}
	return standard
}
