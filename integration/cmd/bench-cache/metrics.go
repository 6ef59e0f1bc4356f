package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
)

// histogram is a Prometheus histogram at one moment: the counts by upper bound, cumulated.
type histogram map[float64]float64

// scrape reads one histogram.
func scrape(ctx context.Context, url, name string) (histogram, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	h := histogram{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		label, count, found := strings.Cut(strings.TrimPrefix(lines.Text(), name+`_bucket{le="`), `"} `)
		if !found || !strings.HasPrefix(lines.Text(), name+"_bucket{") {
			continue
		}
		bound, err := strconv.ParseFloat(label, 64)
		if err != nil {
			return nil, err
		}
		if h[bound], err = strconv.ParseFloat(count, 64); err != nil {
			return nil, err
		}
	}
	if len(h) == 0 {
		return nil, fmt.Errorf("%s has no histogram %s", url, name)
	}
	return h, lines.Err()
}

// since is what was measured after an earlier moment.
func (h histogram) since(earlier histogram) histogram {
	difference := histogram{}
	for bound, count := range h {
		difference[bound] = count - earlier[bound]
	}
	return difference
}

func (h histogram) count() float64 { return h[math.Inf(1)] }

// quantile is below which the share of all lies, as Prometheus computes it.
func (h histogram) quantile(share float64) float64 {
	bounds := make([]float64, 0, len(h))
	for bound := range h {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	rank, lower, below := share*h.count(), 0.0, 0.0
	for _, bound := range bounds {
		if h[bound] >= rank && h[bound] > below {
			if math.IsInf(bound, 1) {
				return bound
			}
			return lower + (bound-lower)*(rank-below)/(h[bound]-below)
		}
		lower, below = bound, h[bound]
	}
	return lower
}

// percentile of durations and the like.
func percentile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

const mebibyte = 1 << 20

// resident is a process's resident memory now and at its peak, in MiB.
func resident(pid int) (now, peak float64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(content)) {
		var kibibytes float64
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err = fmt.Sscan(rest, &kibibytes)
			now = kibibytes / 1024
		} else if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err = fmt.Sscan(rest, &kibibytes)
			peak = kibibytes / 1024
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return now, peak, nil
}

// forgetPeak lets the peak of a process's resident memory begin anew (proc(5), clear_refs).
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
}

// processor is the processor time that a process has used, in seconds.
func processor(pid int) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// After the name in parentheses come state, … and, as 12th and 13th, user and system time in ticks of 10 ms.
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	ticks := 0.0
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseFloat(f, 64)
		ticks += n
	}
	return ticks / 100
}
