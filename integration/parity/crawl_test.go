package parity

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// view is one address of Clouddriver's REST API. ACCOUNT in its path is an account's name; without it the view is of all accounts.
type view struct {
	class string // the address without names, as docs/parity.md lists it
	path  string
	app   string
	pair  int // whose accounts are named; a view of all accounts compares all pairs
}

func (v view) shared() bool { return !strings.Contains(v.path, masked) }

// count is what came of a class of views: how many were compared, of these had content, and differed.
type count struct{ compared, full, different int }

// crawl compares views, and those that they lead to.
type crawl struct {
	*suite
	part uint32 // one of so many views is compared

	mu          sync.Mutex      // of what is below
	seen        map[string]bool // by pair and path
	next        []view
	counts      map[string]*count
	differences map[string]string // by path
}

func (s *suite) crawl(t *testing.T, part uint32) *crawl {
	t.Helper()
	c := &crawl{suite: s, part: part, seen: map[string]bool{}, counts: map[string]*count{}, differences: map[string]string{}}
	roots, err := s.roots(t.Context())
	must(t, err)
	c.add(roots...)
	must(t, c.run(t.Context()))
	return c
}

// crawled compares the views of the cluster as it is, which all agree.
func (s *suite) crawled(t *testing.T) map[string]*count {
	t.Helper()
	c := s.crawl(t, 1)
	c.tell(t, 20)
	return c.counts
}

// tell fails the test for views that differ, and shows so many of them.
func (c *crawl) tell(t *testing.T, limit int) {
	t.Helper()
	for i, path := range slices.Sorted(maps.Keys(c.differences)) {
		if i == limit {
			t.Errorf("and %d more views differ", len(c.differences)-i)
			break
		}
		t.Error(c.differences[path])
	}
}

func (c *crawl) add(views ...view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range views {
		if v.shared() {
			v.pair = 0
		}
		if c.pairs[v.pair].everything && !v.shared() && !sampled(v) || !oneOf(c.part, 0, v.path+"?") {
			continue
		}
		if at := fmt.Sprint(v.pair, v.path); !c.seen[at] {
			c.seen[at] = true
			c.next = append(c.next, v)
		}
	}
}

// sampled tells whether a view of the second pair's accounts is among those that are compared. What its default kinds look like, the first
// pair shows; of the views of one account every fourth is enough, and all that custom resources have.
func sampled(v view) bool {
	return oneOf(4, 0, v.path) || strings.Contains(v.path, "CronTab") || strings.HasPrefix(v.path, "/search")
}

// oneOf tells whether a text belongs to part i of n, by its hash.
func oneOf(n, i uint32, text string) bool {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(text))
	return hash.Sum32()%n == i
}

// run compares until no view leads to another one.
func (c *crawl) run(ctx context.Context) error {
	for len(c.next) > 0 {
		now := c.next
		c.next = nil
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(4)
		for _, v := range now {
			group.Go(func() error { return c.compare(ctx, v) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// compare asks for a view and compares what it says of the accounts of a pair; what they have in common is followed.
func (c *crawl) compare(ctx context.Context, v view) error {
	pairs := []pair{c.pairs[v.pair]}
	var answer any
	if v.shared() {
		pairs = c.pairs
		var err error
		if answer, err = c.get(ctx, v.path); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		var parts [2]any
		for i, account := range p.accounts() {
			answer := answer
			if !v.shared() {
				var err error
				if answer, err = c.get(ctx, pathFor(v.path, url.PathEscape(account))); err != nil {
					return err
				}
			}
			parts[i], _ = c.projection(account, v.shared()).of(answer)
		}
		c.judge(v, p, parts)
		for _, part := range parts {
			c.add(c.lead(v, part)...)
		}
	}
	return nil
}

func (c *crawl) judge(v view, p pair, parts [2]any) {
	difference := cmp.Diff(parts[0], parts[1])
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts[v.class]
	if n == nil {
		n = &count{}
		c.counts[v.class] = n
	}
	n.compared++
	if !empty(parts[0]) {
		n.full++
	}
	if difference != "" {
		n.different++
		c.differences[v.path] += fmt.Sprintf("GET %s (- %s, + %s)\n%.3000s\n", v.path, p.stock, p.agent, difference)
	}
}

// empty tells whether a view says nothing: that something is not there, or a list or object of nothing.
func empty(part any) bool {
	switch v := part.(type) {
	case nil:
		return true
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool { return !empty(item) })
	case map[string]any:
		if results, ok := v["results"]; ok { // of a search
			return empty(results)
		}
		return len(v) == 0 || v["status"] != nil && v["message"] != nil
	}
	return false
}

func (s *suite) projection(account string, shared bool) projection {
	others := slices.DeleteFunc(s.accounts(), func(other string) bool { return other == account })
	return projection{account: account, others: others, shared: shared}
}

// escape makes an element of a path, or a value of a query, of a name.
func escape(name string) string { return strings.ReplaceAll(url.QueryEscape(name), "+", "%20") }
