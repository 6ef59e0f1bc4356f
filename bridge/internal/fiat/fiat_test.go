package fiat

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry is a list of accounts that a test changes.
type registry struct {
	mu       sync.Mutex
	all      []accounts.Account
	complete bool
	changed  chan struct{}
	// listed: the complete list was read; waiting: the reader waits for the next change.
	listed, waiting bool
}

func (r *registry) List() ([]accounts.Account, string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = r.listed || r.complete
	return r.all, "", r.complete
}

func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = r.listed
	return r.changed
}

func (r *registry) set(complete bool, declared ...*linkv1.Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.complete = nil, complete
	for _, d := range declared {
		r.all = append(r.all, accounts.Account{Declared: d})
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// place is a syncer that runs, and a stand-in of Fiat: the real one cannot be had in a test.
type place struct {
	*registry

	t      *testing.T
	called chan string
	asked  chan struct{} // which bridges there are
	status chan int      // what to answer, 200 if empty
}

func start(t *testing.T, bridges ...store.Bridge) *place {
	t.Helper()
	p := &place{t: t, registry: &registry{changed: make(chan struct{})}, called: make(chan string, 100), asked: make(chan struct{}, 100), status: make(chan int, 1)}
	fiat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case status := <-p.status:
			w.WriteHeader(status)
		default:
		}
		p.called <- r.Method + " " + r.URL.Path
	}))
	s := New(Options{URL: fiat.URL + "/", Bridge: "b", Bridges: func(context.Context) ([]store.Bridge, error) {
		p.asked <- struct{}{}
		return bridges, nil
	}, Accounts: p.registry,
		Log: slog.New(slog.DiscardHandler), Settle: time.Millisecond, Interval: time.Millisecond, Retry: time.Millisecond})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.http.CloseIdleConnections()
		fiat.Close()
	})
	return p
}

func (p *place) call() {
	p.t.Helper()
	select {
	case got := <-p.called:
		if got != "POST /roles/sync" {
			p.t.Errorf("Fiat was asked %s", got)
		}
	case <-time.After(30 * time.Second):
		p.t.Fatal("Fiat was not called")
	}
}

// begun waits until what there is at the start was taken as such.
func (p *place) begun() {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		waiting := p.waiting
		p.mu.Unlock()
		if waiting {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the syncer has not begun")
		}
	}
}

func account(name string, readers ...string) *linkv1.Account {
	a := &linkv1.Account{Name: name}
	if len(readers) > 0 {
		a.Permissions = map[string]*linkv1.Roles{"READ": {Roles: readers}}
	}
	return a
}

func TestFiatIsToldWhatItWouldSeeAndNothingElse(t *testing.T) {
	p := start(t, store.Bridge{Name: "b"}, store.Bridge{Name: "c"}, store.Bridge{Name: "a", Age: 60_000})
	p.set(false)
	p.set(false, account("not-all-are-known-yet"))
	p.set(true, account("one"), account("two"))
	if len(p.called) > 0 {
		t.Error("Fiat was called for what was there at the start")
	}
	p.begun()
	p.set(true, account("one"), account("two"), account("three"))
	p.call()
	p.set(true, account("one"), account("two", "ops"), account("three"))
	p.call()
	other := account("one")
	other.Kinds = []string{"pod"}
	p.set(true, other, account("two", "ops"), account("three"))
	p.set(true, account("one"), account("two", "ops"))
	p.call()
	if len(p.called) > 0 {
		t.Error("Fiat was called for something that it does not see")
	}
}

func TestAFailedCallIsRepeated(t *testing.T) {
	p := start(t)
	p.set(true)
	p.begun()
	p.status <- http.StatusServiceUnavailable
	p.set(true, account("one"))
	p.call()
	p.call()
}

func TestOneOfSeveralBridgesCallsFiat(t *testing.T) {
	p := start(t, store.Bridge{Name: "a", Age: 1_000}, store.Bridge{Name: "b"})
	p.set(true)
	p.begun()
	p.set(true, account("one"))
	// Asked twice, the first time has led to nothing.
	<-p.asked
	p.set(true, account("one"), account("two"))
	<-p.asked
	if len(p.called) > 0 {
		t.Error("two bridges call Fiat")
	}
}
