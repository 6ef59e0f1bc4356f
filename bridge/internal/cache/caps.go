package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// maximumKinds is how many custom kinds one account may have tables for, so that none uses up those that there are for all.
const maximumKinds = 1500

// recountAfter is how long an account that was beyond a cap stays so before its rows are counted again.
const recountAfter = 30 * time.Second

// caps hold each account to so many applications and links. Applications are the one thing that accounts share, and links are what views follow.
// What is put is added up without asking what was there before, and only a sum beyond the cap has the rows counted: an honest account costs nothing.
type caps struct {
	applications, links int

	mu       sync.Mutex
	accounts map[string]*usage
}

// usage is what one account has put since it was counted.
type usage struct {
	applications, links quantity
	kinds               map[cats.Type]bool
}

// quantity is at least as much as there is.
type quantity struct {
	sum     int
	counted time.Time
	over    bool
}

func newCaps(applications, links int) *caps {
	return &caps{applications: applications, links: links, accounts: map[string]*usage{}}
}

// of returns an account's usage. The lock is held.
func (c *caps) of(account string) *usage {
	u := c.accounts[account]
	if u == nil {
		u = &usage{kinds: map[cats.Type]bool{}}
		c.accounts[account] = u
	}
	return u
}

// kind lets an account have a table for a kind. Clouddriver's own kinds everybody may have.
func (c *caps) kind(account string, t cats.Type) error {
	if t.Native() || t == cats.Applications || t == cats.Clusters {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.of(account)
	if !u.kinds[t] && len(u.kinds) >= maximumKinds {
		return fmt.Errorf("type %s cannot be stored: the account has %d custom kinds already, as many as one may have", t, maximumKinds)
	}
	u.kinds[t] = true
	return nil
}

// check says why an account's further applications or links cannot be stored.
func (c *caps) check(account string, application, link bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch u := c.of(account); {
	case application && u.applications.over:
		return fmt.Errorf("the account has more than %d applications, the limit (cache.maximumApplications)", c.applications)
	case link && u.links.over:
		return fmt.Errorf("the account has more than %d links, the limit (cache.maximumLinks)", c.links)
	}
	return nil
}

// cap adds up what a write puts, and counts the account's rows where that might be too much.
func (w *Writer) cap(ctx context.Context, write Write) {
	applications, links := 0, 0
	for _, c := range write.Changes {
		switch {
		case c.GetPutLink() != nil:
			links++
		case cats.Type(c.GetPutRow().GetKey().GetType()) == cats.Applications:
			applications++
		}
	}
	c := w.caps
	c.mu.Lock()
	u := c.of(write.Account)
	countApplications, countLinks := u.applications.add(applications, c.applications), u.links.add(links, c.links)
	c.mu.Unlock()
	if countApplications {
		w.recount(ctx, write.Account, []*linkv1.Group{{Type: string(cats.Applications)}}, c.applications, func(u *usage) *quantity { return &u.applications })
	}
	if countLinks {
		groups, err := w.Types(ctx, write.Account)
		if err != nil {
			return // the write meets the same database
		}
		var of []*linkv1.Group
		for _, g := range groups {
			if g.GetRelType() != "" {
				of = append(of, g)
			}
		}
		w.recount(ctx, write.Account, of, c.links, func(u *usage) *quantity { return &u.links })
	}
}

// add tells whether the rows have to be counted.
func (q *quantity) add(n, limit int) bool {
	if n == 0 {
		return false
	}
	q.sum += n
	if q.over {
		return time.Since(q.counted) >= recountAfter
	}
	return q.sum > limit
}

// recount counts rows. What is about to come may be there already, so a cap is exceeded by one write before it holds.
func (w *Writer) recount(ctx context.Context, account string, groups []*linkv1.Group, limit int, of func(*usage) *quantity) {
	total := 0
	for _, g := range groups {
		count, _, err := w.Digest(ctx, account, g, false)
		if err != nil {
			return // the write meets the same database
		}
		total += int(count) //nolint:gosec // rows of one account
	}
	w.caps.mu.Lock()
	q := of(w.caps.of(account))
	was := q.over
	q.sum, q.counted, q.over = total, time.Now(), total > limit
	w.caps.mu.Unlock()
	if q.over && !was {
		w.o.Log.Warn("account has reached a limit; what goes beyond it is rejected", "account", account, "there", total, "limit", limit)
	}
}
