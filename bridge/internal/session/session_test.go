package session_test

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestSessionsOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *storetest.DB, int)
	}{
		{"nobody comes in without a good token", strangers},
		{"a stream that names no session is refused, and a second one of a session", streams},
		{"what is acknowledged is in the tables, and a broken protocol ends the session", inventory},
		{"frames that are against the protocol close with that word", broken},
		{"a newer session of the same process replaces the older one and continues", replaced},
		{"what agreed before a bridge restarted is known as soon as its agent continues", remembered},
		{"a standby takes over when the holder goes, whenever it goes", standby},
		{"two bridges do not take an account from each other for ever", twoBridges},
		{"replicas at two bridges share their accounts, and few move when one comes or goes", shares},
		{"a process that moves to another bridge keeps its accounts, whatever its old session does", moves},
		{"an account that is withdrawn is handed over and no longer routed", withdrawn},
		{"a revoked token ends its sessions", revoked},
		{"a bridge that drains sends its agents away and lets nobody in", drained},
		{"sessions begin at a limited rate, and those beyond it are told to come later", rush},
		{"facts of an account do not overtake each other, and are stored later if the database is away", facts},
		{"an agent that does not read holds up nothing", deaf},
		{"tables that were emptied or edited by hand are healed by the checks", healing},
		{"a database restored from an hour ago is healed, and no writer of that hour comes through", restore},
		{"rows of polling go once the snapshot is complete, and again when a late poll brings them", takeover},
		{"a released account is polling's until it is resumed", released},
		{"a resumed account goes to the session that had it", resumed},
		{"an account that is removed while its agent serves it comes back whole", removed},
		{"a resync on demand looks at bodies and waits until all agrees", resynced},
		{"a session ends and routing goes on while the cache is full and the database stands still", standstill},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, server.Database(t), server.PID) })
	}
}

func strangers(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	for name, authorization := range map[string]string{
		"no token": "", "another scheme": "Basic " + w.token, "an empty token": "Bearer ", "a wrong token": "Bearer flt_wrong", "a token of another make": "Bearer x",
	} {
		a := w.open(authorization)
		a.listen()
		if err := a.over(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("with %s: %v", name, err)
		}
	}
	_, narrow, err := w.tokens.Create(t.Context(), []string{"prod-*"}, 0, "narrow")
	if err != nil {
		t.Fatal(err)
	}
	a := w.open("Bearer " + narrow)
	a.listen()
	a.say(hello("i", nil, "prod-eu", "stage"))
	verdicts := map[string]bool{}
	for len(verdicts) < 2 {
		v := a.get("a verdict", func(f *linkv1.SessionDown) bool { return f.GetVerdict() != nil }).GetVerdict()
		verdicts[v.GetAccount()] = v.GetAccepted()
	}
	if !verdicts["prod-eu"] || verdicts["stage"] {
		t.Errorf("verdicts %v", verdicts)
	}
}

func streams(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	a := w.connect("i", "a")
	epoch := a.attached("a").GetEpoch()
	secret := a.secret
	for what, wrong := range map[string]string{"another secret": "0123", "none": ""} {
		a.secret = wrong
		_, open := <-a.inventory().down
		_, opened := <-a.operations().down
		if open || opened {
			t.Errorf("a stream with %s is open", what)
		}
	}
	a.secret = secret
	first := a.inventory()
	first.say(batch("a", epoch, 1, "p", 10))
	until(t, "the acknowledgement", first.down, acked(1))
	if _, open := <-a.inventory().down; open {
		t.Error("a second inventory stream is open")
	}
	first.say(batch("a", epoch, 2, "q", 10))
	until(t, "the acknowledgement, although somebody tried a second stream", first.down, acked(2))
	list := w.service.Sessions()
	if len(list) != 1 || list[0].Agent.GetInstance() != "i" || len(list[0].Accounts) != 1 || list[0].Remote == "" {
		t.Errorf("sessions %+v", list)
	}
}

