// Package logs is how agents and bridges log: JSON or text on one stream, with keys that stay.
//
//   - The level may change while the process runs (SetLevel, SIGUSR1).
//   - A line that repeats is held back: of one message about one account so many are written in a while, further ones are counted, and the count
//     stands on the next that is written ("held_back") or, when none comes, in a line of its own. Debug lines are never held back: whoever asks
//     for them wants all. Nor is what is Always to be written.
//   - The last lines are kept in memory for a support bundle.
//
// The keys that lines of both have: time, level, msg; account, agent, bridge, session, operation, kind, error where they apply.
package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Defaults of Options.
const (
	// burst lines of one message about one account are written within window.
	burst  = 20
	window = 10 * time.Second
	// keepBytes is how much of the log is kept in memory.
	keepBytes = 256 << 10
	// mostMessages bounds what is remembered; messages are constants, accounts are thousands at most.
	mostMessages = 10_000
)

// Options say how a log is written.
type Options struct {
	// Text in the place of JSON.
	Text bool
	// Level may change; nil makes one.
	Level *slog.LevelVar
	// Always are messages that are never held back.
	Always []string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// New returns a log that writes to out.
func New(out io.Writer, o Options) *slog.Logger {
	if o.Level == nil {
		o.Level = &slog.LevelVar{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &core{level: o.Level, normal: o.Level.Level(), tail: &tail{out: out}, always: o.Always, now: o.Now, lines: map[line]*count{}}
	options := &slog.HandlerOptions{Level: o.Level}
	if o.Text {
		return slog.New(&handler{core: c, next: slog.NewTextHandler(c.tail, options)})
	}
	return slog.New(&handler{core: c, next: slog.NewJSONHandler(c.tail, options)})
}

// core is what a log and those that were made of it by With share.
type core struct {
	level  *slog.LevelVar
	normal slog.Level // at the start
	tail   *tail
	always []string
	now    func() time.Time

	mu    sync.Mutex
	lines map[line]*count
	swept time.Time
}

// line is what makes two lines the same: what is said, and about which account.
type line struct {
	level        slog.Level
	said, object string
}

type count struct {
	since         time.Time
	written, held int
}

type handler struct {
	core *core
	next slog.Handler
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{core: h.core, next: h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{core: h.core, next: h.next.WithGroup(name)}
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || slices.Contains(h.core.always, r.Message) {
		return h.next.Handle(ctx, r)
	}
	now := h.core.now()
	key := line{level: r.Level, said: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "account" {
			key.object = a.Value.String()
		}
		return a.Key != "account"
	})
	for _, held := range h.core.sweep(now, key) {
		late := slog.NewRecord(now, held.level, held.said, 0)
		if held.object != "" {
			late.AddAttrs(slog.String("account", held.object))
		}
		late.AddAttrs(slog.Int("held_back", held.held))
		if err := h.next.Handle(ctx, late); err != nil {
			return err
		}
	}
	write, held := h.core.admit(now, key)
	if !write {
		return nil
	}
	if held > 0 {
		r.AddAttrs(slog.Int("held_back", held))
	}
	return h.next.Handle(ctx, r)
}

// admit tells whether a line is written, and how many like it were not before.
func (c *core) admit(now time.Time, key line) (write bool, held int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.lines[key]
	if n == nil {
		if len(c.lines) >= mostMessages {
			clear(c.lines) // too much is said that differs: all of it may be said again
		}
		n = &count{since: now}
		c.lines[key] = n
	}
	if now.Sub(n.since) >= window {
		held, *n = n.held, count{since: now}
	}
	if n.written >= burst {
		n.held++
		return false, 0
	}
	n.written++
	return true, held
}

// late is a line that was held back and has not come again.
type late struct {
	line

	held int
}

// sweep forgets lines whose window is over, once in a while, and returns what was held back of them. The one that is about to be written is
// left alone.
func (c *core) sweep(now time.Time, but line) (held []late) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) < window {
		return nil
	}
	c.swept = now
	for key, n := range c.lines {
		if key == but || now.Sub(n.since) < window {
			continue
		}
		if n.held > 0 {
			held = append(held, late{key, n.held})
		}
		delete(c.lines, key)
	}
	slices.SortFunc(held, func(a, b late) int { return b.held - a.held })
	return held
}

// Control changes a log that New made, and reads what it wrote last. It is nil for another log, and a nil one does nothing.
type Control struct{ core *core }

// Of returns the control of a log, nil if New did not make it.
func Of(log *slog.Logger) *Control {
	if log == nil {
		return nil
	}
	if h, ok := log.Handler().(*handler); ok {
		return &Control{h.core}
	}
	return nil
}

// Level is the present level: "debug", "info", "warn", "error".
func (c *Control) Level() string {
	if c == nil {
		return ""
	}
	return name(c.core.level.Level())
}

// SetLevel changes the level until the process ends. It returns the former one.
func (c *Control) SetLevel(level string) (before string, err error) {
	if c == nil {
		return "", fmt.Errorf("this process's log has no level that can be changed")
	}
	before = c.Level()
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if name(l) == level {
			c.core.level.Set(l)
			return before, nil
		}
	}
	return before, fmt.Errorf("level: %q is none of debug, info, warn, error", level)
}

// Toggle changes between debug and the level of the start, and returns the new one.
func (c *Control) Toggle() string {
	if c == nil {
		return ""
	}
	if c.core.level.Level() == slog.LevelDebug {
		c.core.level.Set(max(c.core.normal, slog.LevelInfo))
	} else {
		c.core.level.Set(slog.LevelDebug)
	}
	return c.Level()
}

// Tail is what was written last, whole lines.
func (c *Control) Tail() []byte {
	if c == nil {
		return nil
	}
	return c.core.tail.last()
}

func name(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
