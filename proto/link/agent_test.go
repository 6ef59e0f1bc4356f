package link

import (
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestConfigurationThatCannotWorkIsRefused(t *testing.T) {
	sound := BridgeConfig{Session: "s", Secret: "x", Rand: seeded(1), LinkID: modelLinkID}
	for what, breakIt := range map[string]func(*BridgeConfig){
		"Session": func(c *BridgeConfig) { c.Session = "" },
		"Secret":  func(c *BridgeConfig) { c.Secret = "" },
		"Rand":    func(c *BridgeConfig) { c.Rand = nil },
		"LinkID":  func(c *BridgeConfig) { c.LinkID = nil },
		"Silence": func(c *BridgeConfig) { c.Heartbeat, c.Silence = time.Minute, time.Second },
	} {
		cfg := sound
		breakIt(&cfg)
		if _, err := NewBridge(epochStart, cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, cfg := range map[string]AgentConfig{"Instance": {Rand: seeded(1)}, "Rand": {Agent: &linkv1.Agent{Instance: "i"}}} {
		if _, err := NewAgent(cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// endOf returns how the agent's session ended.
func endOf(t *testing.T, a *Agent) Disconnect {
	t.Helper()
	for _, action := range actionsOf(a) {
		if d, ok := action.(Disconnect); ok {
			return d
		}
	}
	t.Fatal("the session goes on")
	return Disconnect{}
}

func TestAgentLeavesBridgesThatItCannotWorkWith(t *testing.T) {
	for _, c := range []struct {
		welcome *linkv1.Welcome
		code    linkv1.Close_Code
		final   bool
		reason  string
	}{
		{&linkv1.Welcome{Capability: 0, CatsFormat: 1}, linkv1.Close_CODE_REFUSED, true, "upgrade the bridge"},
		{&linkv1.Welcome{Capability: 1, CatsFormat: 2}, linkv1.Close_CODE_REFUSED, true, "cache format 2"},
		{nil, linkv1.Close_CODE_PROTOCOL, false, "neither welcome nor close"},
	} {
		a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1)})
		if err != nil {
			t.Fatal(err)
		}
		a.Connected(epochStart)
		frame := &linkv1.SessionDown{}
		if c.welcome != nil {
			frame.Frame = &linkv1.SessionDown_Welcome{Welcome: c.welcome}
		}
		a.ReceivedSession(epochStart, frame)
		if d := endOf(t, a); d.Code != c.code || d.Final != c.final || !strings.Contains(d.Reason, c.reason) {
			t.Errorf("%+v", d)
		}
		if a.NextInventory() != nil || a.NextOperation() != nil {
			t.Error("it still sends")
		}
	}
}

func TestBridgeThatDoesNotAnswerHelloIsLeft(t *testing.T) {
	a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1)})
	if err != nil {
		t.Fatal(err)
	}
	a.Connected(epochStart)
	a.Tick(epochStart.Add(9 * time.Second))
	if a.NextAction() != nil {
		t.Fatal("it did not wait")
	}
	a.Tick(epochStart.Add(10 * time.Second))
	if d := endOf(t, a); d.Code != linkv1.Close_CODE_SILENCE {
		t.Fatalf("%+v", d)
	}
}

func TestCloseTellsTheAgentWhatToDo(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{})
	a.ReceivedSession(now, &linkv1.SessionDown{Frame: &linkv1.SessionDown_Close{Close: &linkv1.Close{Code: linkv1.Close_CODE_RETRY, Reason: "full", RetryAfterMs: 5_000}}})
	if d := endOf(t, a); d.RetryAfter != 5*time.Second || d.Final || d.Reason != "full" {
		t.Fatalf("%+v", d)
	}
}

