package session

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// account is the sink of one account's cluster. Its fields are guarded by Session.mu.
type account struct {
	Account

	session *Session
	name    string
	// cancel ends the watching of its cluster, which was started; gone: another one serves the account now, or none.
	cancel context.CancelFunc
	gone   bool
	// told: the cluster has said which kinds are watched.
	told bool
	// live tells for each kind that is watched whether its records are complete.
	live map[cats.Type]bool
	// mending: objects are being read whose rows have come to be written because a row of the same folded name has left. What could
	// not be read is tried again at mendAt, more rarely each time.
	mending   bool
	mendAt    time.Time
	mendPause time.Duration
}

// mostMendPause bounds the pause between reading the same objects again.
const mostMendPause = 5 * time.Minute

// edit changes records and machine together. It waits for room first. read is when what changes was read from the cluster's watch; zero: it
// was not.
func (a *account) edit(ctx context.Context, read time.Time, change func() ([]cats.Change, error)) error {
	s := a.session
	for {
		s.mu.Lock()
		if a.gone {
			s.mu.Unlock()
			return errGone
		}
		if s.core.Room(a.name) {
			break
		}
		changed, since := s.changed, time.Now()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.metrics.waited(since)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	changes, err := change()
	if len(changes) > 0 {
		s.core.PutRead(a.name, toLink(changes), read)
		s.collect()
	}
	s.mu.Unlock()
	if len(changes) > 0 {
		wake(s.wakeInventory)
	}
	return err
}

// step feeds the machine, unless another one has taken over the account's name.
func (a *account) step(feed func(now time.Time)) {
	a.session.step(func(now time.Time) {
		if !a.gone {
			feed(now)
		}
	})
}

// now changes records and machine together, without waiting: for what ends a listing or a kind.
func (a *account) now(change func(now time.Time) []cats.Change, then func(now time.Time)) {
	a.step(func(now time.Time) {
		if changes := change(now); len(changes) > 0 {
			a.session.core.Put(a.name, toLink(changes))
		}
		then(now)
	})
}

// Begin implements cluster.Sink.
func (a *account) Begin(t cats.Type) {
	a.step(func(time.Time) {
		a.Records.Begin(t)
		a.live[t] = false
		a.session.core.NotLive(a.name, string(t))
		a.logical(time.Time{})
	})
}

// Put implements cluster.Sink.
func (a *account) Put(ctx context.Context, obj map[string]any) error {
	var unrendered error
	err := a.edit(ctx, time.Now(), func() (changes []cats.Change, _ error) {
		changes, unrendered = a.Records.Put(obj)
		return changes, nil
	})
	if unrendered != nil {
		// The object's earlier row stays, the rest of the kind goes on.
		a.session.cfg.Log.Warn("object cannot be rendered", "account", a.name, "error", unrendered.Error())
	}
	return err
}

// Delete implements cluster.Sink.
func (a *account) Delete(ctx context.Context, key cats.Key) error {
	return a.edit(ctx, time.Now(), func() ([]cats.Change, error) { return a.Records.Delete(key), nil })
}

// Live implements cluster.Sink.
func (a *account) Live(t cats.Type) {
	a.now(func(time.Time) []cats.Change { return a.Records.End(t) }, func(now time.Time) {
		a.live[t] = true
		a.session.core.Live(now, a.name, string(t))
		a.logical(now)
	})
}

// Drop implements cluster.Sink.
func (a *account) Drop(t cats.Type, reason string) {
	a.now(func(time.Time) []cats.Change { return a.Records.Drop(t) }, func(now time.Time) {
		delete(a.live, t)
		a.session.core.Dropped(now, a.name, string(t))
		a.logical(now)
	})
	a.session.cfg.Log.Warn("kind is not cached", "account", a.name, "type", string(t), "reason", reason)
}

// Watches implements cluster.Sink.
func (a *account) Watches(types []cats.Type) {
	a.step(func(now time.Time) {
		a.told = true
		names := []string{string(cats.Applications), string(cats.Clusters)}
		for _, t := range types {
			names = append(names, string(t))
			if _, known := a.live[t]; !known {
				a.live[t] = false
			}
		}
		a.session.core.Watches(a.name, names)
		a.logical(now)
	})
}

// logical tells whether applications and clusters are complete: they are when every kind is.
func (a *account) logical(now time.Time) {
	complete := a.told
	for _, live := range a.live {
		complete = complete && live
	}
	for _, t := range []cats.Type{cats.Applications, cats.Clusters} {
		if complete {
			a.session.core.Live(now, a.name, string(t))
		} else {
			a.session.core.NotLive(a.name, string(t))
		}
	}
}

// Facts implements cluster.Sink.
func (a *account) Facts(facts *linkv1.Facts) {
	a.step(func(time.Time) { a.session.core.SetFacts(facts) })
}

// render puts an object's row again, because the tables lack it. What is not there any more, or not readable, needs nothing: the watch
// tells of a change, and the next comparison of the rest.
func (a *account) render(ctx context.Context, _ cats.Key, obj map[string]any, unread error) error {
	if unread != nil {
		return nil //nolint:nilerr // see above
	}
	return a.edit(ctx, time.Time{}, func() ([]cats.Change, error) { return a.Records.Render(obj) })
}

// missing returns the keys of rows that must be written and whose bodies are not known, unless they are being read already or were a short
// while ago.
func (a *account) missing(now time.Time) []cats.Key {
	a.session.mu.Lock()
	defer a.session.mu.Unlock()
	if a.mending || now.Before(a.mendAt) {
		return nil
	}
	keys := a.Records.Missing()
	if len(keys) == 0 {
		a.mendPause = 0
		return nil
	}
	a.mending = true
	a.mendPause = min(max(2*a.mendPause, time.Second), mostMendPause)
	a.mendAt = now.Add(a.mendPause)
	return keys
}

// mend reads objects and puts them.
func (a *account) mend(ctx context.Context, keys []cats.Key) {
	defer func() {
		a.session.mu.Lock()
		a.mending = false
		a.session.mu.Unlock()
	}()
	byType := map[cats.Type][]cats.Key{}
	for _, k := range keys {
		byType[k.Type] = append(byType[k.Type], k)
	}
	for t, keys := range byType {
		err := a.Cluster.Fetch(ctx, t, keys, func(key cats.Key, obj map[string]any, unread error) error { return a.render(ctx, key, obj, unread) })
		if err != nil && ctx.Err() == nil {
			a.session.cfg.Log.Warn("cannot read objects again", "account", a.name, "type", string(t), "objects", len(keys), "error", err.Error())
		}
	}
}

// records lets the machine read an inventory.
type records struct{ inventory *cats.Inventory }

// Groups implements link.Records.
func (r records) Groups() []*linkv1.Group {
	groups := r.inventory.Groups()
	list := make([]*linkv1.Group, 0, len(groups))
	for _, g := range groups {
		list = append(list, &linkv1.Group{Type: string(g.Type), RelType: string(g.RelType)})
	}
	return list
}

// Digest implements link.Records.
func (r records) Digest(g *linkv1.Group) (count, xor uint64) { return r.inventory.Digest(fromGroup(g)) }

// Page implements link.Records.
func (r records) Page(g *linkv1.Group, after string, limit int) []*linkv1.Entry {
	entries := r.inventory.Page(fromGroup(g), after, limit)
	list := make([]*linkv1.Entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, &linkv1.Entry{Key: e.Key, Hash: e.Hash})
	}
	return list
}

// Change implements link.Records.
func (r records) Change(g *linkv1.Group, key string) (*linkv1.Change, bool) {
	c, ok := r.inventory.Change(fromGroup(g), key)
	if !ok {
		return nil, false
	}
	return toLink([]cats.Change{c})[0], true
}

func fromGroup(g *linkv1.Group) cats.Group {
	return cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}
}

func toLink(changes []cats.Change) []*linkv1.Change {
	list := make([]*linkv1.Change, 0, len(changes))
	for _, c := range changes {
		switch c.Kind {
		case cats.PutRow:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: toKey(c.Key), Body: c.Body}}})
		case cats.DeleteRow:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: toKey(c.Key)}})
		case cats.PutLink:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: toLinkLink(c.Link)}})
		case cats.DeleteLink:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: toLinkLink(c.Link)}})
		}
	}
	return list
}

func toKey(k cats.Key) *linkv1.Key {
	return &linkv1.Key{Type: string(k.Type), Scope: k.Scope, Name: k.Name}
}

func toLinkLink(l cats.Link) *linkv1.Link {
	return &linkv1.Link{From: toKey(l.From), To: toKey(l.To)}
}
