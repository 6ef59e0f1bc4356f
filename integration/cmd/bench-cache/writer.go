package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/integration/figure"
)

// writerBench is the benchmark of the bridge's writer: new and changed rows, by four workers and as raw upserts by four connections.
const writerBench = "^BenchmarkCommit$/^(new|changed)$/^(workers|raw)=4$"

// writer measures the bridge's writer without anything around it. It is internal to the bridge, so a benchmark of its package does it, here
// from the repository's root.
func writer(ctx context.Context, b *bench) error {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", writerBench, "-benchtime", strconv.Itoa(b.writes)+"x", "./bridge/internal/cache")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, output.String())
	}
	measured := map[string]map[string]float64{}
	for text := range strings.Lines(output.String()) {
		name, rest, found := strings.Cut(text, "\t")
		if parts := strings.Split(name, "/"); found && len(parts) == 3 {
			way, _, _ := strings.Cut(parts[2], "=")
			measured[parts[1]+" "+way] = metricsOf(rest)
		}
	}
	for _, kind := range []string{"new", "changed"} {
		ours, raw := measured[kind+" workers"], measured[kind+" raw"]
		if ours["rows/s"] == 0 || raw["rows/s"] == 0 {
			return fmt.Errorf("the benchmark has no rates of %s rows:\n%s", kind, output.String())
		}
		l := figure.Line{What: kind + " bodies of 5 kB with a link each", Value: ours["rows/s"], Unit: "rows/s", Beside: raw["rows/s"], Wanted: "≥ 0.8× raw, ≥ 3000 rows/s"}
		l.Met = figure.AtLeast(l.Value, max(0.8*l.Beside, 3000))
		b.Note(l)
		b.Note(figure.Line{What: "… MariaDB's processor time for a row and its link", Value: ours["server-µs/row"], Unit: "µs", Beside: raw["server-µs/row"]})
		b.Note(figure.Line{What: "… the writer's processor time for them", Value: ours["bridge-µs/row"], Unit: "µs", Beside: raw["bridge-µs/row"]})
	}
	return nil
}

// metricsOf reads "1000 \t 12.5 rows/s \t …".
func metricsOf(text string) map[string]float64 {
	metrics := map[string]float64{}
	for part := range strings.SplitSeq(text, "\t") {
		value, unit, found := strings.Cut(strings.TrimSpace(part), " ")
		if v, err := strconv.ParseFloat(value, 64); found && err == nil {
			metrics[unit] = v
		}
	}
	return metrics
}
