package session

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// execute runs one operation and hands over its outcome.
func (s *Session) execute(ctx context.Context, act link.StartOperation) {
	outcome := &linkv1.Outcome{State: linkv1.Outcome_STATE_NOT_STARTED, Reason: "this agent does not serve the account"}
	began := time.Now()
	if executor := s.executor(act.Account); executor != nil {
		outcome = executor.Run(ctx, act.Operation, &output{session: s, ctx: ctx, id: act.ID})
	}
	s.metrics.ended(act.Operation, outcome, time.Since(began))
	s.step(func(now time.Time) {
		delete(s.running, act.ID)
		s.core.Finish(now, act.ID, outcome)
	})
}

// executor returns what runs the account's operations, nil if it is not served.
func (s *Session) executor(account string) Executor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[account]; a != nil {
		return a.Executor
	}
	return nil
}

// output is where an operation writes; it waits for the caller's credit.
type output struct {
	session *Session
	ctx     context.Context //nolint:containedctx // the operation's
	id      string
}

// chunk is the largest piece of output in one frame.
const chunk = 1 << 20

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		o.session.mu.Lock()
		room := min(o.session.core.OutputRoom(o.id), chunk, len(p)-written)
		changed := o.session.changed
		if room > 0 {
			o.session.core.Output(o.id, append([]byte(nil), p[written:written+room]...))
		}
		o.session.mu.Unlock()
		if room > 0 {
			written += room
			wake(o.session.wakeOperation)
			continue
		}
		select {
		case <-changed:
		case <-o.ctx.Done():
			return written, o.ctx.Err()
		}
	}
	return written, nil
}

// fetch reads objects that the bridge lacks, and puts what they are now.
func (s *Session) fetch(ctx context.Context, act link.Fetch) {
	a := s.served(act.Account)
	if a == nil {
		return
	}
	defer a.step(func(now time.Time) { s.core.FetchDone(now, act.Account, act.Type) })
	keys := make([]cats.Key, 0, len(act.Keys))
	for _, path := range act.Keys {
		k, err := cats.PathKey(cats.Type(act.Type), path)
		if err != nil {
			s.cfg.Log.Warn("bridge asked for an object by a key that cannot be", "account", act.Account, "type", act.Type, "error", err.Error())
			continue
		}
		keys = append(keys, k)
	}
	each := func(key cats.Key, obj map[string]any, unread error) error { return a.render(ctx, key, obj, unread) }
	if err := a.Cluster.Fetch(ctx, cats.Type(act.Type), keys, each); err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("cannot read objects again", "account", act.Account, "type", act.Type, "objects", len(keys), "error", err.Error())
	}
}
