package session

import "testing"

func TestABridgeSendsAwayWhatItHasAboveItsShare(t *testing.T) {
	for _, c := range []struct{ mine, all, bridges, want int }{
		{500, 500, 1, 0},   // alone
		{0, 500, 3, 0},     // it has just come
		{167, 500, 3, 0},   // even
		{167, 500, 4, 31},  // one was added
		{135, 500, 4, 10},  // nearly there
		{131, 500, 4, 0},   // near enough
		{2, 2, 2, 0},       // too few to matter
		{3, 3, 2, 0},       //
		{6, 6, 2, 3},       // all here
		{500, 500, 10, 20}, // in steps
	} {
		if got := surplus(c.mine, c.all, c.bridges); got != c.want {
			t.Errorf("%d of %d sessions, %d bridges: %d sent away, want %d", c.mine, c.all, c.bridges, got, c.want)
		}
	}
	// From three bridges to four, as a balancer that takes turns spreads them: within a minute of rounds.
	loads := []int{167, 167, 166, 0}
	for range 12 {
		out := 0
		for i, load := range loads {
			n := surplus(load, 500, len(loads))
			loads[i] -= n
			out += n
		}
		for i := range out {
			loads[i%len(loads)]++
		}
	}
	if loads[3] < 100 {
		t.Errorf("after a minute the new bridge has %d of %v", loads[3], loads)
	}
}
