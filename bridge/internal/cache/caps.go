package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// recountAfter is how long an account that is at a cap is held to what was counted before its rows are counted again.
const recountAfter = 30 * time.Second

// caps hold each account to its kinds, and to so many applications and links. Applications are the one thing that accounts share, and links are what views
// follow. What is put is added up without asking what was there before, and only a sum beyond the cap has the rows counted, and looks which of the write's
// are there already: an honest account costs nothing.
type caps struct {
	applications, links int
	policy              func(account string) *linkv1.CachePolicy

	mu       sync.Mutex
	accounts map[string]*usage
}

// usage is what one account has.
type usage struct {
	applications, links quantity
	// policy is what kinds was made of.
	policy *linkv1.CachePolicy
	kinds  *entitlement
}

// quantity is at least as much as there is.
type quantity struct {
	sum int
	// pending is how much of it waits to be written.
	pending int
	counted time.Time
	over    bool
}

// of returns an account's usage. The lock is held.
func (c *caps) of(account string) *usage {
	u := c.accounts[account]
	if u == nil {
		policy := c.policy(account)
		u = &usage{policy: policy, kinds: newEntitlement(policy)}
		c.accounts[account] = u
	}
	return u
}

// follow looks whether the account's policy is another one now.
func (c *caps) follow(account string) {
	policy := c.policy(account)
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.of(account); !proto.Equal(u.policy, policy) {
		u.policy, u.kinds = policy, newEntitlement(policy)
	}
}

// kinds says why an account may have nothing of one of the types.
func (c *caps) kinds(account string, types ...cats.Type) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range types {
		if err := c.of(account).kinds.check(t); err != nil {
			return err
		}
	}
	return nil
}

// capped is one thing of which an account may have so many.
type capped struct {
	limit int
	what  string
	is    func(*item) bool
	of    func(*usage) *quantity
	// count counts what there is, present tells which of some items are there.
	count   func(ctx context.Context, account string) (int, error)
	present func(ctx context.Context, items []*item) (map[string]bool, error)
}

func (w *Writer) capped() []capped {
	return []capped{
		{w.caps.applications, "applications, the limit (cache.maximumApplications)", func(it *item) bool { return it.link == nil && it.typ == cats.Applications },
			func(u *usage) *quantity { return &u.applications }, w.countApplications, w.presentRows},
		{w.caps.links, "links, the limit (cache.maximumLinks)", func(it *item) bool { return it.link != nil },
			func(u *usage) *quantity { return &u.links }, w.countLinks, w.presentLinks},
	}
}

// hold rejects what of a task goes beyond the account's caps. The task has to be released when it has ended.
func (w *Writer) hold(ctx context.Context, t *task) {
	for _, c := range w.capped() {
		var puts []*item
		for i := range t.items {
			if it := &t.items[i]; it.put && c.is(it) {
				puts = append(puts, it)
			}
		}
		if len(puts) == 0 {
			continue
		}
		beyond, admitted := w.beyond(ctx, t.account, c, puts)
		t.release = append(t.release, func() {
			w.caps.mu.Lock()
			defer w.caps.mu.Unlock()
			c.of(w.caps.of(t.account)).pending -= admitted
		})
		if len(beyond) == 0 {
			continue
		}
		kept := t.items[:0:0]
		for i := range t.items {
			if it := &t.items[i]; it.put && c.is(it) && beyond[it.identity()] {
				t.rejected = append(t.rejected, it.rejection(t.account, t.epoch, fmt.Sprintf("the account has %d %s", c.limit, c.what)))
				t.bytes -= it.bytes()
				continue
			}
			kept = append(kept, t.items[i])
		}
		t.items = kept
	}
}

