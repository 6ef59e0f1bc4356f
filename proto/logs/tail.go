package logs

import (
	"bytes"
	"io"
	"sync"
)

// tail passes lines on and keeps the last of them.
type tail struct {
	out io.Writer

	mu   sync.Mutex
	kept []byte
}

// Write takes one line: slog's handlers write each at once.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*keepBytes {
		t.kept = append([]byte(nil), cut(t.kept)...)
	}
	t.mu.Unlock()
	return t.out.Write(p)
}

// cut leaves whole lines of the last keepBytes.
func cut(kept []byte) []byte {
	if len(kept) <= keepBytes {
		return kept
	}
	kept = kept[len(kept)-keepBytes:]
	return kept[bytes.IndexByte(kept, '\n')+1:]
}

func (t *tail) last() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(cut(t.kept))
}
