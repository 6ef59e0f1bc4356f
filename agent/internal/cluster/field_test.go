package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"k8s.io/client-go/tools/clientcmd/api"
)

// watching counts the watches of config maps that are open.
func (m *meddler) watching() int { return int(m.watches.Load()) }

func TestAfterCutsAndChangesThereIsOneWatchOfEachKind(t *testing.T) {
	b, m := meddled(t)
	b.run()
	b.complete()
	for round := range 12 {
		switch round % 4 {
		case 0:
			m.cut()
		case 1:
			b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: []string{"cm", "service"}, OnlySpinnakerManaged: round%8 == 1})
		case 2:
			b.cluster.kinds.invalidate()
			b.cluster.kindsChanged()
		case 3:
			m.instead(1, isWatch, always(http.StatusOK, `{"type":"ERROR","object":`+expiredStatus+`}`))
			m.cut()
		}
		// The next round comes while this one still goes on, or after it.
		if round%3 == 0 {
			b.eventually("the kind is live", func() bool { return b.sink.isLive("configMap") })
		}
	}
	b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: []string{"cm"}})
	b.eventually("the kind is live and complete", func() bool {
		return b.sink.isLive("configMap") && len(b.sink.paths("configMap", b.namespace)) >= 5 && slices.Contains(b.watches(), "configMap") && !slices.Contains(b.watches(), "service")
	})
	b.eventually("one watch is open", func() bool { return m.watching() == 1 })
	b.make(b.namespace, configMap("last"))
	b.eventually("it is followed", func() bool { return b.sink.object("configMap", b.namespace+"/last") != nil })
	if n := m.watching(); n != 1 {
		t.Errorf("%d watches of one kind are open", n)
	}
}

func TestTwoThousandAccountsTakeTurnsAtListing(t *testing.T) {
	shared := NewShared()
	var now, most, done atomic.Int64
	var all sync.WaitGroup
	for i := range 2_000 {
		c := &Cluster{shared: shared, server: shared.server(fmt.Sprint("https://", i)), lists: make(chan struct{}, accountLists), timing: defaultTiming()}
		for range 3 {
			all.Go(func() {
				release, err := c.takeTurn(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				n := now.Add(1)
				for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
				}
				now.Add(-1)
				done.Add(1)
				release()
			})
		}
	}
	all.Wait()
	if done.Load() != 6_000 || most.Load() > concurrentLists {
		t.Errorf("%d listings had their turn, %d at once", done.Load(), most.Load())
	}
}

func TestAccountsWhoseListingsHangStopNobodyElse(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) { a.Kinds = []string{"service"} })
	for range concurrentLists {
		b.cluster.shared.lists <- struct{}{}
	}
	b.run()
	b.eventually("the kind is live", func() bool { return b.sink.isLive("service") })
}

func TestAnAPIServerThatDoesNotAnswerAListingIsAskedAgain(t *testing.T) {
	b, m := meddled(t)
	b.cluster.connection.headerTimeout = 200 * time.Millisecond
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	m.instead(2, isFirst, func(url.Values) (int, string) {
		<-release
		return http.StatusOK, "{}"
	})
	b.run()
	b.complete()
	if n := len(m.queries(isFirst)); n < 3 {
		t.Errorf("it was asked %d times", n)
	}
}

// As when the webhook that converts a custom resource does not work.
func TestAKindThatCannotBeListedDelaysNoOther(t *testing.T) {
	b, m := meddled(t)
	b.cluster.policy = &linkv1.CachePolicy{Kinds: []string{"cm", "service"}}
	b.cluster.account.Kinds = nil
	m.instead(-1, isFirst, always(http.StatusInternalServerError,
		`{"kind":"Status","status":"Failure","code":500,"reason":"InternalError","message":"conversion webhook for example.com/v1, Kind=X failed: no endpoints available"}`))
	b.make(b.namespace, oneOfEach()["service"])
	b.run()
	b.eventually("the other kind is live", func() bool { return b.sink.isLive("service") && b.sink.object("service", b.namespace+"/each") != nil })
	b.eventually("the reason is shown", func() bool {
		for _, k := range b.cluster.Status().Kinds {
			if k.Kind == "configMap" {
				return k.State == "waiting" && k.Error != ""
			}
		}
		return false
	})
	m.instead(0, isFirst, nil)
	b.complete()
}