func inventory(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	a := w.connect("i", "a")
	epoch := a.attached("a").GetEpoch()
	inv := a.inventory()
	const steps = 50
	for seq := range uint64(steps) {
		inv.say(batch("a", epoch, seq+1, fmt.Sprint("p", seq), 100))
	}
	until(t, "the last acknowledgement", inv.down, acked(steps))
	if n := d.Count(t, "cats_v1_pod", "TRUE"); n != steps {
		t.Errorf("%d rows of %d that were acknowledged", n, steps)
	}
	inv.say(batch("a", epoch, steps+7, "gap", 10))
	a.closed(linkv1.Close_CODE_PROTOCOL)
	w.until("the account is seen as gone", func() bool { known, _ := w.registry.Get("a"); return len(known.Sessions) == 0 })
}

func remembered(t *testing.T, d *storetest.DB, _ int) {
	epoch := newWorld(t, d, "b", cache.Options{}).connect("i", "a").attached("a").GetEpoch()
	w := newWorld(t, d, "b", cache.Options{})
	a := w.resume("i", []*linkv1.Resume{{Account: "a", Epoch: epoch}}, "a")
	at := a.attached("a")
	if !at.GetContinues() {
		t.Fatalf("%v does not continue", at)
	}
	a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Compared{Compared: &linkv1.Compared{Account: "a", Epoch: at.GetEpoch(),
		Agreed: []*linkv1.Group{{Type: "pod"}, {Type: "service"}, {Type: "service", RelType: "pod"}},
		Open:   []*linkv1.Group{{Type: "pod", RelType: "service"}, {Type: "deployment"}}}}})
	w.until("the kinds are known although nothing was compared", func() bool {
		live, pending := w.service.Kinds("a")
		return slices.Equal(live, []string{"service"}) && slices.Equal(pending, []string{"deployment", "pod"})
	})
}

func broken(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	a := w.open("Bearer " + w.token)
	a.listen()
	a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Heartbeat{Heartbeat: &linkv1.Heartbeat{}}})
	a.closed(linkv1.Close_CODE_PROTOCOL)

	a = w.connect("i", "a")
	a.say(hello("i", nil, "a"))
	a.closed(linkv1.Close_CODE_PROTOCOL)

	a = w.connect("i", "a")
	a.attached("a")
	ops := a.operations()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if _, err := w.router.Run(ctx, "a", &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "pod", Name: "x"}}}, false, discard{}); err != nil {
			t.Logf("the operation: %v", err)
		}
	}()
	started := until(t, "the operation", ops.down, func(f *linkv1.OperationDown) bool { return f.GetStart() != nil })
	ops.say(&linkv1.OperationUp{Id: started.GetId(), Frame: &linkv1.OperationUp_Output{Output: &linkv1.Output{Offset: 5, Data: []byte("not the beginning")}}})
	a.closed(linkv1.Close_CODE_PROTOCOL)
	// Another agent may have the read; whoever does it, it ends.
	other := w.connect("other", "a")
	again := other.operations()
	started = until(t, "the operation at another agent", again.down, func(f *linkv1.OperationDown) bool { return f.GetStart() != nil })
	again.say(&linkv1.OperationUp{Id: started.GetId(), Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	<-ended
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func replaced(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	first := w.connect("i", "a")
	epoch := first.attached("a").GetEpoch()
	second := w.resume("i", []*linkv1.Resume{{Account: "a", Epoch: epoch}}, "a")
	first.closed(linkv1.Close_CODE_REPLACED)
	if got := second.attached("a"); got.GetEpoch() <= epoch || !got.GetContinues() {
		t.Errorf("attached %v after epoch %d", got, epoch)
	}
	inv := second.inventory()
	inv.say(batch("a", epoch+1, 1, "p", 10))
	until(t, "the acknowledgement", inv.down, acked(1))
	// The end of the older one takes nothing from the newer.
	w.until("one session is left", func() bool {
		known, _ := w.registry.Get("a")
		return len(w.service.Sessions()) == 1 && len(known.Sessions) == 1
	})
}

func revoked(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	a := w.connect("i", "a")
	a.attached("a")
	if err := w.tokens.Revoke(t.Context(), w.tokenID); err != nil {
		t.Fatal(err)
	}
	if reason := a.closed(linkv1.Close_CODE_REFUSED); reason == "" {
		t.Error("no reason")
	}
	again := w.open("Bearer " + w.token)
	again.listen()
	if err := again.over(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("with a revoked token: %v", err)
	}
}

func drained(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	polite, stubborn := w.connect("polite", "a"), w.connect("stubborn", "b")
	polite.attached("a")
	stubborn.attached("b")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.service.Drain(ctx, "the bridge stops")
	}()
	for _, a := range []*agent{polite, stubborn} {
		f := a.get("drain", func(f *linkv1.SessionDown) bool { return f.GetDrain() != nil })
		if f.GetDrain().GetReason() == "" || f.GetDrain().GetGraceMs() == 0 {
			t.Errorf("%v", f)
		}
	}
	late := w.open("Bearer " + w.token)
	late.listen()
	if err := late.over(); status.Code(err) != codes.Unavailable {
		t.Errorf("a session while the bridge drains: %v", err)
	}
	polite.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Goodbye{Goodbye: &linkv1.Goodbye{Reason: "drained"}}})
	polite.closed(linkv1.Close_CODE_DRAINED)
	stop()
	<-ended
	_ = stubborn.over()
}

