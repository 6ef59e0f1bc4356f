package testenv

import (
	"errors"
	"testing"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// LacksClouddriver reports whether Up failed because Clouddriver's artifacts are nowhere to be had: NoClouddriver still works then.
func LacksClouddriver(err error) bool {
	var missing *build.MissingError
	return errors.As(err, &missing) && missing.Part == "clouddriver"
}

// SkipMissing skips the test if err says that the machine lacks a part, and fails it for every other error; what says what the
// test wanted. The reason begins with "needs PART": .ci/allowed-skips lists those that a machine may lack.
func SkipMissing(t testing.TB, what string, err error) {
	t.Helper()
	var missing *build.MissingError
	switch {
	case err == nil:
	case errors.As(err, &missing):
		t.Skipf("needs %s: %s: %v", missing.Part, what, missing)
	default:
		t.Fatalf("%s: %v", what, err)
	}
}
