package store

import (
	"cmp"

	"github.com/fairlead/fairlead/proto/cats"
)

// compareRows orders rows as the primary key of Clouddriver's tables does: by id and agent under utf8mb4_unicode_ci. A test compares it with the
// server's own order. Characters beyond ASCII that do not fold to it come last, which may be another place than the server's: then a
// transaction may lose a deadlock, and runs again.
func compareRows(a, b Row) int {
	// Of ids that are equal to the server the first in byte order is the one that is stored.
	return cmp.Or(compareKeys(a, b), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Agent, b.Agent))
}

// compareKeys is compareRows without that: rows of which the table can hold only one are equal.
func compareKeys(a, b Row) int {
	return cmp.Or(compareCollated(a.ID, b.ID), compareCollated(a.Agent, b.Agent))
}

// collationOrder is ASCII in the collation's order; the letters follow.
const collationOrder = " `^_-,;:!?.'\"()[]{}@*/\\&#%+<=>|~$0123456789"

// weights are the places of the characters in the collation; 0: it ignores the character.
var weights = func() (w [128]uint8) {
	for i := range len(collationOrder) {
		w[collationOrder[i]] = uint8(i + 6)
	}
	for i, space := range []byte{'\t', '\n', '\v', '\f', '\r'} {
		w[space] = uint8(i + 1)
	}
	for c := byte('a'); c <= 'z'; c++ {
		w[c] = uint8(len(collationOrder)) + 6 + c - 'a'
		w[c-'a'+'A'] = w[c]
	}
	return w
}()

// compareCollated compares two texts as the collation does.
func compareCollated(a, b string) int {
	if !isASCII(a) || !isASCII(b) {
		a, b = cats.Fold(a), cats.Fold(b)
	}
	i, j := 0, 0
	for {
		for i < len(a) && weight(a[i]) == 0 {
			i++
		}
		for j < len(b) && weight(b[j]) == 0 {
			j++
		}
		if i == len(a) || j == len(b) {
			return cmp.Compare(len(a)-i, len(b)-j)
		}
		if c := cmp.Compare(weight(a[i]), weight(b[j])); c != 0 {
			return c
		}
		i, j = i+1, j+1
	}
}

func weight(c byte) uint8 {
	if c >= 0x80 {
		return c
	}
	return weights[c]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
