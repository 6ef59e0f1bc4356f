package link

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// testBridge is a session whose agent has said hello for "prod".
func testBridge(t *testing.T, tune func(*BridgeConfig)) *Bridge {
	t.Helper()
	cfg := BridgeConfig{Session: "s", Secret: "x", Format: 1, Rand: seeded(1), LinkID: modelLinkID}
	if tune != nil {
		tune(&cfg)
	}
	b, err := NewBridge(epochStart, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.ReceivedSession(epochStart, helloFrame("prod"))
	return b
}

func helloFrame(accounts ...string) *linkv1.SessionUp {
	h := &linkv1.Hello{Capability: 1, CatsFormat: 1, Agent: &linkv1.Agent{Instance: "i"}}
	for _, name := range accounts {
		h.Accounts = append(h.Accounts, &linkv1.Account{Name: name})
	}
	return &linkv1.SessionUp{Frame: &linkv1.SessionUp_Hello{Hello: h}}
}

func accept(b *Bridge) {
	b.DeclareDone(epochStart, []*linkv1.AccountVerdict{{Account: "prod", Accepted: true}}, nil)
}

func attach(b *Bridge) {
	accept(b)
	b.AttachDone(epochStart, AttachResult{Account: "prod", Epoch: 1})
}

func bridgeActions(b *Bridge) (list []Action) {
	for a := b.NextAction(); a != nil; a = b.NextAction() {
		list = append(list, a)
	}
	return list
}

func find[T Action](list []Action) (found []T) {
	for _, a := range list {
		if x, ok := a.(T); ok {
			found = append(found, x)
		}
	}
	return found
}

func pageFrame(seq uint64, begin, end bool, keys ...string) *linkv1.InventoryUp {
	p := &linkv1.Page{Group: podGroup.message(), Begin: begin, End: end}
	for _, k := range keys {
		p.Entries = append(p.Entries, &linkv1.Entry{Key: k})
	}
	return &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: seq, Step: &linkv1.InventoryUp_Page{Page: p}}
}

func batchFrame(seq uint64, changes ...*linkv1.Change) *linkv1.InventoryUp {
	return &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: seq, Step: &linkv1.InventoryUp_Batch{Batch: &linkv1.Batch{Changes: changes}}}
}

func TestAgentThatBreaksTheProtocolIsClosed(t *testing.T) {
	for what, feed := range map[string]func(b *Bridge){
		"second hello":     func(b *Bridge) { b.ReceivedSession(epochStart, helloFrame()) },
		"twice":            func(b *Bridge) { declareFrame(b, "a", "a") },
		"without a name":   func(b *Bridge) { declareFrame(b, "") },
		"more than 3":      func(b *Bridge) { declareFrame(b, "a", "b", "c", "d") },
		"where 1 was next": func(b *Bridge) { b.ReceivedInventory(epochStart, batchFrame(2)) },
		"does not know": func(b *Bridge) {
			b.ReceivedInventory(epochStart, &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: 1})
		},
		"change without": func(b *Bridge) { b.ReceivedInventory(epochStart, batchFrame(1, &linkv1.Change{})) },
		"without its first page": func(b *Bridge) {
			b.ReceivedInventory(epochStart, pageFrame(1, false, true))
		},
		"order of their keys": func(b *Bridge) { b.ReceivedInventory(epochStart, pageFrame(1, true, true, "ns/b", "ns/a")) },
		"or one without a type": func(b *Bridge) {
			b.ReceivedInventory(epochStart, &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: 1, Step: &linkv1.InventoryUp_Digest{}})
		},
		"or of one without a type": func(b *Bridge) {
			b.ReceivedInventory(epochStart, &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: 1, Step: &linkv1.InventoryUp_Page{Page: &linkv1.Page{Begin: true}}})
		},
		"beyond its credit": func(b *Bridge) {
			for i := range uint64(10) {
				b.ReceivedInventory(epochStart, batchFrame(i+1, putRow(podType, "a", make([]byte, 600))))
			}
		},
	} {
		b := testBridge(t, func(c *BridgeConfig) { c.Accounts, c.Window = 3, 1000 })
		attach(b)
		feed(b)
		h := find[Hangup](bridgeActions(b))
		if len(h) != 1 || h[0].Code != linkv1.Close_CODE_PROTOCOL || !strings.Contains(h[0].Reason, what) {
			t.Errorf("%s: %+v", what, h)
		}
		if b.NextInventory() != nil {
			t.Errorf("%s: it still answers", what)
		}
	}
}

