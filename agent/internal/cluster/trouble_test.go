package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd/api"
)

type customResource = linkv1.CustomResource

func TestABrokenConnectionIsResumedWhereItEnded(t *testing.T) {
	kubeconfig := plane(t)
	p, through := throughProxy(t, kubeconfig)
	b := on(t, kubeconfig, func(a *config.Account, k *api.Config) { a.Kinds = []string{"cm", "service"}; through(a, k) })
	b.makeNamespace()
	b.eventually("kinds are live", func() bool { return b.sink.isLive("configMap", "service") })
	b.make(b.namespace, configMap("goes"))
	b.eventually("an object is there", func() bool { return b.sink.object("configMap", b.namespace+"/goes") != nil })
	for round := range 3 {
		p.set(true)
		b.eventually("the account says that its API server does not answer", func() bool {
			var problem string
			b.sink.get(func() { problem = b.sink.facts.GetProblem() })
			return strings.Contains(problem, "API server "+p.url()+" does not answer")
		})
		if round == 0 {
			b.remove(b.namespace, "ConfigMap", "goes")
		}
		b.make(b.namespace, configMap(fmt.Sprintf("meanwhile-%d", round)))
		b.sink.get(func() {
			if !b.sink.live["configMap"] || len(b.sink.dropped) > 0 {
				t.Error("silence is taken for something else")
			}
		})
		p.set(false)
		b.eventually("what happened meanwhile is there", func() bool {
			return b.sink.object("configMap", fmt.Sprintf("%s/meanwhile-%d", b.namespace, round)) != nil && b.sink.object("configMap", b.namespace+"/goes") == nil
		})
		b.eventually("the problem is over", func() bool {
			var problem string
			b.sink.get(func() { problem = b.sink.facts.GetProblem() })
			return problem == ""
		})
	}
	b.sink.get(func() {
		if b.sink.begins["configMap"] != 1 || b.sink.begins["service"] != 1 {
			t.Errorf("kinds were listed again: %v", b.sink.begins)
		}
	})
}

func TestAnAPIServerThatIsNotThereAtFirst(t *testing.T) {
	kubeconfig := plane(t)
	p, through := throughProxy(t, kubeconfig)
	p.set(true)
	b := on(t, kubeconfig, func(a *config.Account, k *api.Config) { a.Kinds = []string{"cm"}; through(a, k) })
	b.eventually("the account says so", func() bool {
		var problem string
		b.sink.get(func() { problem = b.sink.facts.GetProblem() })
		return strings.Contains(problem, "does not answer")
	})
	b.sink.get(func() {
		if len(b.sink.begins) > 0 || len(b.sink.dropped) > 0 || len(b.sink.watches) > 0 {
			t.Errorf("begins %v dropped %v watches %v of an API server that nobody reached", b.sink.begins, b.sink.dropped, b.sink.watches)
		}
	})
	p.set(false)
	b.eventually("it works then", func() bool { return b.sink.isLive("configMap") && b.cluster.Status().Problem == "" })
}

// The API server comes back with another history than before: what it says is 410 Gone, for real.
func TestAnAPIServerThatRestartsIsResumedIfItCanAndListedAgainIfItMust(t *testing.T) {
	server := secondAPIServer(t)
	b := on(t, plane(t), func(a *config.Account, k *api.Config) {
		a.Kinds = []string{"cm", "networkPolicy"}
		server.instead(a, k)
	})
	b.makeNamespace()
	b.eventually("kinds are live", func() bool { return b.sink.isLive("configMap", "networkPolicy") })
	b.make(b.namespace, configMap("goes"))
	b.make(b.namespace, configMap("stays"))
	b.eventually("objects are there", func() bool {
		return b.sink.object("configMap", b.namespace+"/stays") != nil && b.sink.object("configMap", b.namespace+"/goes") != nil
	})

	server.stop()
	b.remove(b.namespace, "ConfigMap", "goes")
	b.make(b.namespace, configMap("comes"))
	server.start()
	b.eventually("the kind is up to date", func() bool {
		return b.sink.object("configMap", b.namespace+"/comes") != nil && b.sink.object("configMap", b.namespace+"/goes") == nil && b.sink.isLive("configMap")
	})
	if b.sink.object("configMap", b.namespace+"/stays") == nil {
		t.Error("an object that stayed is gone")
	}
	b.sink.get(func() {
		if b.sink.begins["configMap"] < 2 {
			t.Errorf("config maps were listed %d times: the API server did not say 410", b.sink.begins["configMap"])
		}
		t.Logf("listed: %v", b.sink.begins)
		if len(b.sink.dropped) > 0 {
			t.Error("dropped: ", b.sink.dropped)
		}
	})
	b.make(b.namespace, configMap("last"))
	b.eventually("it is followed again", func() bool { return b.sink.object("configMap", b.namespace+"/last") != nil })
}

