package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// isTerminal tells whether a person reads along.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress says on a terminal that something takes long, second by second, until the returned function is called.
func (o *options) progress(w io.Writer, what string) (done func()) {
	if !o.terminal(w) {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(stopped)
		said := false
		timer := time.NewTimer(o.patience)
		defer timer.Stop()
		for {
			select {
			case <-stop:
				if said {
					fmt.Fprint(w, "\r\x1b[K")
				}
				return
			case <-timer.C:
				said = true
				fmt.Fprintf(w, "\r\x1b[K%s… %s", what, time.Since(began).Round(time.Second))
				timer.Reset(time.Second)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

const (
	red, yellow, green, plain = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
)

// colours are those of whole cells.
var colours = map[string]string{
	"connected": green, "ok": green, "succeeded": green, "live": green, "none": green, "agreed": green,
	"stale": red, "failed": red, "fault": red, "PROBLEM": red, "unknown": red, "refused": red, "still differs": red, "result_lost": red,
	"paused": yellow, "released": yellow, "warning": yellow, "revoked": yellow, "expired": yellow, "running": yellow, "cancelled": yellow, "absent": yellow,
}

// painted colours the cells of a finished table, which stay where they are: the codes have no width. Only a terminal gets colours, and not
// where NO_COLOR (no-color.org) is set.
func (o *options) painted(out io.Writer, table string) string {
	if !o.terminal(out) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return table
	}
	lines := strings.Split(table, "\n")
	for i, line := range lines {
		// Cells are two spaces apart at least.
		cells := strings.Split(line, "  ")
		for j, cell := range cells {
			if colour := colours[strings.TrimSpace(cell)]; colour != "" {
				word := strings.TrimSpace(cell)
				cells[j] = strings.Replace(cell, word, colour+word+plain, 1)
			}
		}
		lines[i] = strings.Join(cells, "  ")
	}
	return strings.Join(lines, "\n")
}
