package config

import (
	"fmt"
	"slices"
	"strings"
)

// unknownKey words the refusal of a key, with the nearest one that is known in this section or, when it is at the wrong place,
// where it belongs.
func unknownKey(path, name string, here map[string]key, section string) string {
	if near := nearest(name, here); near != "" {
		return fmt.Sprintf("unknown key %s; did you mean %s?", path, join(section, near))
	}
	if elsewhere := places(name, keys(), ""); len(elsewhere) > 0 {
		return fmt.Sprintf("unknown key %s; it belongs at %s", path, strings.Join(elsewhere, " or "))
	}
	names := make([]string, 0, len(here))
	for n := range here {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Sprintf("unknown key %s; known here are %s", path, strings.Join(names, ", "))
}

// nearest returns the known key with the fewest edits, if these are few enough to be a slip.
func nearest(name string, known map[string]key) string {
	best, bestDistance := "", 1+len(name)/3
	if bestDistance > 4 {
		bestDistance = 4
	}
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// places returns where a key of this name is known.
func places(name string, known map[string]key, path string) []string {
	var found []string
	for n, k := range known {
		at := join(path, n)
		if strings.EqualFold(n, name) {
			found = append(found, at)
		}
		if k.shape == sections {
			at += "[]"
		}
		found = append(found, places(name, k.keys, at)...)
	}
	slices.Sort(found)
	return found
}

// distance counts insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous, before, row := rows[1], rows[0], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = previous, row, before
	}
	return rows[1][len(b)]
}
