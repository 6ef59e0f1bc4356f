//go:build !linux

package memory

import "errors"

func release() error { return errors.ErrUnsupported }
