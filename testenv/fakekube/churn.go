package fakekube

import (
	"context"
	"math/rand/v2"
	"time"
)

// churnTick is how often Churn makes what is due.
const churnTick = 5 * time.Millisecond

// Churn changes the applications' objects until ctx ends: rate changes a second, spread over all of them; nine of ten are another status
// of a pod, the others replace a pod by a new one, which is two changes. It returns how many it made. The applications belong to it
// as long as it runs.
func Churn(ctx context.Context, applications []*Application, rate float64, seed uint64) (made int) {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // which object changes is no secret
	tick := time.NewTicker(churnTick)
	defer tick.Stop()
	began := time.Now()
	for {
		for due := int(time.Since(began).Seconds() * rate); made < due; {
			a := applications[random.IntN(len(applications))]
			i := random.IntN(len(a.Pods))
			if random.IntN(20) == 0 {
				a.RemovePod(i)
				a.AddPod()
				made += 2
				continue
			}
			a.Cluster.Touch("pods", a.Namespace, a.Pods[i])
			made++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return made
		}
	}
}
