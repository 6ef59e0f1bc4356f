package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
)

// Exit codes, as docs/operate.md and the program's help list them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitDenied      = 4
	exitNotFound    = 5
	exitFault       = 6
	exitInterrupted = 130
)

// failure is an error that has an exit code of its own.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

// usage is a mistake in what was typed, which is found only when a command looks closer.
func usage(format string, args ...any) error {
	return &failure{code: exitUsage, text: fmt.Sprintf(format, args...)}
}

// exitCode is an exit code that is passed on; everything has been said already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// codeOf is the exit code of what a command returned.
func (o *options) codeOf(err error) int {
	var exit exitCode
	var known *failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &known):
		return known.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case !o.running:
		return exitUsage // flags or arguments were not taken
	}
	return exitFailed
}

// explain turns a failed call into what a person can act on.
func (o *options) explain(err error) error {
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch code := refused.Code(); {
	case code == connect.CodeUnauthenticated:
		return &failure{exitDenied, fmt.Sprintf("the bridge at %s does not know the token of %s: use the file of that bridge's admin.tokenFile, or a token of \"fairlead token create --role ROLE\" that has not ended", o.bridge, o.tokenFile)}
	case code == connect.CodePermissionDenied:
		return &failure{exitDenied, refused.Message()}
	case code == connect.CodeUnimplemented || code == connect.CodeUnknown && strings.Contains(refused.Message(), "content-type"):
		return &failure{exitUnreachable, fmt.Sprintf("what answers at %s is not a bridge's admin API, or an older one (%s): --bridge names its admin.address, by default port 8082", o.bridge, refused.Message())}
	case !connect.IsWireError(err) && code == connect.CodeUnavailable:
		return &failure{exitUnreachable, fmt.Sprintf("no bridge answers at %s (%s): is it running, and is that its admin.address? In Kubernetes: kubectl port-forward POD 8082", o.bridge, refused.Message())}
	case code == connect.CodeCanceled:
		return &failure{exitInterrupted, "interrupted"}
	case code == connect.CodeUnavailable:
		return &failure{exitUnreachable, refused.Message()}
	case code == connect.CodeNotFound:
		return &failure{exitNotFound, refused.Message()}
	case code == connect.CodeInvalidArgument:
		return &failure{exitUsage, refused.Message()}
	}
	return errors.New(refused.Message())
}
