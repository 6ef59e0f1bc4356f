package session

import (
	"context"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// This file spreads agents over bridges. What stands between them (a Service, a balancer) does so when they connect; a bridge that is added
// would have none until sessions are old. So each bridge counts the sessions of all, and sends some of its own away if it has many more than its share:
// where they go is for the balancer to say.

const (
	// balanceInterval is how often sessions are counted; mostMoved of them are sent away at once, or a quarter of the share if that is more.
	balanceInterval = 5 * time.Second
	mostMoved       = 20
	// mostPause is how rarely it is tried when those that are sent away come back: then nothing balances.
	mostPause = 30 * time.Minute
	// comeBack is how long one that was sent away may take to show where it goes.
	comeBack = 15 * time.Second
)

// Directory knows the bridges (store.Store).
type Directory interface {
	Bridges(ctx context.Context) ([]store.Bridge, error)
}

// surplus is how many of its sessions a bridge sends away: what it has above its share, unless that is little.
func surplus(mine, all, bridges int) int {
	if bridges < 2 {
		return 0
	}
	share := (all + bridges - 1) / bridges
	if above := mine - share; above > max(2, share/20) {
		return min(above, max(mostMoved, share/4))
	}
	return 0
}

// balancing sends sessions away. It belongs to Service.balance.
type balancing struct {
	s *Service
	// sent are the processes that were sent away, and when, until it is known where they went.
	sent  map[string]time.Time
	at    time.Time
	pause time.Duration
}

func (s *Service) balance(ctx context.Context) {
	b := &balancing{s: s, sent: map[string]time.Time{}, pause: balanceInterval}
	ticker := time.NewTicker(balanceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			b.round(ctx, now)
		}
	}
}

func (b *balancing) round(ctx context.Context, now time.Time) {
	mine := b.s.greeted()
	b.learn(mine, now)
	if !b.at.IsZero() && now.Sub(b.at) < b.pause {
		return
	}
	n := b.excess(ctx, len(mine))
	if n == 0 {
		return
	}
	// The oldest first: those that were moved are young, and stay.
	slices.SortFunc(mine, func(x, y *session) int { return x.since.Compare(y.since) })
	b.at = now
	for _, e := range mine[:min(n, len(mine))] {
		b.sent[e.instance()] = now
		e.drain("another bridge has fewer agents")
	}
	b.s.cfg.Log.Info("agents are sent away, as other bridges have fewer", "agents", n, "of", len(mine))
}

// learn looks where those went that were sent away a while ago.
func (b *balancing) learn(mine []*session, now time.Time) {
	here := map[string]bool{}
	for _, e := range mine {
		here[e.instance()] = true
	}
	went, back := 0, 0
	for instance, at := range b.sent {
		if now.Sub(at) < comeBack {
			continue
		}
		delete(b.sent, instance)
		if here[instance] {
			back++
		} else {
			went++
		}
	}
	switch {
	case back > 0 && back >= 4*went:
		b.pause = min(max(2*b.pause, time.Minute), mostPause)
		b.s.cfg.Log.Warn("agents that were sent to other bridges come back: what stands before the bridges does not balance", "back", back, "of", back+went, "next_try", b.pause.String())
	case went > 0:
		b.pause = balanceInterval
	}
}

// excess is how many sessions this bridge has above its share.
func (b *balancing) excess(ctx context.Context, mine int) int {
	sessions := map[string]bool{} // of other bridges
	for _, list := range b.s.cfg.Accounts.Serving() {
		for _, s := range list {
			if s.Bridge != b.s.cfg.Bridge {
				sessions[s.Session] = true
			}
		}
	}
	bridges, err := b.s.cfg.Directory.Bridges(ctx)
	if err != nil {
		return 0
	}
	there := 0
	for _, other := range bridges {
		if other.Age < store.BridgeSilence.Milliseconds() {
			there++
		}
	}
	return surplus(mine, mine+len(sessions), there)
}

// greeted are the sessions whose agents have said Hello and that are not on their way out.
func (s *Service) greeted() []*session {
	return slices.DeleteFunc(s.all(), func(e *session) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.agent == nil || e.draining
	})
}
