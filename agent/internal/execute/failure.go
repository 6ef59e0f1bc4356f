package execute

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// failures turns an error into what the bridge words as kubectl does: a lone error is worded in full, several are one line
// each.
func failures(err error, server string) []*linkv1.Failure {
	all := []error{err}
	var several utilerrors.Aggregate
	if errors.As(err, &several) {
		all = several.Errors()
	}
	out := make([]*linkv1.Failure, 0, len(all))
	for _, e := range all {
		f := failure(e, server)
		if len(all) == 1 && f.Cause == linkv1.Failure_CAUSE_SERVER && f.Reason == string(metav1.StatusReasonInvalid) {
			f.Message = invalid(e)
		}
		out = append(out, f)
	}
	return out
}

// aggregate joins errors as kubectl does: nested lists become one, and one error stays itself.
func aggregate(errs []error) error {
	var all []error
	for _, err := range errs {
		var several utilerrors.Aggregate
		switch {
		case err == nil:
		case errors.As(err, &several):
			all = append(all, several.Errors()...)
		default:
			all = append(all, err)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return utilerrors.NewAggregate(all)
}

func failure(err error, server string) *linkv1.Failure {
	var unknown *cluster.UnknownKindError
	if errors.As(err, &unknown) {
		return &linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNKNOWN_KIND, Message: unknown.Token}
	}
	// kubectl looks at the outermost error only: an API error that something was wrapped around is a client's error.
	if status, ok := err.(apierrors.APIStatus); ok {
		s := status.Status()
		return &linkv1.Failure{Cause: linkv1.Failure_CAUSE_SERVER, Reason: string(s.Reason), Message: err.Error(), Code: uint32(max(s.Code, 0))}
	}
	var connection *url.Error
	if errors.As(err, &connection) {
		return &linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNREACHABLE, Message: unreachable(connection, server)}
	}
	return &linkv1.Failure{Cause: linkv1.Failure_CAUSE_CLIENT, Message: err.Error()}
}

// unreachable names the server as the kubeconfig does, not by the address that its name resolved to.
func unreachable(err *url.Error, server string) string {
	text := err.Err.Error()
	if strings.Contains(text, "connection refused") {
		host := server
		if u, parseErr := url.Parse(server); parseErr == nil && u.Host != "" {
			host = u.Host
		}
		return fmt.Sprintf("dial tcp %s: connect: connection refused", host)
	}
	return text
}

// invalid is how kubectl words an API server's refusal by validation: the object, and one cause after the other.
func invalid(err error) string {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		return err.Error()
	}
	s := status.Status()
	text := "The request is invalid"
	switch d := s.Details; {
	case d == nil:
		if s.Message != "" {
			text += ": " + s.Message
		}
		return text
	case d.Kind != "" || d.Name != "":
		text = fmt.Sprintf("The %s %q is invalid", d.Kind, d.Name)
	case s.Message != "" && len(d.Causes) == 0:
		text += ": " + s.Message
	}
	var causes []string
	seen := map[string]bool{}
	for _, c := range s.Details.Causes {
		cause := fmt.Sprintf("%s: %s", c.Field, c.Message)
		if !seen[cause] {
			seen[cause] = true
			causes = append(causes, cause)
		}
	}
	switch len(causes) {
	case 0:
		return text
	case 1:
		text += ": " + causes[0]
	default:
		text += ": \n* " + strings.Join(causes, "\n* ")
	}
	if strings.HasSuffix(text, "\n") {
		text += "\n" // kubectl ends the line of a cause whether or not it ends by itself
	}
	return text
}
