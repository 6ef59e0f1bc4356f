package testenv

import (
	"errors"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// LacksClouddriver reports whether Up failed because Clouddriver's artifacts are nowhere to be had: NoClouddriver still works then.
func LacksClouddriver(err error) bool {
	var missing *build.MissingClouddriverError
	return errors.As(err, &missing)
}
