package session_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// TestEachMessageOfTheProtocolIsHeldToTheAgentsOwnAccounts has one agent, whose token covers mine-*, try every message of the protocol on what is
// another's: accounts, keys, links, operations, epochs. All is refused, counted and logged, and what the other has stays as it is.
func TestEachMessageOfTheProtocolIsHeldToTheAgentsOwnAccounts(t *testing.T) {
	server := storetest.Start(t)
	for _, c := range attempts {
		t.Run(c.name, func(t *testing.T) { attempted(t, server.Database(t), c) })
	}
}

// attempt is one message that is tried, and what has to become of it.
type attempt struct {
	name string
	// outcome is what docs/identity.md says of it.
	outcome string
	// do tries it and waits until it was refused.
	do func(t *testing.T, f *foes)
	// counted is the label of the metric, logged a part of the line in the log; "": the message is of no effect by itself.
	counted, logged string
}

// foes are a victim, whose account "yours" is cached and whose operations run, and an agent that may serve mine-* only.
type foes struct {
	w                *world
	victim, attacker *agent
	victims, own     uint64 // epochs
	inventory        *wire[linkv1.InventoryUp, linkv1.InventoryDown]
	operations       *wire[linkv1.OperationUp, linkv1.OperationDown]
	victimsTasks     *wire[linkv1.OperationUp, linkv1.OperationDown]
}