func TestAHistoryThatIsTooOldIsSaidToBe(t *testing.T) {
	server := secondAPIServer(t)
	b := prepare(t, plane(t), server.instead)
	b.makeNamespace()
	for i := range 3 {
		b.make(b.namespace, configMap(fmt.Sprintf("cm-%d", i)))
	}
	server.stop()
	server.start() // its history begins here
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	mapping, err := b.cluster.kinds.resolve(ctx, "cm", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := requests(ctx, b.cluster.connection)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{client: client, mapping: mapping}
	version, _, err := src.list(ctx, func() {}, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.watch(ctx, "1", func() {}, func(watched) (string, error) { return "", nil }); !errors.Is(err, errExpired) {
		t.Errorf("a watch from the beginning of time: %v", err)
	}
	short, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	started := false
	if _, err := src.watch(short, version, func() { started = true }, func(watched) (string, error) { return "", nil }); !errors.Is(err, context.DeadlineExceeded) || !started {
		t.Errorf("a watch from now: %v", err)
	}
}

func TestFetchReadsAFewOneByOneAndManyByAListing(t *testing.T) {
	b := prepare(t, plane(t), func(a *config.Account, _ *api.Config) { a.OnlySpinnakerManaged = true })
	b.makeNamespace()
	var keys []cats.Key
	for i := range 30 {
		name := fmt.Sprintf("cm-%02d", i)
		b.make(b.namespace, strings.Replace(configMap(name), `"metadata":{`, `"metadata":{"annotations":{"moniker.spinnaker.io/application":"app"},`, 1))
		keys = append(keys, cats.Key{Type: "configMap", Scope: b.namespace, Name: name})
	}
	b.make(b.namespace, configMap("hidden"))
	hidden, absent := cats.Key{Type: "configMap", Scope: b.namespace, Name: "hidden"}, cats.Key{Type: "configMap", Scope: b.namespace, Name: "absent"}
	for _, some := range [][]cats.Key{{keys[0], hidden, absent}, append(slices.Clone(keys), hidden, absent)} {
		got := map[cats.Key]error{}
		err := b.cluster.Fetch(t.Context(), "configMap", some, func(k cats.Key, object map[string]any, err error) error {
			if (object == nil) == (err == nil) {
				t.Errorf("%s: %v, %v", k, object, err)
			}
			if _, twice := got[k]; twice {
				t.Errorf("%s twice", k)
			}
			got[k] = err
			return nil
		})
		if err != nil || len(got) != len(some) {
			t.Errorf("%v: %v", err, slices.Collect(maps.Keys(got)))
		}
		for k, err := range got {
			switch {
			case k == hidden && !errors.Is(err, ErrHidden), k == absent && !apierrors.IsNotFound(err), k != hidden && k != absent && err != nil:
				t.Errorf("%s: %v", k, err)
			}
		}
	}
	enough := errors.New("enough")
	if err := b.cluster.Fetch(t.Context(), "configMap", keys, func(cats.Key, map[string]any, error) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	var unknown *UnknownKindError
	if err := b.cluster.Fetch(t.Context(), "Nonsense.example.com", keys, nil); !errors.As(err, &unknown) {
		t.Error(err)
	}
}

func TestUnknownKindsShareReadingDiscoveryAgainAndNoneIsTurnedAway(t *testing.T) {
	b := prepare(t, plane(t), nil)
	ctx := t.Context()
	kinds := b.cluster.kinds
	if _, err := kinds.get(ctx); err != nil {
		t.Fatal(err)
	}
	kinds.misses.SetBurst(2)
	kinds.misses.SetLimit(rate.Every(100 * time.Millisecond))
	began := time.Now()
	var all errgroup.Group
	for range 50 {
		all.Go(func() error {
			asked := time.Now()
			var unknown *UnknownKindError
			if _, err := kinds.resolve(ctx, "nonsense", nil); !errors.As(err, &unknown) {
				return fmt.Errorf("error %w, want that the kind is not known", err)
			}
			kinds.mu.Lock()
			defer kinds.mu.Unlock()
			if kinds.read.Before(asked) {
				return errors.New("it was answered by what had been read before it asked")
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	// 50 that read for themselves would have waited for 48 intervals.
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("50 unknown kinds took %s", took)
	}
}

func TestTwoAccountsOfTheSameKindsShareTheirCatalog(t *testing.T) {
	kubeconfig := plane(t)
	shared := NewShared()
	a, b := prepare(t, kubeconfig, nil), prepare(t, kubeconfig, nil)
	a.cluster.kinds.shared, b.cluster.kinds.shared = shared, shared
	first, err := a.cluster.kinds.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.cluster.kinds.get(t.Context())
	if err != nil || first != second {
		t.Error("they do not share", err)
	}
}
