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
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// TestEachMessageOfTheProtocolIsHeldToTheAgentsOwnAccounts has one agent, which may serve mine-*, by each kind of identity try every message of the protocol on what is
// another's: accounts, keys, links, operations, epochs. All is refused, counted and logged, and what the other has stays as it is.
func TestEachMessageOfTheProtocolIsHeldToTheAgentsOwnAccounts(t *testing.T) {
	server := storetest.Start(t)
	for _, shown := range credentials {
		t.Run(shown.name, func(t *testing.T) {
			for _, c := range attempts {
				t.Run(c.name, func(t *testing.T) { attempted(t, server.Database(t), c, shown.shows) })
			}
		})
	}
}

// attempt is one message that is tried, and what has to become of it.
type attempt struct {
	// message is that of the protocol, or the call.
	message string
	name    string
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
	{message: "SessionUp.hello", name: "Hello declares another's account", outcome: "the account is refused, the agent's own are served", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		a := f.again("evil-2", "mine-a", "yours")
		verdicts(t, a, map[string]bool{"mine-a": true, "yours": false})
	}},
	{message: "SessionUp.hello", name: "Hello resumes another's epoch", outcome: "the account is refused", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		a := f.w.opens()
		a.say(hello("victim", []*linkv1.Resume{{Account: "yours", Epoch: f.victims}}, "yours"))
		verdicts(t, a, map[string]bool{"yours": false})
	}},
	{message: "SessionUp.accounts", name: "Accounts adds another's account", outcome: "the account is refused, the agent's own go on", counted: "account", logged: "does not cover account", do: func(t *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "mine-a"}, {Name: "yours"}}}}})
		verdicts(t, f.attacker, map[string]bool{"yours": false})
	}},
	{message: "SessionUp.accounts", name: "Accounts removes another's account", outcome: "refused, the account stays", counted: "removal", logged: "does not allow the account", do: func(t *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "mine-a"}}, Removed: []string{"yours"}}}})
		v := f.attacker.get("a verdict", func(d *linkv1.SessionDown) bool { return d.GetVerdict().GetRemoved() }).GetVerdict()
		if v.GetAccepted() || v.GetAccount() != "yours" {
			t.Errorf("verdict %v", v)
		}
	}},
	{message: "SessionUp.compared", name: "Compared of another's account", outcome: "dropped", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Compared{Compared: &linkv1.Compared{Account: "yours", Epoch: f.victims, Agreed: []*linkv1.Group{{Type: "pod"}}}}})
	}},
	{message: "SessionUp.assigned", name: "Assigned, a word about a dynamic account that the agent was not given", outcome: "dropped", do: func(_ *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Assigned{Assigned: &linkv1.Assigned{Account: "yours", Revision: 1, Problem: "forged"}}})
	}},
	{message: "SessionUp.facts", name: "Facts of another's account", outcome: "dropped", counted: "facts", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "yours", Namespaces: []string{"forged"}, Problem: "forged"}}})
	}},
	{message: "InventoryUp.batch", name: "Batch for another's account at its epoch", outcome: "dropped, nothing is written", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(batch("yours", f.victims, 1, "forged", 100))
	}},
	{message: "InventoryUp.batch", name: "Batch for another's account at the own epoch", outcome: "dropped, nothing is written", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(batch("yours", f.own, 1, "forged", 100))
	}},
	{message: "InventoryUp.digest", name: "Digest of another's account", outcome: "dropped, no answer", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(&linkv1.InventoryUp{Account: "yours", Epoch: f.victims, Seq: 1, Step: &linkv1.InventoryUp_Digest{Digest: &linkv1.Digest{Group: &linkv1.Group{Type: "pod"}}}})
	}},
	{message: "InventoryUp.page", name: "Page, an empty snapshot that would sweep another's rows", outcome: "dropped, nothing is swept", counted: "inventory", logged: "does not serve this account", do: func(_ *testing.T, f *foes) {
		f.inventory.say(&linkv1.InventoryUp{Account: "yours", Epoch: f.victims, Seq: 1, Step: &linkv1.InventoryUp_Page{Page: &linkv1.Page{Group: &linkv1.Group{Type: "pod"}, Begin: true, End: true}}})
	}},
	{message: "Change.put_row", name: "Row whose body names another's object", outcome: "the row is rejected", counted: "item", logged: "item cannot be stored", do: func(t *testing.T, f *foes) {
		f.reject(t, row("mine-a", "forged", func(id, body string) string {
			return strings.ReplaceAll(body, id, strings.ReplaceAll(id, ":mine-a:", ":yours:"))
		}))
	}},
	{message: "Change.put_row", name: "Row that refers to another's object", outcome: "the row is rejected", counted: "item", logged: "belongs to another account", do: func(t *testing.T, f *foes) {
		f.reject(t, row("mine-a", "forged", func(_, body string) string {
			return strings.Replace(body, `"relationships":{}`, `"relationships":{"replicaSet":["kubernetes.v2:infrastructure:replicaSet:yours:ns:web"]}`, 1)
		}))
	}},
	{message: "Change.put_row", name: "Key whose parts try to leave the account", outcome: "the row is rejected", counted: "item", logged: "item cannot be stored", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: &linkv1.Key{Type: "pod:yours", Scope: "ns", Name: "x"}, Body: []byte("{}")}}})
	}},
	{message: "Change.delete_row", name: "Deletion of a row by a key that tries to leave the account", outcome: "the deletion is rejected", counted: "item", logged: "is not a kind", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: &linkv1.Key{Type: "pod:yours", Scope: "n", Name: "web"}}})
	}},
	{message: "Change.delete_link", name: "Deletion of a link of a type that is none", outcome: "the deletion is rejected", counted: "item", logged: "is not a kind", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: &linkv1.Link{From: &linkv1.Key{Type: "pod:yours", Scope: "n", Name: "web"}, To: &linkv1.Key{Type: "clusters", Scope: "a", Name: "b"}}}})
	}},
	{message: "Change.put_link", name: "Row and link of a kind that cache.policies does not name", outcome: "rejected, no table is made", counted: "item", logged: "cache.policies does not name it", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: &linkv1.Link{From: &linkv1.Key{Type: "Forged.example.com", Scope: "n", Name: "x"}, To: &linkv1.Key{Type: "pod", Scope: "n", Name: "x"}}}})
		if n := f.w.db.Count(t, "information_schema.tables", "table_name LIKE '%Forged%'"); n != 0 {
			t.Errorf("%d tables of a forged kind", n)
		}
	}},
	{message: "Change.put_link", name: "Link of a type that is none", outcome: "the link is rejected", counted: "item", logged: "is not a kind", do: func(t *testing.T, f *foes) {
		f.reject(t, &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: &linkv1.Link{From: &linkv1.Key{Type: "pod", Scope: "ns", Name: "x"}, To: &linkv1.Key{Type: "clusters` WHERE 1", Scope: "a", Name: "b"}}}})
	}},
	{message: "InventoryUp.batch", name: "Batch at an epoch that was never given", outcome: "dropped, the present epoch goes on", counted: "epoch", logged: "no such epoch was given", do: func(t *testing.T, f *foes) {
		f.otherEpoch(t, f.own+7)
	}},
	{message: "InventoryUp.batch", name: "Batch at a former epoch", outcome: "dropped, the present epoch goes on; ordinary when an account has moved", counted: "late", logged: "late frame ignored", do: func(t *testing.T, f *foes) {
		f.otherEpoch(t, f.own-1)
	}},
	{message: "OperationUp.output", name: "Output of another's operation", outcome: "ignored, its own agent's answer counts", counted: "operation", logged: "another agent has this operation", do: func(t *testing.T, f *foes) {
		f.forgesAnswer(t, &linkv1.OperationUp{Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Data: []byte("forged")}}})
	}},
	{message: "OperationUp.outcome", name: "Outcome of another's operation", outcome: "ignored, its own agent's answer counts", counted: "operation", logged: "another agent has this operation", do: func(t *testing.T, f *foes) {
		f.forgesAnswer(t, &linkv1.OperationUp{Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	}},
	{message: "OperationUp.outcome", name: "Outcome of an operation that nobody has", outcome: "ignored; ordinary when its caller has gone", counted: "late", logged: "frame of an operation that nobody waits for", do: func(_ *testing.T, f *foes) {
		f.operations.say(&linkv1.OperationUp{Id: "guessed", Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	}},
	{message: "SessionUp.hello", name: "Hello a second time, with another's account", outcome: "the session ends", counted: "protocol", do: func(t *testing.T, f *foes) {
		f.attacker.say(hello("evil", nil, "mine-a", "yours"))
		f.attacker.closed(linkv1.Close_CODE_PROTOCOL)
	}},
	{message: "SessionUp.hello", name: "the other's process is claimed to get its operations", outcome: "the claimant is another process: nothing reaches it", counted: "process", logged: "by the name of one with another identity", do: func(t *testing.T, f *foes) {
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
	{message: "SessionUp.proof", name: "Proof that nobody asked for", outcome: "the session ends", counted: "protocol", do: func(t *testing.T, f *foes) {
		f.attacker.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Proof{Proof: &linkv1.Proof{}}})
		f.attacker.closed(linkv1.Close_CODE_PROTOCOL)
	}},
	{message: "AgentService.Inventory", name: "Inventory stream with a guessed secret", outcome: "UNAUTHENTICATED", counted: "stream", logged: "no such session here", do: func(t *testing.T, f *foes) {
		f.attacker.secret = strings.Repeat("0", len(f.attacker.secret))
		if _, open := <-f.attacker.inventory().down; open {
			t.Error("it is open")
		}
	}},
	{message: "AgentService.Operations", name: "Operations stream with a guessed secret", outcome: "UNAUTHENTICATED", counted: "stream", logged: "no such session here", do: func(t *testing.T, f *foes) {
		f.attacker.secret = strings.Repeat("0", len(f.attacker.secret))
		if _, open := <-f.attacker.operations().down; open {
			t.Error("it is open")
		}
	}},
	{message: "AgentService.Enrol", name: "Enrol with another's certificate and a key of one's own", outcome: "UNAUTHENTICATED", counted: "enrolment", logged: "belongs to another key", do: func(t *testing.T, f *foes) {
		_, theirs := f.w.enrolled(t, f.w.token)
		_, err := f.w.client().Enrol(t.Context(), &agentv1.EnrolRequest{Csr: newRequest(t, newKey(t)), Certificate: theirs[0]})
		if status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	}},
	{message: "AgentService.Session", name: "a session without identity", outcome: "UNAUTHENTICATED", counted: "session", logged: "neither an enrolment token nor a client certificate", do: func(t *testing.T, f *foes) {
		a := f.w.open("")
		a.listen()
		if err := a.over(); status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	}},
}

var update = flag.Bool("update", false, "write the matrix of docs/identity.md anew")

// harmless are messages that name nothing of an account. What metrics may not say package forwarded tries.
var harmless = map[string]bool{"SessionUp.heartbeat": true, "SessionUp.goodbye": true, "SessionUp.metrics": true}

func TestEveryMessageOfTheProtocolIsTried(t *testing.T) {
	tried := map[string]bool{}
	for _, a := range attempts {
		tried[a.message] = true
	}
	for _, m := range []proto.Message{&linkv1.SessionUp{}, &linkv1.InventoryUp{}, &linkv1.Change{}, &linkv1.OperationUp{}} {
		d := m.ProtoReflect().Descriptor()
		for i := range d.Oneofs().Len() {
			for j := range d.Oneofs().Get(i).Fields().Len() {
				if name := string(d.Name()) + "." + string(d.Oneofs().Get(i).Fields().Get(j).Name()); tried[name] == harmless[name] {
					t.Errorf("%s: tried %v, harmless %v", name, tried[name], harmless[name])
				}
			}
		}
	}
	calls := agentv1.File_fairlead_agent_v1_agent_proto.Services().ByName("AgentService").Methods()
	for i := range calls.Len() {
		if name := "AgentService." + string(calls.Get(i).Name()); !tried[name] {
			t.Errorf("%s is not tried", name)
		}
	}
}

func TestTheMatrixOfTheDocumentationIsWhatIsTried(t *testing.T) {
	var table strings.Builder
	table.WriteString("| an agent that may serve `mine-*` sends | | outcome | counted as |\n|---|---|---|---|\n")
	for _, a := range attempts {
		counted := "–"
		if a.counted != "" {
			counted = "`" + a.counted + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", a.message, a.name, a.outcome, counted)
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

func attempted(t *testing.T, d *storetest.DB, c attempt, shows func(t *testing.T, w *world)) {
	f := newFoes(t, d, shows)
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

func newFoes(t *testing.T, d *storetest.DB, shows func(t *testing.T, w *world)) *foes {
	t.Helper()
	w := newWorld(t, d, "b", cache.Options{Policy: func(string) *linkv1.CachePolicy { return &linkv1.CachePolicy{} }})
	f := &foes{w: w}
	f.victim = w.connect("victim", "yours")
	f.victims = f.victim.attached("yours").GetEpoch()
	rows := f.victim.inventory()
	f.victimsTasks = f.victim.operations()
	rows.say(batch("yours", f.victims, 1, "web", 100))
	until(t, "the victim's row", rows.down, func(d *linkv1.InventoryDown) bool { return d.GetAck().GetSeq() == 1 })
	shows(t, w)
	f.attacker = w.connect("evil", "mine-a")
	f.own = f.attacker.attached("mine-a").GetEpoch()
	f.inventory, f.operations = f.attacker.inventory(), f.attacker.operations()
	return f
}

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

// otherEpoch sends a batch of the own account at another epoch, and one at the present.
func (f *foes) otherEpoch(t *testing.T, epoch uint64) {
	t.Helper()
	f.inventory.say(batch("mine-a", epoch, 1, "astray", 100))
	f.inventory.say(batch("mine-a", f.own, 1, "now", 100))
	until(t, "the present one is acknowledged", f.inventory.down, func(d *linkv1.InventoryDown) bool { return d.GetAck().GetSeq() == 1 })
	if n := f.w.db.Count(t, "cats_v1_pod", "id LIKE '%:astray'"); n != 0 {
		t.Errorf("%d rows of a wrong epoch", n)
	}
}

// forgesAnswer has the attacker answer the victim's operation before the victim does.
func (f *foes) forgesAnswer(t *testing.T, forged *linkv1.OperationUp) {
	t.Helper()
	before := f.w.count(t, "operation")
	ended := f.w.begin(t, "yours")
	forged.Id = until(t, "the victim has the operation", f.victimsTasks.down, func(d *linkv1.OperationDown) bool { return d.GetStart() != nil }).GetId()
	f.operations.say(forged)
	f.w.until("the forged answer is counted", func() bool { return f.w.count(t, "operation") > before })
	f.victimsTasks.say(&linkv1.OperationUp{Id: forged.GetId(), Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Data: []byte("true")}}})
	f.victimsTasks.say(&linkv1.OperationUp{Id: forged.GetId(), Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	if text := <-ended; text != "true" {
		t.Errorf("the caller got %q", text)
	}
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
