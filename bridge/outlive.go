package bridge

import (
	"context"
	"time"
)

// clouddriverGone is the silence after which Clouddriver counts as gone: longer than the pauses between the commands of one of its tasks.
const clouddriverGone = 10 * time.Second

// Outliving returns the context to run with in a pod that Clouddriver shares: when ctx ends (the kubelet tells all containers of a pod to
// stop at once), it goes on until Clouddriver has ended its tasks and is gone, for plugin.outlive at most.
func (b *Bridge) Outliving(ctx context.Context) context.Context {
	if b.cfg.Plugin.Outlive <= 0 {
		return ctx
	}
	outliving, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		defer end()
		b.log.Info("told to stop; Clouddriver may end its tasks first", "within", b.cfg.Plugin.Outlive)
		limited, cancel := context.WithTimeout(outliving, b.cfg.Plugin.Outlive)
		defer cancel()
		b.plugin.AwaitQuiet(limited, clouddriverGone)
	})
	return outliving
}
