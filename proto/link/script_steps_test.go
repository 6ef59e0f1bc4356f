package link

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

var errStep = errors.New("unknown step, see testdata/README.md")

func (s *script) clusterStep(words []string) (string, error) {
	if s.clusters["prod"] == nil {
		s.clusters["prod"] = newCluster("prod")
	}
	for _, name := range words[1:] {
		switch words[0] {
		case "put":
			s.clusters["prod"].put(name)
		case "delete":
			s.clusters["prod"].delete(name)
		default:
			return "", errStep
		}
	}
	return "", nil
}

func (s *script) databaseStep(words []string) (string, error) {
	t := s.db.tables("prod")
	switch words[0] {
	case "rows":
		return t.rows(), nil
	case "writes":
		return strconv.Itoa(s.db.writes), nil
	case "fence":
		for _, n := range s.agents {
			if n.instance() == t.holder {
				return fmt.Sprintf("epoch %d %s", t.epoch, n.name), nil
			}
		}
		return fmt.Sprintf("epoch %d", t.epoch), nil
	case "differs":
		if d := s.db.differsFrom(s.clusters["prod"], !s.has("links")); d != "" {
			return d, nil
		}
		return "nothing", nil
	case "lose":
		delete(t.group(podGroup), "ns/"+words[1])
	case "lose-links":
		clear(t.group(linkGroup))
		clear(t.group(appGroup))
	case "add":
		t.group(podGroup)["ns/"+words[1]] = 1
	case "add-kind":
		t.group(groupKey{typ: "old"})["ns/"+words[1]] = 1
	case "away", "back":
		s.db.away = words[0] == "away"
	case "limit":
		n, err := strconv.Atoi(words[1])
		s.db.maxBody = n
		return "", err
	case "backup":
		s.backups["prod"] = t.clone()
	case "restore":
		s.db.accounts["prod"] = s.backups["prod"].clone()
	default:
		return "", errStep
	}
	return "", nil
}

