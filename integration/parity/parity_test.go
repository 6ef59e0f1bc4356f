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
				s.settle(t)
				rounds["corpus"] = s.crawled(t)
			})
			rounds.print(t, s.Clouddriver.Version)
		})
	}
}
