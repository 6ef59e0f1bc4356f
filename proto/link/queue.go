package link

// queue is a first-in, first-out list. Who fills it sees to its bound.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) push(item T) { q.items = append(q.items, item) }

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) pop() (item T, ok bool) {
	if q.first == len(q.items) {
		return item, false
	}
	var zero T
	item = q.items[q.first]
	q.items[q.first] = zero
	q.first++
	switch {
	case q.first == len(q.items):
		q.items, q.first = q.items[:0], 0
	case q.first > 64 && q.first > len(q.items)/2:
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	return item, true
}

// last is the newest item, for changing it in its place.
func (q *queue[T]) last() *T {
	if q.len() == 0 {
		return nil
	}
	return &q.items[len(q.items)-1]
}
