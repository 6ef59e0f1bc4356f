// Package fiat tells Spinnaker's Fiat that accounts came, left or got other permissions. Fiat asks Clouddriver for its accounts every ten
// minutes by itself; until then it denies everybody a new one.
//
// Fiat reads everything anew at each call. So it is called for what it would see only, by one of the bridges, after changes have settled, and not
// more often than once in half a minute.
package fiat

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// Accounts is where accounts are known (accounts.Registry).
type Accounts interface {
	List() (all []accounts.Account, revision string, complete bool)
	Changed() <-chan struct{}
}

// Options is what a Syncer is made of.
type Options struct {
	// URL is Fiat's: "http://spin-fiat:7003".
	URL string
	// Bridge is this one's name; Bridges are those that there are.
	Bridge   string
	Bridges  func(context.Context) ([]store.Bridge, error)
	Accounts Accounts
	Log      *slog.Logger
	// Settle is how long a change waits: for others, and for Clouddriver to have it. Interval is the least time between two calls. Retry is the pause
	// after a failure. 0: the usual ones.
	Settle, Interval, Retry time.Duration
}

// Syncer keeps Fiat up to date.
type Syncer struct {
	o    Options
	http *http.Client
}

// alive is how long, in milliseconds since its last heartbeat, another bridge counts as there.
const alive = 30_000

// New returns a syncer.
func New(o Options) *Syncer {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.Settle, 5 * time.Second}, {&o.Interval, 30 * time.Second}, {&o.Retry, 15 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	// A sync of thousands of users takes Fiat a while.
	return &Syncer{o: o, http: &http.Client{Timeout: time.Minute}}
}

// Run calls Fiat when accounts have changed, until ctx ends. What there is at the start is nothing new to it.
func (s *Syncer) Run(ctx context.Context) error {
	known, have := "", false
	failing := false
	for {
		changed := s.o.Accounts.Changed()
		now, complete := s.seen()
		switch {
		case !complete || have && now == known:
			if !wait(ctx, changed, 0) {
				return nil
			}
			continue
		case !have:
			known, have = now, true
			continue
		}
		if !wait(ctx, nil, s.o.Settle) {
			return nil
		}
		if now, complete = s.seen(); !complete {
			continue
		}
		err := s.sync(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what fails at the end is nobody's concern
		}
		if err != nil {
			if !failing {
				s.o.Log.Warn("fiat cannot be told of changed accounts, trying on", "fiat", s.o.URL, "error", err.Error())
			}
			failing = true
			if !wait(ctx, nil, s.o.Retry) {
				return nil
			}
			continue
		}
		known, failing = now, false
		if !wait(ctx, nil, s.o.Interval) {
			return nil
		}
	}
}

// wait waits for c, or for d if that is not 0; false: ctx ended.
func wait(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	var timer <-chan time.Time
	if d > 0 {
		timer = time.After(d)
	}
	select {
	case <-ctx.Done():
		return false
	case <-c:
	case <-timer:
	}
	return true
}

// seen is what Fiat sees of the accounts.
func (s *Syncer) seen() (text string, complete bool) {
	all, _, complete := s.o.Accounts.List()
	var b strings.Builder
	for _, a := range all {
		_, _ = fmt.Fprintf(&b, "%q", a.Declared.GetName())
		permissions := a.Declared.GetPermissions()
		for _, name := range slices.Sorted(maps.Keys(permissions)) {
			_, _ = fmt.Fprintf(&b, " %s=%q", name, permissions[name].GetRoles())
		}
		_, _ = fmt.Fprintf(&b, " %q\n", a.Declared.GetRequiredGroupMembership())
	}
	return b.String(), complete
}

// sync has Fiat read everything anew, if this is the bridge to do so: the first one by name of those that live.
func (s *Syncer) sync(ctx context.Context) error {
	bridges, err := s.o.Bridges(ctx)
	if err != nil {
		return err
	}
	for _, b := range bridges {
		if b.Age < alive && b.Name < s.o.Bridge {
			return nil
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL+"/roles/sync", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s/roles/sync: %s: %s", s.o.URL, answer.Status, strings.Join(strings.Fields(string(body)), " "))
	}
	s.o.Log.Info("fiat was told of changed accounts", "fiat", s.o.URL)
	return nil
}
