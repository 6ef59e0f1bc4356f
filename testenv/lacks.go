package testenv

import (
	"errors"
	"testing"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// LacksClouddriver reports whether Up failed because Clouddriver's artifacts are nowhere to be had: NoClouddriver still works then.
func LacksClouddriver(err error) bool {
	var missing *build.MissingClouddriverError
	return errors.As(err, &missing)
}

// SkipMissing skips the test if err says that the machine lacks a part, and fails it for every other error. The text begins with
// "needs PART": .ci/allowed-skips lists those that a machine may lack.
func SkipMissing(t testing.TB, part string, err error) {
	t.Helper()
	skipMissing(t, part, err)
}
