// Package figure writes down what a bench measures: said as it goes on, and as a table or JSON at the end.
package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Sheet holds the measurements of a bench.
type Sheet struct {
	// Figure is the one that is being measured.
	Figure string
	// Lines are the measurements of all figures so far.
	Lines []Line
}

// Line is one measurement.
type Line struct {
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

// Tell says on standard error what goes on.
func (s *Sheet) Tell(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %-8s %s\n", time.Now().Format("15:04:05"), s.Figure, fmt.Sprintf(format, arguments...))
}

// Note keeps a measurement of the figure.
func (s *Sheet) Note(l Line) {
	l.Figure = s.Figure
	if l.Beside > 0 {
		l.Ratio = l.Value / l.Beside
	}
	s.Lines = append(s.Lines, l)
	s.Tell("%s: %s", l.What, l.text())
}

func (l Line) text() string {
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

// AtMost tells whether a value is no more than it should be.
func AtMost(value, limit float64) *bool { met := value <= limit; return &met }

// AtLeast tells whether a value is no less than it should be.
func AtLeast(value, limit float64) *bool { met := value >= limit; return &met }

// Table prints the figure's lines.
func (s *Sheet) Table(title string) {
	fmt.Printf("\n%s: %s\n\n| what | measured | beside | ratio | wanted | |\n|---|---|---|---|---|---|\n", s.Figure, title)
	for _, l := range s.Lines {
		if l.Figure != s.Figure {
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

// JSON writes the lines of all figures.
func (s *Sheet) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s.Lines)
}