func declareFrame(b *Bridge, names ...string) {
	var list []*linkv1.Account
	for _, n := range names {
		list = append(list, &linkv1.Account{Name: n})
	}
	b.ReceivedSession(epochStart, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: list}}})
}

func TestHelloMustComeFirstAndNameItsInstance(t *testing.T) {
	anonymous := helloFrame()
	anonymous.GetHello().Agent = nil
	for what, frame := range map[string]*linkv1.SessionUp{"not hello": {}, "no instance": anonymous} {
		b, err := NewBridge(epochStart, BridgeConfig{Session: "s", Secret: "x", Format: 1, Rand: seeded(1), LinkID: modelLinkID})
		if err != nil {
			t.Fatal(err)
		}
		b.ReceivedSession(epochStart, frame)
		if h := find[Hangup](bridgeActions(b)); len(h) != 1 || !strings.Contains(h[0].Reason, what) {
			t.Errorf("%s: %+v", what, h)
		}
	}
}

func TestRegistryThatCannotAnswerIsAskedAgain(t *testing.T) {
	b := testBridge(t, nil)
	if n := len(find[Declare](bridgeActions(b))); n != 1 {
		t.Fatalf("%d declarations", n)
	}
	b.DeclareDone(epochStart, nil, errors.New("away"))
	b.Tick(epochStart.Add(10 * time.Second))
	if n := len(find[Declare](bridgeActions(b))); n != 1 {
		t.Fatalf("%d declarations", n)
	}
	// What changes while it is asked is declared after its answer.
	declareFrame(b, "prod", "stage")
	declareFrame(b, "stage")
	if n := len(find[Declare](bridgeActions(b))); n != 0 {
		t.Fatalf("%d declarations at once", n)
	}
	accept(b)
	if d := find[Declare](bridgeActions(b)); len(d) != 1 || d[0].Accounts[0].GetName() != "stage" {
		t.Fatalf("%v", d)
	}
}

func TestVerdictsMayChange(t *testing.T) {
	b := testBridge(t, nil)
	b.ReceivedSession(epochStart, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "prod"}}})
	if n := len(find[StoreFacts](bridgeActions(b))); n != 0 {
		t.Fatal("facts of an account that is not accepted were stored")
	}
	attach(b)
	list := bridgeActions(b)
	if len(find[StoreFacts](list)) != 1 || len(find[ReadGroups](list)) != 1 {
		t.Fatalf("%v", list)
	}
	declareFrame(b, "prod")
	b.DeclareDone(epochStart, []*linkv1.AccountVerdict{{Account: "prod", Reason: "its token was revoked"}}, nil)
	var notes []string
	for _, n := range find[Note](bridgeActions(b)) {
		notes = append(notes, fmt.Sprint(n.What))
	}
	if got := strings.Join(notes, " "); got != fmt.Sprint(NoteDetached, NoteWithdrawn, NoteRefused) {
		t.Fatal(got)
	}
	b.ReceivedInventory(epochStart, batchFrame(1, putRow(podType, "a", nil)))
	if n := len(find[Write](bridgeActions(b))); n != 0 {
		t.Fatal("a refused account was written")
	}
}

func TestGroupsAreReadAgainWhenTheDatabaseWasAway(t *testing.T) {
	b := testBridge(t, nil)
	attach(b)
	bridgeActions(b)
	b.GroupsDone(epochStart, GroupsResult{Account: "prod", Epoch: 1, Err: errAway})
	b.Tick(epochStart.Add(10 * time.Second))
	if n := len(find[ReadGroups](bridgeActions(b))); n != 1 {
		t.Fatalf("%d reads", n)
	}
}

func TestSnapshotThatNobodyAskedForSweepsNothing(t *testing.T) {
	b := testBridge(t, nil)
	attach(b)
	bridgeActions(b)
	b.ReceivedInventory(epochStart, pageFrame(1, true, false, "ns/a"))
	b.ReceivedInventory(epochStart, pageFrame(2, false, true, "ns/b"))
	if list := bridgeActions(b); len(list) != 0 {
		t.Fatalf("%v", list)
	}
	if ack := b.handledOf("prod"); ack != 2 {
		t.Fatalf("%d steps were handled", ack)
	}
}

