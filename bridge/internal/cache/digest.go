package cache

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

const (
	// digestReaders questions are open at once. While they are, further ones about the same table gather into one query.
	digestReaders = 2
	// digestAgents is how many agents one query asks about.
	digestAgents = 200
	// digestTimeout ends a query that hangs.
	digestTimeout = time.Minute
)

// digests asks for the digests of many accounts at once: one query for each table, as long as there are questions.
type digests struct {
	wake chan struct{}

	mu      sync.Mutex
	tables  []*tableQuestions // in the order of their first question
	stopped bool
}

// tableQuestions are what is asked about one table.
type tableQuestions struct {
	table string
	links bool
	// By agent: those who wait for the answer.
	asked map[string][]chan<- digestAnswer
	order []string
}

type digestAnswer struct {
	digest store.Digest
	err    error
}

func newDigests() *digests { return &digests{wake: make(chan struct{}, digestReaders)} }

// ask returns the digest of an agent's rows in a table, or of a rel agent's links.
func (d *digests) ask(ctx context.Context, table string, links bool, agent string) (store.Digest, error) {
	answer := make(chan digestAnswer, 1)
	if !d.add(table, links, agent, answer) {
		return store.Digest{}, ErrStopped
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	select {
	case a := <-answer:
		return a.digest, a.err
	case <-ctx.Done():
		return store.Digest{}, ctx.Err()
	}
}

func (d *digests) add(table string, links bool, agent string, answer chan<- digestAnswer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return false
	}
	var q *tableQuestions
	for _, t := range d.tables {
		if t.table == table && len(t.order) < digestAgents {
			q = t
		}
	}
	if q == nil {
		q = &tableQuestions{table: table, links: links, asked: map[string][]chan<- digestAnswer{}}
		d.tables = append(d.tables, q)
	}
	if _, there := q.asked[agent]; !there {
		q.order = append(q.order, agent)
	}
	q.asked[agent] = append(q.asked[agent], answer)
	return true
}

func (d *digests) next() *tableQuestions {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.tables) == 0 {
		return nil
	}
	q := d.tables[0]
	d.tables = d.tables[1:]
	return q
}

// run answers questions until ctx ends.
func (d *digests) run(ctx context.Context, s *store.Store) error {
	for {
		q := d.next()
		if q == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-d.wake:
			}
			continue
		}
		q.answer(d.read(ctx, s, q))
	}
}

func (d *digests) read(ctx context.Context, s *store.Store, q *tableQuestions) (map[string]store.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, digestTimeout)
	defer cancel()
	if q.links {
		return s.LinkDigests(ctx, q.table, q.order)
	}
	return s.RowDigests(ctx, q.table, q.order)
}

func (q *tableQuestions) answer(found map[string]store.Digest, err error) {
	for agent, waiting := range q.asked {
		for _, answer := range waiting {
			answer <- digestAnswer{digest: found[agent], err: err}
		}
	}
}

// stop refuses further questions and ends those that wait.
func (d *digests) stop() {
	d.mu.Lock()
	left := d.tables
	d.tables, d.stopped = nil, true
	d.mu.Unlock()
	for _, q := range left {
		q.answer(nil, ErrStopped)
	}
}
