package cluster

import (
	"slices"
	"sync"
)

// quota bounds how many objects of a kind are cached (cachingPolicies): the first ones in the order in which an API server lists them, by
// namespace and name, as in Clouddriver. Which ones these are is kept true by events alone, but for one case: when an object
// leaves, the one that moves up is not known, and wanting tells to list again. A nil quota lets everything pass.
type quota struct {
	most    int
	wanting chan struct{}

	mu sync.Mutex
	// shown are the paths of those that are cached, sorted. hidden: others were left out.
	shown  []string
	hidden bool
}

func newQuota(most int) *quota {
	if most <= 0 {
		return nil
	}
	return &quota{most: most, wanting: make(chan struct{}, 1)}
}

// begin forgets what was shown: a listing begins.
func (q *quota) begin() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shown, q.hidden = nil, false
	select {
	case <-q.wanting:
	default:
	}
}

// admit tells whether an object is cached, and which one has to go for it; "": none.
func (q *quota) admit(path string) (admitted bool, evicted string) {
	if q == nil {
		return true, ""
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at, known := slices.BinarySearch(q.shown, path)
	switch {
	case known:
		return true, ""
	case at >= q.most:
		q.hidden = true
		return false, ""
	}
	if len(q.shown) == q.most {
		last := len(q.shown) - 1
		evicted, q.hidden = q.shown[last], true
		q.shown = q.shown[:last]
	}
	q.shown = slices.Insert(q.shown, at, path)
	return true, evicted
}

// leave takes an object out.
func (q *quota) leave(path string) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at, known := slices.BinarySearch(q.shown, path)
	if !known {
		return
	}
	q.shown = slices.Delete(q.shown, at, at+1)
	if !q.hidden {
		return
	}
	select {
	case q.wanting <- struct{}{}:
	default:
	}
}
