package cluster

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
)

// ages knows when each Event of a kind is to leave: some API servers keep them for days, and nobody looks at them for so long. A nil one
// keeps everything.
type ages struct {
	kept time.Duration

	mu sync.Mutex
	// until by path; due has each path once, at a time that may have moved on since.
	until map[string]time.Time
	due   dueList
	// sooner: the first that is due is another one.
	sooner chan struct{}
}

func newAges(t cats.Type, kept time.Duration) *ages {
	if t != eventType {
		return nil
	}
	return &ages{kept: kept, until: map[string]time.Time{}, sooner: make(chan struct{}, 1)}
}

// eventType is Events, whichever group they are read from.
var eventType = cats.TypeOf("v1", "Event")

// note keeps an Event's time; false: it is too old already.
func (a *ages) note(path string, object map[string]any, now time.Time) bool {
	if a == nil {
		return true
	}
	happened := happened(object)
	if happened.After(now) {
		happened = now // another clock
	}
	until := happened.Add(a.kept)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !until.After(now) {
		delete(a.until, path)
		return false
	}
	_, known := a.until[path]
	a.until[path] = until
	if !known {
		heap.Push(&a.due, dueItem{until, path})
		if a.due[0].path == path {
			select {
			case a.sooner <- struct{}{}:
			default:
			}
		}
	}
	return true
}

// forget is about an Event that left by itself.
func (a *ages) forget(path string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.until, path)
}

// over returns the Events whose time has come, and when the next one is due.
func (a *ages) over(now time.Time) (paths []string, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.due) > 0 {
		first := a.due[0]
		until, known := a.until[first.path]
		switch {
		case !known:
			heap.Pop(&a.due)
		case until.After(first.at):
			a.due[0].at = until
			heap.Fix(&a.due, 0)
		case first.at.After(now):
			return paths, first.at
		default:
			heap.Pop(&a.due)
			delete(a.until, first.path)
			paths = append(paths, first.path)
		}
	}
	return paths, now.Add(a.kept)
}

// expire hands on the Events that are to leave, until ctx ends.
func (a *ages) expire(ctx context.Context, leave func(path string) error) error {
	for {
		paths, next := a.over(time.Now())
		for _, path := range paths {
			if err := leave(path); err != nil {
				return err
			}
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-a.sooner:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// happened is when an Event was last seen. Which of the times are set depends on who made it.
func happened(object map[string]any) time.Time {
	series, _ := object["series"].(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	seen := parsed(object["lastTimestamp"])
	if t := parsed(series["lastObservedTime"]); t.After(seen) {
		seen = t
	}
	for _, v := range []any{object["eventTime"], object["firstTimestamp"], metadata["creationTimestamp"]} {
		if seen.IsZero() {
			seen = parsed(v)
		}
	}
	return seen
}

func parsed(v any) time.Time {
	text, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

type dueItem struct {
	at   time.Time
	path string
}

// dueList is a heap, the first due first.
type dueList []dueItem

func (d dueList) Len() int           { return len(d) }
func (d dueList) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dueList) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dueList) Push(x any)        { *d = append(*d, x.(dueItem)) } //nolint:forcetypeassert // heap pushes what note gives it
func (d *dueList) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
