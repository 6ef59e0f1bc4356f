package kubectl

import (
	"errors"
	"testing"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

var (
	aGet    = &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "deployment", Name: "web"}}}
	aList   = &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{Kinds: []string{"pod", "service"}}}}
	anApply = &linkv1.Operation{Operation: &linkv1.Operation_Apply{Apply: &linkv1.Apply{}}}
	aDelete = &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{Kind: "pod"}}}
)

func done(failures ...*linkv1.Failure) *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE, Failures: failures}
}

func server(reason, message string) *linkv1.Failure {
	return &linkv1.Failure{Cause: linkv1.Failure_CAUSE_SERVER, Reason: reason, Message: message}
}

func TestOutcomesReadAsKubectlSaysThem(t *testing.T) {
	warned := done()
	warned.Warnings = []string{"policy/v1beta1 PodSecurityPolicy is deprecated", "unknown field \"spec.x\""}
	deleted := done()
	deleted.Effects = []*linkv1.Effect{
		{Resource: "deployment.apps", Name: "web", Namespace: "demo", Verb: "deleted"},
		{Resource: "namespace", Name: "demo", Verb: "deleted"},
	}
	deletedAndFailed := done(server("Forbidden", `pods "b" is forbidden`))
	deletedAndFailed.Effects = []*linkv1.Effect{{Resource: "pod", Name: "a", Namespace: "demo", Verb: "deleted"}}
	inContext := server("NotFound", `deployments.apps "web" not found`)
	inContext.Context = `error when replacing "STDIN"`

	for _, test := range []struct {
		name           string
		op             *linkv1.Operation
		outcome        *linkv1.Outcome
		stdout, stderr string
		exit           int
	}{
		{"success", aGet, done(), "", "", 0},
		{"warnings do not fail", anApply, warned, "", "Warning: policy/v1beta1 PodSecurityPolicy is deprecated\nWarning: unknown field \"spec.x\"\n", 0},
		{"not found", aGet, done(server("NotFound", `deployments.apps "web" not found`)), "", "Error from server (NotFound): deployments.apps \"web\" not found\n", 1},
		{"forbidden", aList, done(server("Forbidden", `pods is forbidden: User "x" cannot list`)), "", "Error from server (Forbidden): pods is forbidden: User \"x\" cannot list\n", 1},
		{"several", aList, done(server("Forbidden", "pods is forbidden"), server("Forbidden", "services is forbidden")), "",
			"Error from server (Forbidden): pods is forbidden\nError from server (Forbidden): services is forbidden\n", 1},
		{"conflict", anApply, done(server("Conflict", "Apply failed with 1 conflict: conflict with \"x\"")), "", "Error from server (Conflict): Apply failed with 1 conflict: conflict with \"x\"\n", 1},
		{"in context", anApply, done(inContext), "", "Error from server (NotFound): error when replacing \"STDIN\": deployments.apps \"web\" not found\n", 1},
		{"no reason", aGet, done(server("", "the server is shutting down")), "", "Error from server: the server is shutting down\n", 1},
		{"unauthorized", aGet, done(server("Unauthorized", "Unauthorized")), "", "error: You must be logged in to the server (Unauthorized)\n", 1},
		{"invalid", anApply, done(server("Invalid", "The Service \"web\" is invalid: \n* spec.ports: Required value\n* metadata.name: Invalid value")), "",
			"The Service \"web\" is invalid: \n* spec.ports: Required value\n* metadata.name: Invalid value\n", 1},
		{"invalid among others", anApply, done(server("Invalid", `Service "web" is invalid: spec.ports: Required value`), server("NotFound", `namespaces "x" not found`)), "",
			"Error from server (Invalid): Service \"web\" is invalid: spec.ports: Required value\nError from server (NotFound): namespaces \"x\" not found\n", 1},
		{"unknown kind", aGet, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNKNOWN_KIND, Message: "podPreset"}), "", "error: the server doesn't have a resource type \"podPreset\"\n", 1},
		{"unknown kind in a group", aGet, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNKNOWN_KIND, Message: "CronTab.stable.example.com"}), "",
			"error: the server doesn't have a resource type \"CronTab\" in group \"stable.example.com\"\n", 1},
		{"refused", aGet, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNREACHABLE, Message: "dial tcp 10.0.0.1:6443: connect: connection refused"}), "",
			"The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?\n", 1},
		{"unreachable", aGet, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_UNREACHABLE, Message: "net/http: TLS handshake timeout"}), "",
			"Unable to connect to the server: net/http: TLS handshake timeout\n", 1},
		{"client", anApply, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_CLIENT, Message: "no objects passed to apply"}), "", "error: no objects passed to apply\n", 1},
		{"client, prefixed", anApply, done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_CLIENT, Message: "error: no"}), "", "error: no\n", 1},
		{"a failure of no known cause", aGet, done(&linkv1.Failure{}), "", "error: unknown failure\n", 1},
		{"deleted", aDelete, deleted, "deployment.apps \"web\" deleted from demo namespace\nnamespace \"demo\" deleted\n", "", 0},
		{"deleted in part", aDelete, deletedAndFailed, "pod \"a\" deleted from demo namespace\n", "Error from server (Forbidden): pods \"b\" is forbidden\n", 1},
		{"nothing to delete by selector", &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{Kind: "pod", LabelSelector: "a=b"}}}, done(), "No resources found\n", "", 0},
		{"nothing to delete by name, which was ignored", &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{Kind: "pod", Name: "a"}}}, done(), "", "", 0},
		{"nothing to list is an empty list, not a text", aList, done(), "", "", 0},
		{"not started", anApply, &linkv1.Outcome{State: linkv1.Outcome_STATE_NOT_STARTED, Reason: "the agent stops"}, "", "error: the operation was not started, nothing was changed: the agent stops\n", 1},
		{"stopped read", aGet, &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "deadline"}, "", "error: the operation was stopped before its end: deadline\n", 1},
		{"stopped mutation", anApply, &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "deadline"}, "",
			"error: the operation was stopped before its end: deadline; it may have changed the cluster: look at the object before you try again\n", 1},
		{"result lost", aDelete, &linkv1.Outcome{State: linkv1.Outcome_STATE_RESULT_LOST, Reason: "memory"}, "",
			"error: the operation's result was lost: memory; it did run: look at the object before you try again\n", 1},
		{"unknown end", anApply, &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN, Reason: "the agent restarted"}, "",
			"error: what became of the operation is not known: the agent restarted; it may have changed the cluster: look at the object before you try again\n", 1},
		{"a state of the future", aGet, &linkv1.Outcome{State: 99}, "", "error: the operation ended in a state that this bridge does not know (99): no reason was given\n", 1},
		{"nothing at all", aGet, nil, "", "error: no outcome was given for the operation\n", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, exit := Render(test.op, test.outcome, nil)
			if stdout != test.stdout || stderr != test.stderr || exit != test.exit {
				t.Errorf("got  %q %q %d\nwant %q %q %d", stdout, stderr, exit, test.stdout, test.stderr, test.exit)
			}
		})
	}
}

