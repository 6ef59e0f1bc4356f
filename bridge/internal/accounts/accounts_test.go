package accounts_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scope allows names that begin with one of these.
type scope []string

func (s scope) Allows(name string) bool {
	return slices.ContainsFunc(s, func(p string) bool { return strings.HasPrefix(name, p) })
}

// remover notes what was removed; it fails while broken.
type remover struct {
	mu      sync.Mutex
	removed []string
	broken  error
}

func (r *remover) Remove(_ context.Context, name string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return 0, r.broken
	}
	r.removed = append(r.removed, name)
	return 7, nil
}

func start(t *testing.T, d *storetest.DB, bridge string, remove accounts.Remover) *accounts.Registry {
	t.Helper()
	r := accounts.New(accounts.Options{Store: d.Open(t), Remover: remove, Bridge: bridge, Version: "1", ApplicationsTable: "cats_v1_applications", Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	until(t, "the registry is complete", func() bool { return r.Complete() })
	return r
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

var agent = &linkv1.Agent{Name: "agent", Instance: "i"}

func declare(t *testing.T, r *accounts.Registry, s accounts.Scope, names ...string) []string {
	t.Helper()
	var list []*linkv1.Account
	for _, n := range names {
		list = append(list, &linkv1.Account{Name: n, Kinds: []string{"pod"}})
	}
	verdicts, err := r.Declare(t.Context(), agent, s, list)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for i, v := range verdicts {
		if v.GetAccount() != names[i] || v.GetAccepted() != (v.GetReason() == "") {
			t.Errorf("verdict %v for %s", v, names[i])
		}
		reasons = append(reasons, v.GetReason())
	}
	return reasons
}

func names(r *accounts.Registry) []string {
	all, _, _ := r.List()
	var list []string
	for _, a := range all {
		list = append(list, a.Declared.GetName())
	}
	return list
}

func fired(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestRegistryOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	for name, test := range map[string]func(*testing.T, *storetest.DB){
		"each declared account gets a verdict":                          verdicts,
		"only what Clouddriver sees is a change":                        changes,
		"a cleanup holds accounts that never had rows":                  holds,
		"bridges learn from each other":                                 twoBridges,
		"accounts outlive their bridges":                                restart,
		"a removal that failed is ended later":                          removalResumed,
		"what is known is accepted while the database is away":          away,
		"an account is connected while any session of it is":            connected,
		"a registry that has read nothing says so":                      incomplete,
		"names of Clouddriver's own accounts are taken, whatever case":  stockNames,
		"what a newer bridge stored does not stop an older one reading": unknownFields,
	} {
		t.Run(name, func(t *testing.T) { test(t, server.Database(t)) })
	}
}

// A bridge that has not heard of an account yet knows it before the cleanup beside it runs; one that comes later waits, at every bridge, and one that had
// rows before does not.
func holds(t *testing.T, d *storetest.DB) {
	one, two, db := start(t, d, "one", &remover{}), start(t, d, "two", &remover{}), d.Open(t)
	attach := func(account string) error {
		_, _, err := db.Attach(t.Context(), account, "i", 0)
		return err
	}
	declare(t, two, scope{""}, "old", "new")
	if err := attach("old"); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	held, ended := make(chan []string, 1), make(chan error, 1)
	go func() { ended <- one.HoldNew(ctx, func() error { held <- names(one); return nil }) }()
	if got := <-held; !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("the bridge of the cleanup knows %v", got)
	}
	if err := attach("new"); !errors.Is(err, store.ErrHeld) {
		t.Errorf("an account that never had rows: %v", err)
	}
	if err := attach("old"); err != nil {
		t.Errorf("an account that had rows before: %v", err)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := attach("new"); err != nil {
		t.Errorf("after the cleanup: %v", err)
	}
}

func verdicts(t *testing.T, d *storetest.DB) {
	r := start(t, d, "b", &remover{})
	reasons := declare(t, r, scope{"prod", "Prod", "-", strings.Repeat("p", 3)}, "prod", "Prod", "other", "-x", strings.Repeat("p", 64), "", "prod/x", strings.Repeat("p", 63))
	for i, want := range []string{"", "differ in more than case", `does not cover account "other"`, "must begin with", "64 characters", "must begin with", "must begin with", ""} {
		if want == "" && reasons[i] != "" || !strings.Contains(reasons[i], want) {
			t.Errorf("account %d: %q, want %q", i, reasons[i], want)
		}
	}
	if reasons := declare(t, r, scope{"P"}, "PROD"); !strings.Contains(reasons[0], `differs only in case from account "prod"`) {
		t.Errorf("PROD beside prod: %q", reasons[0])
	}
	if got := names(r); len(got) != 2 {
		t.Errorf("accounts %v", got)
	}
}

func changes(t *testing.T, d *storetest.DB) {
	r := start(t, d, "b", &remover{})
	step := func(what string, want bool, f func()) {
		t.Helper()
		changed := r.Changed()
		_, before, _ := r.List()
		f()
		_, after, _ := r.List()
		if fired(changed) != want || (before != after) != want {
			t.Errorf("%s: fired %v, revision %s to %s, want a change: %v", what, fired(changed), before, after, want)
		}
	}
	facts := func(f *linkv1.Facts) func() {
		return func() {
			t.Helper()
			if err := r.SetFacts(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := scope{""}
	step("a new account", true, func() { declare(t, r, all, "a") })
	step("the same again", false, func() { declare(t, r, all, "a") })
	step("its cluster's namespaces", false, facts(&linkv1.Facts{Account: "a", Namespaces: []string{"x"}, ServerVersion: "v1"}))
	if a, known := r.Get("a"); !known || a.Facts.GetServerVersion() != "v1" || a.Agent != "agent" {
		t.Errorf("%+v", a)
	}
	crd := []*linkv1.CustomResource{{KubernetesKind: "X.example.com"}}
	step("its cluster's custom resources", true, facts(&linkv1.Facts{Account: "a", CustomResources: crd}))
	step("facts of an account that is not there", false, facts(&linkv1.Facts{Account: "zz", CustomResources: crd}))
	step("another declaration", true, func() {
		if _, err := r.Declare(t.Context(), agent, all, []*linkv1.Account{{Name: "a", Metrics: true, CustomResources: crd}}); err != nil {
			t.Fatal(err)
		}
	})
	if !r.Custom("a", "X.example.com") || r.Custom("a", "pod") || r.Custom("zz", "X.example.com") {
		t.Error("custom resources of the declaration")
	}
	step("a session", false, func() { r.Connected("a", "s", agent) })
	step("its end", false, func() { r.Disconnected("a", "s") })
	step("its removal", true, func() {
		if n, found, err := r.Remove(t.Context(), "a"); n != 7 || !found || err != nil {
			t.Errorf("removed %d rows, found %v, %v", n, found, err)
		}
	})
	step("its removal again", false, func() {
		if _, found, err := r.Remove(t.Context(), "a"); found || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
	})
	step("quiet polls", false, func() { time.Sleep(3 * time.Second) })
}

func twoBridges(t *testing.T, d *storetest.DB) {
	one, two := start(t, d, "one", &remover{}), start(t, d, "two", &remover{})
	declare(t, one, scope{""}, "a", "b")
	until(t, "the other bridge knows the accounts", func() bool { return slices.Equal(names(two), []string{"a", "b"}) })
	one.Connected("a", "s1", agent)
	until(t, "the other bridge knows the session", func() bool {
		a, _ := two.Get("a")
		return a.Connected() && slices.Equal(a.Elsewhere, []string{"one"}) && len(a.Sessions) == 0
	})
	if known, here, _ := two.Seen("a"); !known || here {
		t.Error("the session is at the other bridge")
	}
	if a, _ := one.Get("a"); !slices.Equal(a.Sessions, []string{"s1"}) || len(a.Elsewhere) != 0 {
		t.Errorf("at its own bridge: %+v", a)
	}
	one.Disconnected("a", "s1")
	until(t, "the other bridge knows that it ended, and when", func() bool {
		a, _ := two.Get("a")
		return !a.Connected() && time.Since(a.LastSeen) < time.Minute
	})
	if _, _, err := two.Remove(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	until(t, "the removals arrive, down to the last account", func() bool { return len(names(one)) == 0 })
	// What one of them declares stays, though the other's list was read before.
	for range 5 {
		declare(t, one, scope{""}, "again")
		time.Sleep(500 * time.Millisecond)
		if !slices.Equal(names(one), []string{"again"}) {
			t.Fatalf("accounts %v", names(one))
		}
		if _, _, err := one.Remove(t.Context(), "again"); err != nil {
			t.Fatal(err)
		}
	}
}

func restart(t *testing.T, d *storetest.DB) {
	t.Run("first", func(t *testing.T) {
		r := start(t, d, "b", &remover{})
		declare(t, r, scope{""}, "a")
		if err := r.SetFacts(t.Context(), &linkv1.Facts{Account: "a", Namespaces: []string{"x", "y"}}); err != nil {
			t.Fatal(err)
		}
		r.Connected("a", "s", agent)
		until(t, "the session is stored", func() bool { return d.Count(t, "fairlead_session", "TRUE") == 1 })
	})
	if n := d.Count(t, "fairlead_session", "TRUE") + d.Count(t, "fairlead_bridge", "TRUE"); n != 0 {
		t.Errorf("%d rows of a bridge that stopped are left", n)
	}
	r := start(t, d, "b", &remover{})
	a, known := r.Get("a")
	if !known || a.Connected() || len(a.Facts.GetNamespaces()) != 2 || a.Declared.GetKinds()[0] != "pod" || time.Since(a.LastSeen) > time.Minute {
		t.Errorf("after a restart: %+v", a)
	}
}

func removalResumed(t *testing.T, d *storetest.DB) {
	broken := &remover{broken: errors.New("no database")}
	t.Run("fails", func(t *testing.T) {
		r := start(t, d, "b", broken)
		declare(t, r, scope{""}, "a")
		if _, _, err := r.Remove(t.Context(), "a"); err == nil {
			t.Error("the removal did not fail")
		}
		if _, known := r.Get("a"); known {
			t.Error("the account is still listed")
		}
	})
	works := &remover{}
	r := start(t, d, "b", works)
	until(t, "the removal is ended", func() bool { return d.Count(t, "fairlead_account", "TRUE") == 0 })
	if !slices.Equal(works.removed, []string{"a"}) || len(names(r)) != 0 {
		t.Errorf("removed %v, accounts %v", works.removed, names(r))
	}
}

func away(t *testing.T, d *storetest.DB) {
	r := start(t, d, "b", &remover{})
	declare(t, r, scope{""}, "a")
	d.Exec(t, "RENAME TABLE fairlead_account TO away")
	if reasons := declare(t, r, scope{""}, "a"); reasons[0] != "" {
		t.Errorf("a known declaration: %q", reasons[0])
	}
	if _, err := r.Declare(t.Context(), agent, scope{""}, []*linkv1.Account{{Name: "a"}}); err == nil {
		t.Error("a changed declaration was accepted without the database")
	}
	if _, known := r.Get("a"); !known {
		t.Error("the account was forgotten")
	}
	d.Exec(t, "RENAME TABLE away TO fairlead_account")
}

func connected(t *testing.T, d *storetest.DB) {
	r := start(t, d, "b", &remover{})
	declare(t, r, scope{""}, "a")
	r.Connected("a", "s1", agent)
	r.Connected("a", "s2", agent)
	until(t, "both are stored", func() bool { return d.Count(t, "fairlead_session", "TRUE") == 2 })
	r.Disconnected("a", "s1")
	if a, _ := r.Get("a"); !a.Connected() || !slices.Equal(a.Sessions, []string{"s2"}) {
		t.Errorf("%+v", a)
	}
	if known, here, _ := r.Seen("a"); !known || !here {
		t.Error("the account has a session here")
	}
	r.Disconnected("a", "s2")
	if a, _ := r.Get("a"); a.Connected() || time.Since(a.LastSeen) > time.Minute {
		t.Errorf("%+v", a)
	}
	until(t, "both are gone", func() bool { return d.Count(t, "fairlead_session", "TRUE") == 0 })
}

func incomplete(t *testing.T, d *storetest.DB) {
	r := accounts.New(accounts.Options{Store: d.Open(t), Log: slog.New(slog.DiscardHandler)})
	if all, _, complete := r.List(); complete || len(all) != 0 {
		t.Errorf("%v, complete %v", all, complete)
	}
}

func stockNames(t *testing.T, d *storetest.DB) {
	r := start(t, d, "b", &remover{})
	d.Exec(t, "CREATE TABLE cats_v1_applications LIKE cats_v1_resource_template")
	d.Exec(t, `INSERT INTO cats_v1_applications (id, agent, body_hash, body, last_updated) VALUES ('x', 'Stock/KubernetesCoreCachingAgent[1/1]', '', '', 0)`)
	if reasons := declare(t, r, scope{""}, "stock"); !strings.Contains(reasons[0], `from account "Stock"`) {
		t.Errorf("stock: %q", reasons)
	}
	if reasons := declare(t, r, scope{""}, "Stock"); reasons[0] != "" {
		t.Errorf("Stock: %q", reasons)
	}
}

func unknownFields(t *testing.T, d *storetest.DB) {
	t.Run("first", func(t *testing.T) { declare(t, start(t, d, "b", &remover{}), scope{""}, "a") })
	d.Exec(t, `UPDATE fairlead_account SET declaration = '{"name":"a","ofTheFuture":{"x":1},"kinds":["pod"]}'`)
	r := start(t, d, "b", &remover{})
	if a, known := r.Get("a"); !known || a.Declared.GetKinds()[0] != "pod" {
		t.Errorf("%+v", a)
	}
}
