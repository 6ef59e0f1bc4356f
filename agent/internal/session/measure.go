package session

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// leastMeasure is the shortest interval at which an agent sends its metrics, whatever a bridge asks for.
	leastMeasure = time.Second
	// mostMeasured is the largest text that bridges take.
	mostMeasured = 128 << 10
)

// measure sends the agent's metrics at once and then at intervals, until the connection ends. Anything else goes first.
func (c *connection) measure(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	warned := false
	for {
		text, err := c.session.cfg.Metrics()
		switch {
		case err != nil || len(text) > mostMeasured:
			if !warned {
				c.session.cfg.Log.Warn("metrics are not sent to the bridge", "bytes", len(text), "error", err)
			}
			warned = true
		default:
			select {
			case c.measured <- &linkv1.SessionUp{Frame: &linkv1.SessionUp_Metrics{Metrics: &linkv1.Metrics{Text: text}}}:
			default: // the former ones have not been sent yet
			}
		}
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return
		}
	}
}