// beyond names the items that an account has no room for, and tells how many are let through as if they were new.
func (w *Writer) beyond(ctx context.Context, account string, c capped, puts []*item) (beyond map[string]bool, admitted int) {
	full, count := w.admit(account, c, len(puts))
	if !full {
		return nil, len(puts)
	}
	if count {
		total, err := c.count(ctx, account)
		if err != nil {
			return nil, w.take(account, c, len(puts)) // the write meets the same database
		}
		w.counted(account, c, total)
		if full, _ = w.admit(account, c, len(puts)); !full {
			return nil, len(puts)
		}
	}
	present, err := c.present(ctx, puts)
	if err != nil {
		return nil, w.take(account, c, len(puts))
	}
	w.caps.mu.Lock()
	defer w.caps.mu.Unlock()
	q := c.of(w.caps.of(account))
	beyond = map[string]bool{}
	for _, it := range puts {
		id := it.identity()
		switch {
		case present[id] || beyond[id]:
		case q.sum < c.limit:
			present[id] = true
			q.sum++
			q.pending++
			admitted++
		default:
			beyond[id] = true
		}
	}
	if len(beyond) > 0 && !q.over {
		w.o.Log.Warn("account has reached a limit; what goes beyond it is rejected", "account", account, "there", q.sum, "limit", c.limit)
	}
	q.over = len(beyond) > 0
	return beyond, admitted
}

// admit lets n things through if there is room for them. If there is none, count tells whether what there is may be counted again.
func (w *Writer) admit(account string, c capped, n int) (full, count bool) {
	w.caps.mu.Lock()
	defer w.caps.mu.Unlock()
	q := c.of(w.caps.of(account))
	if q.sum+n > c.limit {
		return true, time.Since(q.counted) >= recountAfter
	}
	q.sum += n
	q.pending += n
	return false, false
}

// take lets n things through in any case.
func (w *Writer) take(account string, c capped, n int) int {
	w.caps.mu.Lock()
	defer w.caps.mu.Unlock()
	q := c.of(w.caps.of(account))
	q.sum += n
	q.pending += n
	return n
}

func (w *Writer) counted(account string, c capped, total int) {
	w.caps.mu.Lock()
	defer w.caps.mu.Unlock()
	q := c.of(w.caps.of(account))
	q.sum, q.counted = total+q.pending, time.Now()
}

func (w *Writer) countApplications(ctx context.Context, account string) (int, error) {
	return w.countOf(ctx, account, []*linkv1.Group{{Type: string(cats.Applications)}})
}

func (w *Writer) countLinks(ctx context.Context, account string) (int, error) {
	groups, err := w.Types(ctx, account)
	if err != nil {
		return 0, err
	}
	var of []*linkv1.Group
	for _, g := range groups {
		if g.GetRelType() != "" {
			of = append(of, g)
		}
	}
	return w.countOf(ctx, account, of)
}

func (w *Writer) countOf(ctx context.Context, account string, groups []*linkv1.Group) (total int, err error) {
	for _, g := range groups {
		count, _, err := w.Digest(ctx, account, g, false)
		if err != nil {
			return 0, err
		}
		total += int(count) //nolint:gosec // rows of one account
	}
	return total, nil
}

func (w *Writer) presentRows(ctx context.Context, items []*item) (map[string]bool, error) {
	present := map[string]bool{}
	byTable := map[string][]store.Row{}
	for _, it := range items {
		byTable[w.rowTable(it.typ)] = append(byTable[w.rowTable(it.typ)], it.row)
	}
	for table, rows := range byTable {
		ids, err := w.o.Store.PresentRows(ctx, table, rows)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if ids[it.row.ID] && w.rowTable(it.typ) == table {
				present[it.identity()] = true
			}
		}
	}
	return present, nil
}

func (w *Writer) presentLinks(ctx context.Context, items []*item) (map[string]bool, error) {
	present := map[string]bool{}
	byTable := map[string][]string{}
	for _, it := range items {
		byTable[w.linkTable(it.typ)] = append(byTable[w.linkTable(it.typ)], it.link.UUID)
	}
	for table, ids := range byTable {
		there, err := w.o.Store.PresentLinks(ctx, table, ids)
		if err != nil {
			return nil, err
		}
		for id := range there {
			present[id] = true // a link's identity
		}
	}
	return present, nil
}
