//go:build !unix

package logs

import (
	"context"
	"log/slog"
)

// FollowSignal waits until ctx ends: there is no such signal here.
func FollowSignal(ctx context.Context, _ *slog.Logger) { <-ctx.Done() }
