package main

import (
	"github.com/fairlead/fairlead/integration/figure"
)

// bench collects what was measured.
type bench struct {
	figure.Sheet
	sizes

	json bool
	// java are arguments for Clouddriver's Java.
	java []string
	// profiles is a directory; "": none are wanted.
	profiles string
}
