package cluster

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/time/rate"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// requestsAtOnce is how many requests of operations one API server is asked to answer at one time: by default it takes 400 reads and 200 changes
// at once, of everybody.
const requestsAtOnce = 100

// Limit bounds what the account asks of its API server, as the bridge's configuration says; what that leaves open is as it was at the start. Nothing
// that is under way is interrupted.
func (c *Cluster) Limit(s *linkv1.AccountSettings) {
	setRate(c.connection.inventory, s.GetInventoryRate(), s.GetInventoryBurst(), inventoryRate)
	setRate(c.connection.operations, s.GetRequestRate(), s.GetRequestBurst(), operationRate)
	c.server.requests.limit(c, int(s.GetRequestsAtOnce()))
}

// setRate gives a limiter a rate and a burst; without one the burst is the requests of two seconds.
func setRate(l *rate.Limiter, perSecond, burst, otherwise uint32) {
	if perSecond == 0 {
		perSecond = otherwise
	}
	if burst == 0 {
		burst = 2 * perSecond
	}
	l.SetLimit(rate.Limit(perSecond))
	l.SetBurst(int(burst))
}

// gate lets so many through at one time, in the order in which they came. It is an API server's: of the accounts that share it, the strictest
// limit holds.
type gate struct {
	mu     sync.Mutex
	limits map[*Cluster]int
	most   int
	inside int
	queue  []chan struct{}
}

func newGate() *gate { return &gate{limits: map[*Cluster]int{}, most: requestsAtOnce} }

// limit sets what one account wants; 0: it wants nothing.
func (g *gate) limit(c *Cluster, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.limits, c)
	if most > 0 {
		g.limits[c] = most
	}
	g.most = requestsAtOnce
	first := true
	for _, l := range g.limits {
		if first || l < g.most {
			g.most, first = l, false
		}
	}
	g.admit()
}

// enter waits until there is room. Whoever entered leaves.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	if g.inside < g.most && len(g.queue) == 0 {
		g.inside++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.queue = append(g.queue, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, turn); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	} else {
		g.inside-- // its turn came at the same moment
		g.admit()
	}
	return context.Cause(ctx)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.admit()
}

// admit gives those their turn for whom there is room. The lock is held.
func (g *gate) admit() {
	for g.inside < g.most && len(g.queue) > 0 {
		close(g.queue[0])
		g.queue = slices.Delete(g.queue, 0, 1)
		g.inside++
	}
}
