package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// ownLevel is a log's level of one account: the bridge's word, or what everything else logs by.
type ownLevel struct{ told atomic.Pointer[slog.Level] }

// set takes a level's name; one that is empty, or of a newer bridge, leaves the account to the process's level.
func (l *ownLevel) set(name string) {
	var level slog.Level
	if name == "" || level.UnmarshalText([]byte(name)) != nil {
		l.told.Store(nil)
		return
	}
	l.told.Store(&level)
}

// of returns the log with this level.
func (l *ownLevel) of(log *slog.Logger) *slog.Logger { return slog.New(levelled{log.Handler(), l}) }

// levelled asks the account's level before the process's.
type levelled struct {
	slog.Handler

	level *ownLevel
}

func (h levelled) Enabled(ctx context.Context, level slog.Level) bool {
	if told := h.level.told.Load(); told != nil {
		return level >= *told
	}
	return h.Handler.Enabled(ctx, level)
}

func (h levelled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelled{h.Handler.WithAttrs(attrs), h.level}
}

func (h levelled) WithGroup(name string) slog.Handler {
	return levelled{h.Handler.WithGroup(name), h.level}
}