func facts(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	a := w.connect("i", "a")
	a.attached("a")
	tell := func(namespace string) {
		a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "a", Namespaces: []string{namespace}}}})
	}
	stored := func(namespace string) func() bool {
		return func() bool { return d.Count(t, "fairlead_account", "facts LIKE ?", "%\""+namespace+"\"%") == 1 }
	}
	const last = 200
	for i := range last + 1 {
		tell(fmt.Sprint("n", i))
	}
	w.until("the last facts are stored", stored(fmt.Sprint("n", last)))
	w.until("they are what is known", func() bool {
		known, _ := w.registry.Get("a")
		return slices.Equal(known.Facts.GetNamespaces(), []string{fmt.Sprint("n", last)})
	})
	d.Exec(t, "RENAME TABLE fairlead_account TO away")
	tell("lost")
	tell("kept")
	w.until("it is said that they could not be stored", func() bool { return contains(w.log, "cannot store what is known of a cluster") })
	d.Exec(t, "RENAME TABLE away TO fairlead_account")
	w.until("they are stored", stored("kept"))
}

func deaf(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	_, narrow, err := w.tokens.Create(t.Context(), []string{"nothing"}, 0, "narrow")
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := w.open("Bearer " + narrow)
	// Each refusal has its text: more than the stream takes while nobody reads.
	names := make([]string, 4000)
	for i := range names {
		names[i] = fmt.Sprint("account-", i)
	}
	a.say(hello("deaf", nil, names...))
	w.until("the agent was refused all its accounts", func() bool { return contains(w.log, "account=account-3999 ") })
	for _, token := range list {
		if token.Description == "narrow" {
			if err := w.tokens.Revoke(t.Context(), token.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until("its session is over", func() bool { return len(w.service.Sessions()) == 0 })
}

func standstill(t *testing.T, d *storetest.DB, pid int) {
	if pid == 0 {
		t.Skip("the database server is not the test's to stop")
	}
	w := newWorld(t, d, "b", cache.Options{QueueBytes: 1000})
	a := w.connect("i", "a", "b")
	epoch := a.attached("a").GetEpoch()
	a.attached("b")
	inv := a.inventory()
	w.until("both accounts are routed", func() bool { known, _ := w.registry.Get("b"); return len(known.Sessions) == 1 })
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	defer resume()
	// The first fills the cache, the second waits for room; what follows waits behind it.
	for seq := range uint64(4) {
		inv.say(batch("a", epoch, seq+1, fmt.Sprint("p", seq), 2000))
	}
	w.until("the cache is full", func() bool { return w.cache.Oldest() > 0 })
	a.say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Accounts{Accounts: &linkv1.Accounts{Accounts: []*linkv1.Account{{Name: "a"}}}}})
	w.until("the account that left is no longer routed", func() bool { known, _ := w.registry.Get("b"); return len(known.Sessions) == 0 })
	a.say(hello("i", nil, "a"))
	a.closed(linkv1.Close_CODE_PROTOCOL)
	w.until("the session is over", func() bool { return len(w.service.Sessions()) == 0 })
}
