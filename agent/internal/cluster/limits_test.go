package cluster

import (
	"context"
	"testing"
	"testing/synctest"

	"golang.org/x/time/rate"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOfTheAccountsOfOneAPIServerTheStrictestLimitHolds(t *testing.T) {
	g, one, two := newGate(), &Cluster{}, &Cluster{}
	for _, step := range []struct {
		cluster *Cluster
		most    int
		want    int
	}{{one, 0, requestsAtOnce}, {one, 300, 300}, {two, 5, 5}, {one, 3, 3}, {one, 0, 5}, {two, 0, requestsAtOnce}} {
		if g.limit(step.cluster, step.most); g.most != step.want {
			t.Errorf("after %d: %d, want %d", step.most, g.most, step.want)
		}
	}
}

func TestRequestsEnterInTheirOrderAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := newGate(), &Cluster{}
		g.limit(c, 1)
		entered := make(chan int, 10)
		enter := func(ctx context.Context, n int) {
			go func() {
				if g.enter(ctx) == nil {
					entered <- n
				}
			}()
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		enter(t.Context(), 1)
		enter(gone, 2)
		enter(t.Context(), 3)
		enter(t.Context(), 4)
		leave()
		synctest.Wait()
		if n := <-entered; n != 1 || len(entered) != 0 || g.inside != 1 {
			t.Fatalf("%d entered, %d more, %d inside", n, len(entered), g.inside)
		}
		g.leave()
		if n := <-entered; n != 3 {
			t.Errorf("%d entered after the first; 2 has gone and 3 was next", n)
		}
		g.limit(c, 2) // a change lets in at once
		if n := <-entered; n != 4 {
			t.Errorf("%d entered", n)
		}
		g.leave()
		g.leave()
		if g.inside != 0 || len(g.queue) != 0 {
			t.Errorf("%d inside, %d wait", g.inside, len(g.queue))
		}
	})
}

func TestRatesAreChangedWhileTheClusterRunsAndSetBack(t *testing.T) {
	c := &Cluster{server: &server{requests: newGate()}, connection: &connection{
		inventory: rate.NewLimiter(inventoryRate, inventoryBurst), operations: rate.NewLimiter(operationRate, operationBurst)}}
	check := func(what string, l *rate.Limiter, perSecond rate.Limit, burst int) {
		t.Helper()
		if l.Limit() != perSecond || l.Burst() != burst {
			t.Errorf("%s: %v, %d; want %v, %d", what, l.Limit(), l.Burst(), perSecond, burst)
		}
	}
	c.Limit(&linkv1.AccountSettings{RequestRate: 5, InventoryRate: 2, InventoryBurst: 7, RequestsAtOnce: 3})
	check("operations", c.connection.operations, 5, 10)
	check("inventory", c.connection.inventory, 2, 7)
	if c.server.requests.most != 3 {
		t.Errorf("%d requests at once", c.server.requests.most)
	}
	c.Limit(&linkv1.AccountSettings{})
	check("operations", c.connection.operations, operationRate, operationBurst)
	check("inventory", c.connection.inventory, inventoryRate, inventoryBurst)
}
