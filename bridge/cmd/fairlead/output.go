package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"sigs.k8s.io/yaml"
)

// print writes a message as JSON, as YAML or as a table.
func (o *options) print(out io.Writer, m proto.Message, table func(w io.Writer)) error {
	if o.output == "json" || o.output == "yaml" {
		text, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true}.Marshal(m)
		if err != nil {
			return err
		}
		if o.output == "yaml" {
			if text, err = yaml.JSONToYAML(text); err != nil {
				return err
			}
			text = bytes.TrimSuffix(text, []byte("\n"))
		}
		_, err = fmt.Fprintln(out, string(text))
		return err
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	table(w)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, o.painted(out, text.String()))
	return err
}

// wide tells whether a table shows more columns.
func (o *options) wide() bool { return o.output == "wide" }

// withMore adds the cells of a wide table.
func (o *options) withMore(cells []string, more ...string) []string {
	if o.wide() {
		return append(cells, more...)
	}
	return cells
}

// row writes the cells of a table's row; an empty one shows as a dash.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		// A cell is one line without tabs, or the table breaks, and without what steers a terminal: much of it is what agents say.
		if cells[i] = strings.Join(strings.Fields(strings.Map(shown, c)), " "); cells[i] == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// shown replaces characters that a terminal does not show but obeys.
func shown(r rune) rune {
	if unicode.IsSpace(r) || unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

// ago is how long ago something was, in words for a table.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return ""
	}
	return span(now.Sub(t.AsTime())) + " ago"
}

// until is how far in the future something is.
func until(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "never"
	}
	if left := t.AsTime().Sub(now); left > 0 {
		return "in " + span(left)
	}
	return "expired"
}

func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