var attempts = []attempt{
	{name: "Hello declares another's account", outcome: "the account is refused, the agent's own are served", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		a := f.again("evil-2", "mine-a", "yours")
		verdicts(t, a, map[string]bool{"mine-a": true, "yours": false})
	}},
	{name: "Hello resumes another's epoch", outcome: "the account is refused", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		a := f.open("Bearer " + f.w.token)
		a.listen()
		a.say(hello("victim", []*linkv1.Resume{{Account: "yours", Epoch: f.victims}}, "yours"))
		verdicts(t, a, map[string]bool{"yours": false})
	}},
	{name: "Accounts adds another's account", outcome: "the account is refused, the agent's own go on", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "mine-a"}, {Name: "yours"}}}}})
		verdicts(t, f.attacker, map[string]bool{"yours": false})
	}},
	{name: "Accounts removes another's account", outcome: "refused, the account stays", counted: "removal", logged: "does not allow the account", do: func(t *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "mine-a"}}, Removed: []string{"yours"}}}})
		v := f.attacker.get("a verdict", func(d *linkv1.SessionDown) bool { return d.GetVerdict().GetRemoved() }).GetVerdict()
		if v.GetAccepted() || v.GetAccount() != "yours" {
			t.Errorf("verdict %v", v)
		}
	}},
	{name: "Facts of another's account", outcome: "dropped", counted: "facts", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "yours", Namespaces: []string{"forged"}, Problem: "forged"}}})
	}},
	{name: "Batch for another's account at its epoch", outcome: "dropped, nothing is written", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(batch("yours", f.victims, 1, "forged", 100))
	}},
	{name: "Batch for another's account at the own epoch", outcome: "dropped, nothing is written", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(batch("yours", f.own, 1, "forged", 100))
	}},
	{name: "Digest of another's account", outcome: "dropped, no answer", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(&linkv1.InventoryUp{Account: "yours", Epoch: f.victims, Seq: 1, Step: &linkv1.InventoryUp_Digest{Digest: &linkv1.Digest{Group: &linkv1.Group{Type: "pod"}}}})
	}},
	{name: "Page, an empty snapshot that would sweep another's rows", outcome: "dropped, nothing is swept", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(&linkv1.InventoryUp{Account: "yours", Epoch: f.victims, Seq: 1, Step: &linkv1.InventoryUp_Page{Page: &linkv1.Page{Group: &linkv1.Group{Type: "pod"}, Begin: true, End: true}}})
	}},
	{name: "Row whose body names another's object", outcome: "the row is rejected", counted: "item", logged: "item cannot be stored", do: func(t *testing.T, f *foes) {
		f.reject(t, row("mine-a", "forged", func(id, body string) string {
			return strings.ReplaceAll(body, id, strings.ReplaceAll(id, ":mine-a:", ":yours:"))
		}))
	}},
	{name: "Row that refers to another's object", outcome: "the row is rejected", counted: "item", logged: "belongs to another account", do: func(t *testing.T, f *foes) {
		f.reject(t, row("mine-a", "forged", func(_, body string) string {
			return strings.Replace(body, `"relationships":{}`, `"relationships":{"replicaSet":["kubernetes.v2:infrastructure:replicaSet:yours:ns:web"]}`, 1)
		}))
	}},
	{name: "Key whose parts try to leave the account", outcome: "the row is rejected", counted: "item", logged: "item cannot be stored", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: &linkv1.Key{Type: "pod:yours", Scope: "ns", Name: "x"}, Body: []byte("{}")}}})
	}},
	{name: "Link of a type that is none", outcome: "the link is rejected", counted: "item", logged: "is not a kind", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: &linkv1.Link{From: &linkv1.Key{Type: "pod", Scope: "ns", Name: "x"}, To: &linkv1.Key{Type: "clusters` WHERE 1", Scope: "a", Name: "b"}}}})
	}},
	{name: "Batch at an epoch that is over", outcome: "dropped, the present epoch goes on", counted: "", do: func(t *testing.T, f *foes) {
		f.inventory.say(batch("mine-a", f.own+7, 1, "early", 100))
		f.inventory.say(batch("mine-a", f.own, 1, "now", 100))
		until(t, "the present one is acknowledged", f.inventory.down, func(d *linkv1.InventoryDown) bool { return d.GetAck().GetSeq() == 1 })
		if n := f.w.db.Count(t, "cats_v1_pod", "id LIKE '%:early'"); n != 0 {
			t.Errorf("%d rows of a wrong epoch", n)
		}
	}},
	{name: "Output and Outcome of another's operation", outcome: "ignored, its own agent's answer counts", counted: "", do: func(t *testing.T, f *foes) {
		ended := f.w.begin(t, "yours")
		id := until(t, "the victim has the operation", f.victimsTasks.down, func(d *linkv1.OperationDown) bool { return d.GetStart() != nil }).GetId()
		f.operations.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Data: []byte("forged")}}})
		f.operations.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
		// The bridge answers the forged outcome as it does every one, so it has been looked at by then.
		until(t, "the forged outcome was seen", f.operations.down, func(d *linkv1.OperationDown) bool { return d.GetReceived() != nil })
		f.victimsTasks.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Data: []byte("true")}}})
		f.victimsTasks.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
		if text := <-ended; text != "true" {
			t.Errorf("the caller got %q", text)
		}
	}},
	{name: "the other's process is claimed to get its operations", outcome: "the claimant is another process: nothing reaches it", counted: "", do: func(t *testing.T, f *foes) {
		ended := f.w.begin(t, "yours")
		id := until(t, "the victim has the operation", f.victimsTasks.down, func(d *linkv1.OperationDown) bool { return d.GetStart() != nil }).GetId()
		// The same instance by another identity: neither ends the victim's session nor gets what it does.
		claim := f.again("victim", "mine-b")
		tasks := claim.operations()
		claim.attached("mine-b")
		f.victimsTasks.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
		if text := <-ended; text != "" {
			t.Errorf("the caller got %q", text)
		}
		claim.cut()
		for d := range tasks.down {
			t.Errorf("the claimant got %v", d)
		}
	}},
	{name: "a stream with a guessed secret", outcome: "UNAUTHENTICATED", counted: "stream", logged: "no such session here", do: func(t *testing.T, f *foes) {
		secret := f.attacker.secret
		f.attacker.secret = strings.Repeat("0", len(secret))
		if _, open := <-f.attacker.inventory().down; open {
			t.Error("it is open")
		}
	}},
	{name: "a session without identity", outcome: "UNAUTHENTICATED", counted: "session", logged: "neither an enrolment token nor a client certificate", do: func(t *testing.T, f *foes) {
		a := f.w.open("")
		a.listen()
		if err := a.over(); status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	}},
}

var update = flag.Bool("update", false, "write the matrix of docs/identity.md anew")

func TestTheMatrixOfTheDocumentationIsWhatIsTried(t *testing.T) {
	var table strings.Builder
	table.WriteString("| message of an agent whose token covers `mine-*` | outcome | counted as |\n|---|---|---|\n")
	for _, a := range attempts {
		counted := "–"
		if a.counted != "" {
			counted = "`" + a.counted + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", a.name, a.outcome, counted)
	}
	const begin, end = "<!-- matrix -->\n", "<!-- /matrix -->"
	file := filepath.Join("..", "..", "..", "docs", "identity.md")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(content), begin)
	have, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no place for the matrix", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
		return
	}
	if have != table.String() {
		t.Errorf("the matrix of %s is not what is tried; go test ./bridge/internal/session -run Matrix -update", file)
	}
}

