package fakekube

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// answer writes one answer, and lets happen to it what is to happen. One goroutine writes it.
type answer struct {
	cluster    *Cluster
	context    context.Context //nolint:containedctx // the request's
	connection net.Conn
	writer     http.ResponseWriter
	buffer     *bufio.Writer
	resource   Resource
	ask        *request
	// fault that happens to it; nil: none. pieces are the objects written since it does.
	fault  *fault
	pieces int
	ended  bool
}

func (c *Cluster) answer(w http.ResponseWriter, r *http.Request, resource Resource, ask *request, connection net.Conn) *answer {
	return &answer{
		cluster: c, context: r.Context(), connection: connection, writer: w, buffer: bufio.NewWriterSize(w, 32<<10), resource: resource, ask: ask,
		fault: c.faults.take(resource.Plural, ask.verb, false),
	}
}

func (a *answer) release() { a.flush() }

// refused lets happen what happens before an answer begins; true: there is none any more.
func (a *answer) refused() bool {
	if a.fault == nil {
		return false
	}
	if a.pause(a.fault.Delay) {
		return true
	}
	if a.fault.Status == 0 {
		return false
	}
	after := int(a.fault.RetryAfter / time.Second)
	var err error
	switch a.fault.Status {
	case http.StatusForbidden:
		where := "at the cluster scope"
		if a.ask.namespace != "" {
			where = `in the namespace "` + a.ask.namespace + `"`
		}
		err = apierrors.NewForbidden(a.resource.groupResource(), a.ask.name,
			errors.New(`User "fake" cannot `+a.ask.verb+` resource "`+a.resource.Plural+`" in API group "`+a.resource.Group+`" `+where))
	case http.StatusTooManyRequests:
		err = apierrors.NewTooManyRequests("too many requests, please try again later", after)
	case http.StatusGone:
		err = apierrors.NewResourceExpired(versionExpired)
	case http.StatusUnauthorized:
		err = unauthorized()
	default:
		err = apierrors.NewGenericServerResponse(a.fault.Status, a.ask.verb, a.resource.groupResource(), a.ask.name, "injected fault", after, true)
	}
	refuse(a.writer, err)
	a.ended = true
	return true
}

// pause waits; true: the request has ended.
func (a *answer) pause(d time.Duration) bool {
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-a.fault.mended:
		return false
	case <-a.context.Done():
		a.ended = true
		return true
	}
}

// whole answers with one object.
func (a *answer) whole(status int, object []byte) error {
	a.writer.Header().Set("Content-Type", "application/json")
	a.writer.WriteHeader(status)
	a.piece(object)
	return nil
}

func (a *answer) begin() { a.writer.Header().Set("Content-Type", "application/json") }

// raw writes what belongs to no object.
func (a *answer) raw(text []byte) {
	if !a.ended {
		_, _ = a.buffer.Write(text)
	}
}

// piece writes one object or event; false: the answer has ended.
func (a *answer) piece(raw []byte) bool {
	if a.interrupted() {
		return false
	}
	if a.fault != nil {
		if a.fault.Pace > 0 {
			a.flush()
		}
		if a.pause(a.fault.Pace) || !a.broken(raw) {
			return false
		}
		a.pieces++
	}
	if _, err := a.buffer.Write(raw); err != nil {
		a.ended = true
	}
	return !a.ended && a.context.Err() == nil
}

// broken breaks the answer if it is time to; false: it has ended.
func (a *answer) broken(next []byte) bool {
	if a.fault.Break == Whole || a.pieces < a.fault.After {
		return true
	}
	half := next[:len(next)/2]
	switch a.fault.Break {
	case Stall:
		a.flush()
		select {
		case <-a.fault.mended:
			return true
		case <-a.context.Done():
		}
	case Truncate:
		a.raw(half)
		a.flush()
	case Garble:
		a.raw(half)
		a.raw([]byte("\xff}{garbled\n"))
		a.flush()
	case Expire:
		a.raw(errorEvent(apierrors.NewResourceExpired("too old resource version: 1 (2)")))
	case Fail:
		a.raw(errorEvent(apierrors.NewInternalError(errors.New("injected fault"))))
	case Unknown:
		a.raw([]byte(`{"type":"RENAMED","object":{}}` + "\n"))
	case Abort, Reset:
		a.raw(half)
		a.flush()
		a.ended = true
		if a.fault.Break == Reset && a.connection != nil {
			reset(a.connection)
		}
		panic(http.ErrAbortHandler)
	}
	a.flush()
	a.ended = true
	return false
}

// interrupted lets faults happen that were made since the answer began; true: the answer has ended.
func (a *answer) interrupted() bool {
	if a.ended || a.context.Err() != nil {
		return true
	}
	if a.fault == nil && a.ask.verb == "watch" {
		a.fault, a.pieces = a.cluster.faults.take(a.resource.Plural, a.ask.verb, true), 0
		// What happens at once does not wait for an event.
		if a.fault != nil && a.fault.Break != Stall && !a.broken([]byte(`{"type":"MODI`)) {
			return true
		}
	}
	return false
}

// woken is closed when there may be another fault.
func (a *answer) woken() <-chan struct{} { return a.cluster.faults.woken() }

func (a *answer) flush() {
	if a.ended && a.buffer.Buffered() == 0 {
		return
	}
	_ = a.buffer.Flush()
	_ = http.NewResponseController(a.writer).Flush()
}

func typeUID(uid string) types.UID { return types.UID(uid) }
