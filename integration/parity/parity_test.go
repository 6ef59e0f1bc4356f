package parity

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/fairlead/fairlead/testenv"
)

var seedFlag = flag.Uint64("seed", 0, "of the random objects and changes; 0 takes a new one")

// leastViews with content is what the suite must not fall below, on each version and in each round.
const leastViews = 500

func TestCachedViewsOfBothAccountsAgree(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // no secret
	}
	t.Logf("-seed=%d", seed)
	for _, version := range testenv.Versions() {
		t.Run(version, func(t *testing.T) {
			s := up(t, version, seed)
			rounds := rounds{}
			t.Run("corpus", func(t *testing.T) {
				s.settle(t, true)
				rounds["corpus"] = s.crawled(t)
			})
			t.Run("churn", func(t *testing.T) {
				s.churn(t)
				s.settle(t, true)
				rounds["churn"] = s.crawled(t)
			})
			rounds.print(t, s.Clouddriver.Version)
			t.Run("search by pages", func(t *testing.T) { pages(t, s) })
			t.Run("cache refresh on demand", func(t *testing.T) { refreshes(t.Context(), t, s) })
			t.Run("account released and resumed", func(t *testing.T) { handBack(t, s) })
			t.Run("applications that polling evicts", func(t *testing.T) { evicted(t, s) })
			t.Run("after an operation's task the views show its effect", func(t *testing.T) { fresh(t, s) })
			// Last, because the accounts differ from then on.
			t.Run("what stock Clouddriver errs on", func(t *testing.T) { stockErrs(t, s) })
		})
	}
}