func attempted(t *testing.T, d *storetest.DB, c attempt) {
	f := newFoes(t, d)
	before := f.w.count(t, c.counted)
	c.do(t, f)
	if c.counted != "" {
		f.w.until("it is counted", func() bool { return f.w.count(t, c.counted) > before })
		f.w.until("it is logged", func() bool { return strings.Contains(f.w.log.String(), c.logged) })
	}
	// The victim goes on: a heartbeat comes back, and its row is as it was.
	f.victim.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Heartbeat{Heartbeat: &linkv1.Heartbeat{Number: 77}}})
	f.victim.get("the heartbeat", func(d *linkv1.SessionDown) bool { return d.GetHeartbeat().GetNumber() == 77 })
	if n := d.Count(t, "cats_v1_pod", "agent LIKE 'yours/%'"); n != 1 {
		t.Errorf("%d rows of the victim, want 1", n)
	}
	if n := d.Count(t, "cats_v1_pod", "id LIKE '%forged%'"); n != 0 {
		t.Errorf("%d forged rows", n)
	}
	if facts, known := f.w.registry.Get("yours"); !known || facts.Facts.GetProblem() != "" {
		t.Errorf("the victim's account: known %v, %v", known, facts.Facts)
	}
}

func newFoes(t *testing.T, d *storetest.DB) *foes {
	t.Helper()
	w := newWorld(t, d, "b", cache.Options{})
	f := &foes{w: w}
	f.victim = w.connect("victim", "yours")
	f.victims = f.victim.attached("yours").GetEpoch()
	rows := f.victim.inventory()
	f.victimsTasks = f.victim.operations()
	rows.say(batch("yours", f.victims, 1, "web", 100))
	until(t, "the victim's row", rows.down, func(d *linkv1.InventoryDown) bool { return d.GetAck().GetSeq() == 1 })
	_, narrow, err := w.tokens.Create(t.Context(), []string{"mine-*"}, 0, "narrow")
	if err != nil {
		t.Fatal(err)
	}
	w.token = narrow
	f.attacker = w.connect("evil", "mine-a")
	f.own = f.attacker.attached("mine-a").GetEpoch()
	f.inventory, f.operations = f.attacker.inventory(), f.attacker.operations()
	return f
}

func (f *foes) open(token string) *agent { return f.w.open(token) }

// again is another session of the attacker's identity.
func (f *foes) again(instance string, accounts ...string) *agent {
	return f.w.connect(instance, accounts...)
}

// verdicts waits for the verdicts on some accounts.
func verdicts(t *testing.T, a *agent, want map[string]bool) {
	t.Helper()
	for left := len(want); left > 0; {
		v := a.get("a verdict", func(d *linkv1.SessionDown) bool { _, asked := want[d.GetVerdict().GetAccount()]; return asked }).GetVerdict()
		left--
		if v.GetAccepted() != want[v.GetAccount()] {
			t.Errorf("verdict %v", v)
		}
	}
}

// reject sends a change and waits until it is rejected.
func (f *foes) reject(t *testing.T, c *linkv1.Change) {
	t.Helper()
	f.inventory.say(&linkv1.InventoryUp{Account: "mine-a", Epoch: f.own, Seq: 1, Step: &linkv1.InventoryUp_Batch{Batch: &linkv1.Batch{Changes: []*linkv1.Change{c}}}})
	until(t, "it is rejected", f.inventory.down, func(d *linkv1.InventoryDown) bool { return d.GetRejected() != nil })
}

// row is a pod's row as an honest agent sends it, but for what forge does with its body.
func row(account, name string, forge func(id, body string) string) *linkv1.Change {
	c := batch(account, 1, 1, name, 100).GetBatch().GetChanges()[0]
	id, err := cats.Key{Type: "pod", Scope: c.GetPutRow().GetKey().GetScope(), Name: name}.ID(account)
	if err != nil {
		panic(err)
	}
	c.GetPutRow().Body = []byte(forge(id, string(c.GetPutRow().GetBody())))
	return c
}

// count is the metric of what agents were refused.
func (w *world) count(t *testing.T, what string) float64 {
	t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "fairlead_bridge_agents_refused_total" && m.GetLabel()[0].GetValue() == what {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// begin asks for an operation of an account; what it printed comes when it has ended.
func (w *world) begin(t *testing.T, account string) <-chan string {
	t.Helper()
	ended := make(chan string, 1)
	go func() {
		var out strings.Builder
		if _, err := w.router.Run(t.Context(), account, &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "pod", Name: "x"}}}, true, &out); err != nil {
			t.Error(err)
		}
		ended <- out.String()
	}()
	return ended
}
