package kubectl

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Render says how an operation went as kubectl would have. stdout holds the lines of verbs that print lines; objects were
// streamed to standard output before. op may be nil when Parse refused the command line. Exactly one of outcome and err is
// expected; err wins.
func Render(op *linkv1.Operation, outcome *linkv1.Outcome, err error) (stdout, stderr string, exit int) {
	out, diagnostics := &strings.Builder{}, &strings.Builder{}
	if recorded(op) {
		diagnostics.WriteString("Flag --record has been deprecated, --record will be removed in the future\n")
	}
	if err == nil && outcome == nil {
		err = errors.New("no outcome was given for the operation")
	}
	if err != nil {
		return "", diagnostics.String() + errorLine(err.Error()), 1
	}
	for _, w := range outcome.GetWarnings() {
		fmt.Fprintf(diagnostics, "Warning: %s\n", w)
	}
	for _, n := range outcome.GetNotes() {
		diagnostics.WriteString(line(n))
	}
	for _, e := range outcome.GetEffects() {
		writeEffect(out, e)
	}
	if problem := unfinished(op, outcome); problem != "" {
		diagnostics.WriteString(errorLine(problem))
		exit = 1
	}
	if text := failures(outcome.GetFailures()); text != "" {
		diagnostics.WriteString(text)
		exit = 1
	}
	if exit == 0 && op.GetDelete().GetLabelSelector() != "" && len(outcome.GetEffects()) == 0 {
		out.WriteString("No resources found\n")
	}
	return out.String(), diagnostics.String(), exit
}

// Killed tells whether the command ended before its end in a way that makes it safe to run again: JobResult.killed. notStarted says
// that err proves that nothing began. Reads that ran into their deadline count, mutations only if they never began.
func Killed(mutation bool, outcome *linkv1.Outcome, notStarted bool) bool {
	if outcome == nil {
		return notStarted
	}
	switch outcome.GetState() {
	case linkv1.Outcome_STATE_NOT_STARTED:
		return true
	case linkv1.Outcome_STATE_CANCELLED, linkv1.Outcome_STATE_RESULT_LOST, linkv1.Outcome_STATE_UNKNOWN, linkv1.Outcome_STATE_UNSPECIFIED:
		return !mutation
	default:
		return false
	}
}

// mutates tells whether an operation may change a cluster. What it does not know may.
func mutates(op *linkv1.Operation) bool {
	switch op.GetOperation().(type) {
	case *linkv1.Operation_Get, *linkv1.Operation_List, *linkv1.Operation_Logs, *linkv1.Operation_RolloutHistory, *linkv1.Operation_Top, nil:
		return false
	default:
		return true
	}
}

// recorded tells whether the command line had --record.
func recorded(op *linkv1.Operation) bool {
	for _, cause := range []string{
		op.GetApply().GetChangeCause(), op.GetCreate().GetChangeCause(), op.GetReplace().GetChangeCause(),
		op.GetScale().GetChangeCause(), op.GetPatch().GetChangeCause(),
	} {
		if cause != "" {
			return true
		}
	}
	return false
}

// unfinished is the text for operations that did not run to their end; "" if it did.
func unfinished(op *linkv1.Operation, outcome *linkv1.Outcome) string {
	reason := outcome.GetReason()
	if reason == "" {
		reason = "no reason was given"
	}
	look := ""
	if mutates(op) {
		look = "; it may have changed the cluster: look at the object before you try again"
	}
	switch outcome.GetState() {
	case linkv1.Outcome_STATE_DONE:
		return ""
	case linkv1.Outcome_STATE_NOT_STARTED:
		return "the operation was not started, nothing was changed: " + reason
	case linkv1.Outcome_STATE_RESULT_LOST:
		if mutates(op) {
			look = "; it did run: look at the object before you try again"
		}
		return "the operation's result was lost: " + reason + look
	case linkv1.Outcome_STATE_CANCELLED:
		return "the operation was stopped before its end: " + reason + look
	case linkv1.Outcome_STATE_UNKNOWN:
		return "what became of the operation is not known: " + reason + look
	default:
		return fmt.Sprintf("the operation ended in a state that this bridge does not know (%d): %s%s", outcome.GetState(), reason, look)
	}
}

func writeEffect(out *strings.Builder, e *linkv1.Effect) {
	fmt.Fprintf(out, "%s %q %s", e.GetResource(), e.GetName(), e.GetVerb())
	if e.GetNamespace() != "" {
		fmt.Fprintf(out, " from %s namespace", e.GetNamespace())
	}
	out.WriteString("\n")
}

// failures words one failure with kubectl's prefix, several one to a line without it, as kubectl's aggregates.
func failures(all []*linkv1.Failure) string {
	switch len(all) {
	case 0:
		return ""
	case 1:
		text, standard := failure(all[0], true)
		if standard {
			return line(text)
		}
		return errorLine(text)
	}
	lines := &strings.Builder{}
	for _, f := range all {
		text, _ := failure(f, false)
		lines.WriteString(line(text))
	}
	return lines.String()
}

// failure words one failure; alone says that it is the only one. standard means that the text stands alone, without "error: ".
func failure(f *linkv1.Failure, alone bool) (text string, standard bool) {
	message := withContext(f.GetContext(), f.GetMessage())
	switch f.GetCause() {
	case linkv1.Failure_CAUSE_SERVER:
		return serverFailure(f, message, alone), true
	case linkv1.Failure_CAUSE_UNKNOWN_KIND:
		return unknownKind(f.GetMessage()), false
	case linkv1.Failure_CAUSE_UNREACHABLE:
		return unreachable(f.GetMessage()), true
	default:
		if message == "" {
			message = "unknown failure"
		}
		return message, false
	}
}

// unknownKind takes a token apart as kubectl does: "CronTab.stable.example.com" is a kind in a group.
func unknownKind(token string) string {
	resource, group, grouped := strings.Cut(token, ".")
	if grouped {
		return fmt.Sprintf("the server doesn't have a resource type %q in group %q", resource, group)
	}
	return fmt.Sprintf("the server doesn't have a resource type %q", resource)
}

func withContext(context, message string) string {
	switch {
	case context == "":
		return message
	case strings.HasSuffix(context, ":"):
		return context + " " + message
	default:
		return context + ": " + message
	}
}

func serverFailure(f *linkv1.Failure, message string, alone bool) string {
	switch {
	case f.GetReason() == "Unauthorized":
		return fmt.Sprintf("error: You must be logged in to the server (%s)", message)
	case f.GetReason() == "Invalid" && alone:
		return f.GetMessage() // kubectl words the details of a lone one, which only the agent has: it did so
	case f.GetReason() != "":
		return fmt.Sprintf("Error from server (%s): %s", f.GetReason(), message)
	default:
		return "Error from server: " + message
	}
}

var dialed = regexp.MustCompile(`dial tcp (\S+): `)

func unreachable(message string) string {
	if strings.Contains(message, "connection refused") {
		if m := dialed.FindStringSubmatch(message); m != nil {
			return fmt.Sprintf("The connection to the server %s was refused - did you specify the right host or port?", m[1])
		}
	}
	return "Unable to connect to the server: " + message
}

// errorLine puts kubectl's "error: " before a text, once.
func errorLine(text string) string {
	if !strings.HasPrefix(text, "error: ") {
		text = "error: " + text
	}
	return line(text)
}

func line(text string) string {
	if strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// IsUsage tells whether err is a command line that was refused before anything began.
func IsUsage(err error) bool {
	var usage *UsageError
	return errors.As(err, &usage)
}