func (b *Bridge) handledOf(account string) uint64 { return b.accounts[account].handled }

func TestPermitThatIsNotUsedGoesToAnotherGroup(t *testing.T) {
	b := testBridge(t, func(c *BridgeConfig) { c.Resyncs = 1 })
	attach(b)
	for i, typ := range []string{"pod", "svc"} {
		seq := uint64(i + 1)
		b.ReceivedInventory(epochStart, &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: seq, Step: &linkv1.InventoryUp_Digest{
			Digest: &linkv1.Digest{Group: &linkv1.Group{Type: typ}, Count: 1}}})
		b.DigestDone(epochStart, DigestResult{Account: "prod", Epoch: 1, Seq: seq})
	}
	verdicts := func() (types []string) {
		for f := b.NextInventory(); f != nil; f = b.NextInventory() {
			if v := f.GetVerdict(); v != nil {
				types = append(types, v.GetGroup().GetType())
			}
		}
		return types
	}
	if got := fmt.Sprint(verdicts()); got != "[pod]" {
		t.Fatal(got)
	}
	for i := range 13 {
		now := epochStart.Add(time.Duration(i) * 10 * time.Second)
		b.Heard(now)
		b.Tick(now)
	}
	if got := fmt.Sprint(verdicts()); got != "[svc]" {
		t.Fatal(got)
	}
}

func TestSnapshotForgetsTooManyChangesRatherThanGrow(t *testing.T) {
	s := &snapshot{touched: map[string]struct{}{}, last: "x"}
	key := strings.Repeat("k", 1<<20)
	for i := range 20 {
		s.touch(fmt.Sprint(key, i))
	}
	if !s.void || s.touched != nil || s.last != "x" {
		t.Fatal("it remembers everything")
	}
}

func TestRowsThatCameOutOfOrderAreSorted(t *testing.T) {
	s := &snapshot{touched: map[string]struct{}{}}
	s.load([]*linkv1.Entry{{Key: "ns/b"}, {Key: "ns/a"}})
	if wanted := s.compare(&linkv1.Page{Entries: []*linkv1.Entry{{Key: "ns/a"}, {Key: "ns/b"}}, End: true}); len(wanted) != 0 || len(s.sweep()) != 0 {
		t.Fatal(wanted, s.sweep())
	}
}

func TestReadsThatFailAttachAgain(t *testing.T) {
	for what, fail := range map[string]func(b *Bridge){
		"digest": func(b *Bridge) {
			b.ReceivedInventory(epochStart, &linkv1.InventoryUp{Account: "prod", Epoch: 1, Seq: 1, Step: &linkv1.InventoryUp_Digest{Digest: &linkv1.Digest{Group: podGroup.message()}}})
			b.DigestDone(epochStart, DigestResult{Account: "prod", Epoch: 1, Seq: 1, Err: errAway})
		},
		"write": func(b *Bridge) {
			b.ReceivedInventory(epochStart, batchFrame(1, putRow(podType, "a", nil)))
			b.WriteDone(epochStart, WriteResult{Account: "prod", Epoch: 1, Seq: 1, Err: errAway})
			b.WriteDone(epochStart, WriteResult{Account: "prod", Epoch: 1, Seq: 1})
		},
	} {
		b := testBridge(t, nil)
		attach(b)
		bridgeActions(b)
		fail(b)
		b.Tick(epochStart.Add(10 * time.Second))
		if a := find[Attach](bridgeActions(b)); len(a) != 1 || a[0].ResumeEpoch != 1 {
			t.Errorf("%s: %v", what, a)
		}
		if b.held != b.owed {
			t.Errorf("%s: %d bytes held, %d owed", what, b.held, b.owed)
		}
	}
}

func TestDrainBeforeHelloCloses(t *testing.T) {
	b, err := NewBridge(epochStart, BridgeConfig{Session: "s", Secret: "x", Format: 1, Rand: seeded(1), LinkID: modelLinkID})
	if err != nil {
		t.Fatal(err)
	}
	b.Drain(epochStart, nil, "the bridge stops")
	if h := find[Hangup](bridgeActions(b)); len(h) != 1 || h[0].Code != linkv1.Close_CODE_DRAINED {
		t.Fatalf("%v", h)
	}
	b.Lost(epochStart, "")
	if b.NextSession() != nil {
		t.Fatal("nobody can be told any more")
	}
}