func TestAnErrorOfTheBridgeReadsAsAnErrorOfKubectl(t *testing.T) {
	_, stderr, exit := Render(anApply, nil, errors.New(`agent for account "prod-eu" is not connected (last seen 4m12s ago at bridge b1); waited 15s`))
	if want := "error: agent for account \"prod-eu\" is not connected (last seen 4m12s ago at bridge b1); waited 15s\n"; stderr != want || exit != 1 {
		t.Errorf("got %q %d", stderr, exit)
	}
}

func TestOnlyWhatProvablyHadNoEffectMayRunAgain(t *testing.T) {
	outcome := func(s linkv1.Outcome_State) *linkv1.Outcome { return &linkv1.Outcome{State: s} }
	for _, test := range []struct {
		name       string
		mutation   bool
		outcome    *linkv1.Outcome
		notStarted bool
		want       bool
	}{
		{"absent agent, read", false, nil, true, true},
		{"absent agent, mutation", true, nil, true, true},
		{"error that proves nothing", true, nil, false, false},
		{"done read", false, outcome(linkv1.Outcome_STATE_DONE), false, false},
		{"not started mutation", true, outcome(linkv1.Outcome_STATE_NOT_STARTED), false, true},
		{"stopped read", false, outcome(linkv1.Outcome_STATE_CANCELLED), false, true},
		{"stopped mutation", true, outcome(linkv1.Outcome_STATE_CANCELLED), false, false},
		{"lost read", false, outcome(linkv1.Outcome_STATE_RESULT_LOST), false, true},
		{"lost mutation", true, outcome(linkv1.Outcome_STATE_RESULT_LOST), false, false},
		{"unknown mutation", true, outcome(linkv1.Outcome_STATE_UNKNOWN), false, false},
	} {
		if got := Killed(test.mutation, test.outcome, test.notStarted); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
