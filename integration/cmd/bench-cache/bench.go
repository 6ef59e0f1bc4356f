package main

import (
	"fmt"
	"os"
	"time"
)

// bench collects what was measured.
type bench struct {
	sizes

	json bool
	// java are arguments for Clouddriver's Java.
	java []string
	// profiles is a directory; "": none are wanted.
	profiles string
	figure   string
	lines    []line
}

// line is one measurement.
type line struct {
	Figure string  `json:"figure"`
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	// Beside is the same of what it is compared with in the same run, Ratio the value in relation to it.
	Beside float64 `json:"beside,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`
	// Wanted says what it should be; Met whether it is.
	Wanted string `json:"wanted,omitempty"`
	Met    *bool  `json:"met,omitempty"`
}

// tell says on standard error what goes on.
func (b *bench) tell(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %-8s %s\n", time.Now().Format("15:04:05"), b.figure, fmt.Sprintf(format, arguments...))
}

// note keeps a measurement.
func (b *bench) note(l line) {
	l.Figure = b.figure
	if l.Beside > 0 {
		l.Ratio = l.Value / l.Beside
	}
	b.lines = append(b.lines, l)
	b.tell("%s: %s", l.What, l.text())
}

func (l line) text() string {
	text := number(l.Value) + " " + l.Unit
	if l.Beside > 0 {
		text += fmt.Sprintf(" (beside %s, %.2f×)", number(l.Beside), l.Ratio)
	}
	if l.Wanted != "" {
		text += ", wanted " + l.Wanted
	}
	if l.Met != nil && !*l.Met {
		text += " — MISSED"
	}
	return text
}

func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v < 10:
		return fmt.Sprintf("%.3g", v)
	default:
		return fmt.Sprintf("%.1f", v)
	}
}

func most(value, limit float64) *bool  { met := value <= limit; return &met }
func least(value, limit float64) *bool { met := value >= limit; return &met }

// table prints the figure's lines.
func (b *bench) table(title string) {
	fmt.Printf("\n%s: %s\n\n| what | measured | beside | ratio | wanted | |\n|---|---|---|---|---|---|\n", b.figure, title)
	for _, l := range b.lines {
		if l.Figure != b.figure {
			continue
		}
		beside, ratio, met := "", "", ""
		if l.Beside > 0 {
			beside, ratio = number(l.Beside)+" "+l.Unit, fmt.Sprintf("%.2f×", l.Ratio)
		}
		if l.Met != nil {
			met = map[bool]string{true: "met", false: "missed"}[*l.Met]
		}
		fmt.Printf("| %s | %s %s | %s | %s | %s | %s |\n", l.What, number(l.Value), l.Unit, beside, ratio, l.Wanted, met)
	}
}
