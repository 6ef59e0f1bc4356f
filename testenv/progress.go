package testenv

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress writes a line for each thing that happens, and knows which parts are still on their way.
type progress struct {
	started time.Time

	mu      sync.Mutex
	out     io.Writer
	order   []string
	doing   map[string]string
	since   map[string]time.Time
	written time.Time
}

func newProgress(out io.Writer) *progress {
	return &progress{started: time.Now(), out: out, doing: map[string]string{}, since: map[string]time.Time{}}
}

// begin says what a part does now.
func (p *progress) begin(part, format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.doing[part]; !known {
		p.order = append(p.order, part)
	}
	p.doing[part], p.since[part] = fmt.Sprintf(format, arguments...), time.Now()
	p.line(part, p.doing[part])
}

// ready says that a part has arrived.
func (p *progress) ready(part, format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.doing, part)
	p.line(part, fmt.Sprintf(format, arguments...))
}

// note says something that belongs to no part.
func (p *progress) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line("", text)
}

// waiting says which parts are awaited, if nothing was said for quiet.
func (p *progress) waiting(quiet time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.written) < quiet || len(p.doing) == 0 {
		return
	}
	var parts []string
	for _, part := range p.order {
		if what, on := p.doing[part]; on {
			parts = append(parts, fmt.Sprintf("%s (%s, %.0f s)", part, what, time.Since(p.since[part]).Seconds()))
		}
	}
	p.line("", "waiting for "+strings.Join(parts, ", "))
}

func (p *progress) line(part, text string) {
	p.written = time.Now()
	_, _ = fmt.Fprintf(p.out, "%6.1fs  %-12s %s\n", time.Since(p.started).Seconds(), part, text)
}