func TestAVerdictOnAnEarlierDeclarationDoesNotAnswerARemoval(t *testing.T) {
	b := testBridge(t, nil)
	bridgeActions(b) // the registry is asked about prod, and has not answered when the agent removes it
	b.ReceivedSession(epochStart, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Removed: []string{"prod"}}}})
	accept(b)
	asked := find[Declare](bridgeActions(b))
	if len(asked) != 1 || len(asked[0].Removed) != 1 || asked[0].Removed[0] != "prod" {
		t.Fatalf("asked %v, want the removal", asked)
	}
	b.DeclareDone(epochStart, []*linkv1.AccountVerdict{{Account: "prod", Accepted: true, Removed: true}}, nil)
	answered := 0
	for f := b.NextSession(); f != nil; f = b.NextSession() {
		if f.GetVerdict().GetRemoved() {
			answered++
		}
	}
	if answered != 1 {
		t.Errorf("the removal was answered %d times", answered)
	}

	// An account that comes back before the registry was asked is not removed.
	declareFrame(b, "other")
	b.ReceivedSession(epochStart, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Removed: []string{"other"}}}})
	declareFrame(b, "other")
	bridgeActions(b)
	b.DeclareDone(epochStart, []*linkv1.AccountVerdict{{Account: "other", Accepted: true}}, nil)
	if asked := find[Declare](bridgeActions(b)); len(asked) != 1 || len(asked[0].Removed) != 0 {
		t.Errorf("asked %v, want no removal", asked)
	}
}

func TestAccountThatWasRemovedElsewhereComesBackOnlyWhenItsAgentDeclaresAnew(t *testing.T) {
	b := testBridge(t, nil)
	attach(b)
	bridgeActions(b)
	b.Removed(epochStart, "other")
	if found := find[Note](bridgeActions(b)); len(found) != 0 {
		t.Error("an account that the session does not have:", found)
	}
	b.Removed(epochStart, "prod")
	if notes := find[Note](bridgeActions(b)); len(notes) != 2 || notes[0].What != NoteDetached || notes[1].What != NoteWithdrawn || notes[1].Account != "prod" {
		t.Error("notes:", notes)
	}
	b.Reconsider(epochStart)
	for _, d := range find[Declare](bridgeActions(b)) {
		if len(d.Accounts) != 0 {
			t.Error("the registry is asked for", d.Accounts)
		}
	}
	b.DeclareDone(epochStart, nil, nil)
	b.ReceivedSession(epochStart, &linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "prod"}}}}})
	if asked := find[Declare](bridgeActions(b)); len(asked) != 1 || len(asked[0].Accounts) != 1 {
		t.Error("declared anew, the registry is asked for", asked)
	}
}

func TestOtherSettingsOfAnAccountAreToldWithoutAttachingAgain(t *testing.T) {
	b := testBridge(t, nil)
	attach(b)
	for b.NextSession() != nil {
	}
	bridgeActions(b)
	decide := func(v *linkv1.AccountVerdict) (told *linkv1.AccountVerdict) {
		b.Reconsider(epochStart)
		v.Account, v.Accepted = "prod", true
		b.DeclareDone(epochStart, []*linkv1.AccountVerdict{v}, nil)
		for f := b.NextSession(); f != nil; f = b.NextSession() {
			if f.GetVerdict() == nil {
				t.Errorf("the agent is told %v", f)
			}
			told = f.GetVerdict()
		}
		for _, a := range bridgeActions(b) {
			if _, asks := a.(Declare); !asks {
				t.Errorf("%T follows", a)
			}
		}
		return told
	}
	settings := &linkv1.AccountSettings{LogLevel: "debug"}
	if told := decide(&linkv1.AccountVerdict{Settings: settings}); told.GetSettings().GetLogLevel() != "debug" {
		t.Errorf("told %v", told)
	}
	if told := decide(&linkv1.AccountVerdict{Settings: settings}); told != nil {
		t.Errorf("told %v again", told)
	}
	if told := decide(&linkv1.AccountVerdict{Settings: settings, Cache: &linkv1.CachePolicy{All: true}}); !told.GetCache().GetAll() {
		t.Errorf("told %v", told)
	}
}