// rows lists the pods in the tables with their versions.
func (t *tables) rows() string {
	var list []string
	for _, key := range t.group(podGroup).sorted() {
		list = append(list, fmt.Sprintf("%s@%d", strings.TrimPrefix(key, "ns/"), t.versions[key].version))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

// netStep is about the connection of the agent that is named last, of the first one if none is.
func (s *script) netStep(words []string) (string, error) {
	n := s.agents[0]
	if last := words[len(words)-1]; strings.HasPrefix(last, "replica") || strings.HasPrefix(last, "agent") {
		n, words = s.agent(last), words[:len(words)-1]
	}
	c := n.session
	if c == nil {
		return "", fmt.Errorf("%s has no session", n.name)
	}
	switch strings.Join(words, " ") {
	case "cut":
		// Both ends notice at once; what was on its way is lost.
		s.lose(c)
		n.lose("the connection broke")
		c.hang()
	case "cut unnoticed":
		s.lose(c)
	case "half-open up":
		c.cutUp = true
		c.up, c.invUp, c.opUp = nil, nil, nil
	case "half-open down":
		c.cutDown = true
		c.down, c.invDn, c.opDn = nil, nil, nil
	case "twice up":
		c.invUp, c.opUp = twice(c.invUp), twice(c.opUp)
	case "twice down":
		c.invDn, c.opDn, c.down = twice(c.invDn), twice(c.opDn), twice(c.down)
	case "start again":
		c.opDn = append(c.opDn, c.started)
	case "swap up":
		c.invUp = disordered(c.invUp, false)
	default:
		return "", errStep
	}
	return "", nil
}

func (s *script) lose(c *connection) {
	c.cutUp, c.cutDown = true, true
	c.up, c.down, c.invUp, c.invDn, c.opUp, c.opDn = nil, nil, nil, nil, nil, nil
}

// callerStep is what stands behind the first bridge: "caller start op1 change|read [for 30s] [wait 5s]".
func (s *script) callerStep(words []string) (string, error) {
	b := s.bridge("bridge")
	if words[0] == "at" {
		b, words = s.bridge(words[1]), words[2:]
	}
	switch words[0] {
	case "start":
		r := Request{ID: words[1], Account: "prod", Operation: &linkv1.Operation{}, Mutation: words[2] == "change", Deadline: b.clock().Add(time.Minute)}
		for i := 3; i+1 < len(words); i += 2 {
			d, err := time.ParseDuration(words[i+1])
			if err != nil {
				return "", err
			}
			if words[i] == "for" {
				r.Deadline = b.clock().Add(d)
			} else {
				r.AbsentWait = d
			}
		}
		if err := b.ops.Submit(b.clock(), r); err != nil {
			return "refused: " + err.Error(), nil //nolint:nilerr // the refusal is what the step shows
		}
		b.events()
		return s.callerSees(b, r.ID), nil
	case "cancel":
		b.ops.Cancel(b.clock(), words[1], "the caller went away")
		b.events()
		return s.callerSees(b, words[1]), nil
	case "sees":
		return s.callerSees(b, words[1]), nil
	case "stalls":
		b.stalled[words[1]] = true
		return "", nil
	case "reads":
		b.stalled[words[1]] = false
		b.ops.Consumed(words[1], len(b.outputs[words[1]]))
		return "", nil
	case "effects":
		return strconv.Itoa(s.effects[words[1]]), nil
	}
	return "", errStep
}

func (s *script) callerSees(b *bridgeNode, id string) string {
	text := strings.TrimSpace(b.outputs[id])
	if text != "" {
		text = fmt.Sprintf("%q ", text)
	}
	f, ended := b.ended[id]
	if !ended {
		return text + "open"
	}
	state := strings.TrimPrefix(f.Outcome.GetState().String(), "STATE_")
	if f.Outcome.GetReason() != "" {
		state += ": " + f.Outcome.GetReason()
	}
	return text + state
}

func (s *script) agentStep(n *agentNode, words []string) (string, error) {
	switch words[0] {
	case "watch":
		for n.observe("prod") {
		}
	case "check":
		// The time of the next comparison has come.
		for _, g := range n.core.accounts["prod"].order {
			g.at = n.clock()
		}
		n.tick()
	case "relist":
		n.relist("prod")
	case "reads":
		// One event of the watch, or one object of a list.
		if !n.observe("prod") {
			return "nothing", nil
		}
	case "fetch":
		return s.fetchStep(n), nil
	case "connect":
		n.connect(s.bridge(slices.Concat(words[1:], []string{"bridge"})[0]))
	case "send":
		return n.sendAll(len(words) > 1), nil
	case "receive":
		return n.receiveAll(), nil
	case "lost":
		n.lose("the connection broke")
	case "session":
		if n.session == nil {
			return "none", nil
		}
		return n.session.bridge.name, nil
	case "outbox":
		return n.core.accounts["prod"].outboxText(), nil
	case "fetches":
		return strconv.Itoa(s.fetched), nil
	case "room":
		if n.core.Room("prod") {
			return "yes", nil
		}
		return "no", nil
	case "state":
		return stateText(n.core.accounts["prod"]), nil
	case "crash":
		if n.session != nil {
			n.session.left = true
		}
		n.start()
	case "goodbye":
		n.core.Goodbye(n.clock(), "the agent stops")
		n.actions()
	case "drops":
		for _, name := range toItems(n.records["prod"].objects).sorted() {
			n.put("prod", n.records["prod"].delete(name))
		}
		n.core.Dropped(n.clock(), "prod", podType)
		n.actions()
	case "serves":
		n.names = nil
		if words[1] == "prod" {
			n.names = []string{"prod"}
		}
		n.declare(words[2:])
	case "runs":
		return s.runStep(n, words[1:])
	default:
		return "", errStep
	}
	return "", nil
}

func (s *script) fetchStep(n *agentNode) string {
	var list []string
	for len(n.fetches) > 0 {
		f := n.fetches[0]
		n.fetch()
		list = append(list, strings.ReplaceAll(strings.Join(f.Keys, " "), "ns/", ""))
	}
	return orNothing(list)
}

// runStep lets the agent's shell go on with an operation: "runs op1" to its end, "runs op1 once" one step; without an id it lists.
func (s *script) runStep(n *agentNode, words []string) (string, error) {
	if len(words) == 0 {
		return orNothing(n.order), nil
	}
	id := words[0]
	if n.runs[id] == nil {
		return "it does not run here", nil
	}
	for range 10 {
		n.execute(id)
		if n.runs[id] == nil {
			return "ended", nil
		}
		if len(words) > 1 {
			break
		}
	}
	return "runs", nil
}

func (s *script) bridgeStep(b *bridgeNode, words []string) (string, error) {
	switch words[0] {
	case "send":
		return b.sendAll(), nil
	case "receive":
		return b.receiveAll(), nil
	case "commit":
		return b.commit(words[1:])
	case "holds":
		var list []string
		for _, r := range b.requests {
			list = append(list, requestText(r.action))
		}
		return orNothing(list), nil
	case "pause", "resume":
		b.stopped = words[0] == "pause"
	case "crash":
		b.start()
	case "lost":
		for _, c := range slices.Clone(b.sessions) {
			c.hang()
		}
	case "drain":
		for _, c := range slices.Clone(b.sessions) {
			c.core.Drain(b.clock(), words[1:], "the bridge stops")
			c.actions()
		}
	case "sessions":
		return strconv.Itoa(len(b.sessions)), nil
	case "attach":
		for _, c := range slices.Clone(b.sessions) {
			c.core.AttachAgain(b.clock(), "prod")
			c.actions()
		}
	default:
		return "", errStep
	}
	return "", nil
}

// commit lets the database answer what the bridge asked of it: all, or the oldest N.
func (b *bridgeNode) commit(words []string) (string, error) {
	n := 1 << 20
	if len(words) > 0 {
		var err error
		if n, err = strconv.Atoi(words[0]); err != nil {
			return "", err
		}
	}
	var list []string
	for ; n > 0 && len(b.requests) > 0; n-- {
		text := requestText(b.requests[0].action)
		b.request(0)
		list = append(list, text+b.last)
	}
	return orNothing(list), nil
}