func TestBridgeThatBreaksTheProtocolIsLeft(t *testing.T) {
	attached := &linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{Account: "prod", Epoch: 1}}}
	keys := make([]string, maxWanted+1)
	for what, feed := range map[string]func(a *Agent, now time.Time){
		"second welcome": func(a *Agent, now time.Time) {
			a.ReceivedSession(now, &linkv1.SessionDown{Frame: &linkv1.SessionDown_Welcome{Welcome: &linkv1.Welcome{}}})
		},
		"epoch 0": func(a *Agent, now time.Time) {
			a.ReceivedSession(now, &linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{Account: "prod"}}})
		},
		"acknowledged step 7": func(a *Agent, now time.Time) {
			a.ReceivedInventory(now, &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Ack{Ack: &linkv1.Ack{Account: "prod", Epoch: 1, Seq: 7}}})
		},
		"wants more than": func(a *Agent, now time.Time) {
			a.ReceivedInventory(now, &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: &linkv1.Want{Account: "prod", Epoch: 1, Group: podGroup.message(), Keys: keys}}})
		},
		"without an id": func(a *Agent, now time.Time) { a.ReceivedOperation(now, &linkv1.OperationDown{}) },
	} {
		a, now := connectedAgent(t, LedgerConfig{})
		a.ReceivedSession(now, attached)
		feed(a, now)
		if d := endOf(t, a); d.Code != linkv1.Close_CODE_PROTOCOL || !strings.Contains(d.Reason, what) {
			t.Errorf("%s: %+v", what, d)
		}
	}
}

func TestOneAccountsFullOutboxDoesNotStopAnother(t *testing.T) {
	a, err := NewAgent(AgentConfig{Agent: &linkv1.Agent{Instance: "i"}, Format: 1, Rand: seeded(1), TotalBytes: 3_000, ShareBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	a.SetAccounts(epochStart, []Served{{Account: &linkv1.Account{Name: "prod"}, Records: newInventory("prod")},
		{Account: &linkv1.Account{Name: "stage"}, Records: newInventory("stage")}}, nil)
	connectAgent(a, epochStart)
	for _, name := range []string{"prod", "stage"} {
		a.ReceivedSession(epochStart, &linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{Account: name, Epoch: 1}}})
		a.Live(epochStart, name, podType)
	}
	for i := 0; a.Room("prod"); i++ {
		a.Put("prod", []*linkv1.Change{putRow(podType, string(rune('a'+i)), make([]byte, 200))})
	}
	if changes, bytes := a.Outbox("prod"); changes == 0 || bytes < 3_000 {
		t.Fatalf("%d changes, %d bytes", changes, bytes)
	}
	if !a.Room("stage") {
		t.Fatal("an account without changes has no room")
	}
	if a.Put("stage", []*linkv1.Change{putRow(podType, "a", make([]byte, 200))}) {
		t.Fatal("it has room for a second set, above the agent's sum")
	}
	if changes, _ := a.Outbox("unknown"); changes != 0 || !a.Room("unknown") || !a.Put("unknown", nil) {
		t.Fatal("an unknown account")
	}
}

// An account whose filters changed, or whose credentials are for another API server, is served anew in the same session: the bridge has to attach it
// and to say again what is cached.
func TestAnAccountWithOtherRecordsLeavesTheSessionAndComesBack(t *testing.T) {
	a, now := connectedAgent(t, LedgerConfig{})
	serve := func(prod Records) {
		a.SetAccounts(now, []Served{{Account: &linkv1.Account{Name: "prod"}, Records: prod}}, nil)
	}
	told := func() (lists []string) {
		for f := a.NextSession(); f != nil; f = a.NextSession() {
			if list := f.GetAccounts(); list != nil {
				names := "-"
				for _, acc := range list.GetAccounts() {
					names += acc.GetName()
				}
				lists = append(lists, names)
			}
		}
		return lists
	}
	first := newInventory("prod")
	serve(first)
	told()
	serve(first)
	if got := strings.Join(told(), " "); got != "-prod" {
		t.Errorf("the same records: %s", got)
	}
	serve(newInventory("prod"))
	if got := strings.Join(told(), " "); got != "- -prod" {
		t.Errorf("other records: %s", got)
	}

	b := testBridge(t, nil)
	attach(b)
	for b.NextSession() != nil {
	}
	bridgeActions(b)
	declareFrame(b)
	declareFrame(b, "prod")
	b.DeclareDone(epochStart, nil, nil)
	accept(b)
	verdicts := 0
	for f := b.NextSession(); f != nil; f = b.NextSession() {
		if f.GetVerdict() != nil {
			verdicts++
		}
	}
	if attaches := find[Attach](bridgeActions(b)); verdicts != 1 || len(attaches) != 1 {
		t.Errorf("%d verdicts, %d attaches", verdicts, len(attaches))
	}
}
