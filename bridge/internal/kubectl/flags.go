package kubectl

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// credentialFlags say where a cluster is or who asks. The account's agent alone decides that.
var credentialFlags = []string{
	"as", "as-group", "as-uid", "as-user-extra", "certificate-authority", "client-certificate", "client-key", "cluster", "context",
	"insecure-skip-tls-verify", "kubeconfig", "password", "server", "tls-server-name", "token", "user", "username",
}

// flags are all flags of all built verbs; each verb registers those that it takes.
type flags struct {
	set *pflag.FlagSet

	namespace      string
	requestTimeout string
	output         string
	filenames      []string
	labelSelector  string
	fieldSelector  string
	fieldManager   string
	serverSide     bool
	forceConflicts bool
	ignoreNotFound bool
	cascade        string
	gracePeriod    int64
	wait           bool
	record         bool
	logs           logsFlags
	replicas       int32
	current        int32
	revision       int64
	patch          string
	patchType      string
	containers     bool
	allNamespaces  bool

	// given are the flags as kubectl repeats them in an annotation: in order, with full names.
	given []string
}

// logsFlags are the flags that logs alone takes.
type logsFlags struct {
	container     string
	allContainers bool
	previous      bool
	timestamps    bool
	tail          int64
	since         time.Duration
	sinceTime     string
	limitBytes    int64
}

// newFlags has what kubectl takes with every verb. "--record" is deprecated in kubectl, and some verbs never had it; it is no
// reason to refuse.
func newFlags(verb string) *flags {
	f := &flags{set: pflag.NewFlagSet(verb, pflag.ContinueOnError)}
	f.set.SetOutput(io.Discard)
	f.set.Usage = func() {}
	f.set.StringVarP(&f.namespace, "namespace", "n", "", "")
	f.set.StringVar(&f.requestTimeout, "request-timeout", "0", "")
	f.set.Int32P("v", "v", 0, "") // verbosity of kubectl's own log, which does not exist here
	f.set.BoolVar(&f.record, "record", false, "")
	return f
}

func (f *flags) takeOutput()         { f.set.StringVarP(&f.output, "output", "o", "", "") }
func (f *flags) takeFilename()       { f.set.StringSliceVarP(&f.filenames, "filename", "f", nil, "") }
func (f *flags) takeLabelSelector()  { f.set.StringVarP(&f.labelSelector, "selector", "l", "", "") }
func (f *flags) takeFieldSelector()  { f.set.StringVar(&f.fieldSelector, "field-selector", "", "") }
func (f *flags) takeFieldManager()   { f.set.StringVar(&f.fieldManager, "field-manager", "", "") }
func (f *flags) takeIgnoreNotFound() { f.set.BoolVar(&f.ignoreNotFound, "ignore-not-found", false, "") }

func (f *flags) takeServerSide() {
	f.set.BoolVar(&f.serverSide, "server-side", false, "")
	f.set.BoolVar(&f.forceConflicts, "force-conflicts", false, "")
}

func (f *flags) takeDeletion() {
	f.set.StringVar(&f.cascade, "cascade", "background", "")
	f.set.Lookup("cascade").NoOptDefVal = "background"
	f.set.Int64Var(&f.gracePeriod, "grace-period", -1, "")
	f.set.BoolVar(&f.wait, "wait", true, "")
}

// takeLogs takes the shorthand of --previous, which is another flag's with other verbs.
func (f *flags) takeLogs(previous string) {
	f.set.StringVarP(&f.logs.container, "container", "c", "", "")
	f.set.BoolVar(&f.logs.allContainers, "all-containers", false, "")
	f.set.BoolVarP(&f.logs.previous, "previous", previous, false, "")
	f.set.BoolVar(&f.logs.timestamps, "timestamps", false, "")
	f.set.Int64Var(&f.logs.tail, "tail", -1, "")
	f.set.DurationVar(&f.logs.since, "since", 0, "")
	f.set.StringVar(&f.logs.sinceTime, "since-time", "", "")
	f.set.Int64Var(&f.logs.limitBytes, "limit-bytes", 0, "")
}

func (f *flags) takeScale() {
	f.set.Int32Var(&f.replicas, "replicas", 0, "")
	f.set.Int32Var(&f.current, "current-replicas", -1, "")
}

func (f *flags) takePatch() {
	f.set.StringVarP(&f.patch, "patch", "p", "", "")
	f.set.StringVar(&f.patchType, "type", "strategic", "")
}

func (f *flags) takeRevision()   { f.set.Int64Var(&f.revision, "revision", 0, "") }
func (f *flags) takeToRevision() { f.set.Int64Var(&f.revision, "to-revision", 0, "") }
func (f *flags) takeAllNamespaces() {
	f.set.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "")
}
func (f *flags) takeContainers() { f.set.BoolVar(&f.containers, "containers", false, "") }

// takeAny registers every flag there is, to tell a verb from the value of a flag before it.
func (f *flags) takeAny() {
	f.takeLogs("")
	f.takeScale()
	f.takePatch()
	f.takeRevision()
	f.takeToRevision()
	f.takeContainers()
	f.takeAllNamespaces()
	f.takeOutput()
	f.takeFilename()
	f.takeLabelSelector()
	f.takeFieldSelector()
	f.takeFieldManager()
	f.takeIgnoreNotFound()
	f.takeServerSide()
	f.takeDeletion()
}

// parse reads arguments (without the verb) and returns what is not a flag.
func (f *flags) parse(arguments []string) ([]string, error) {
	take := func(flag *pflag.Flag, value string) error {
		f.given = append(f.given, "--"+flag.Name+"="+value)
		return f.set.Set(flag.Name, value)
	}
	if err := f.set.ParseAll(arguments, take); err != nil {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) && slices.Contains(credentialFlags, unknown.GetSpecifiedName()) {
			return nil, refuse("--%s is not accepted: the account's agent decides which cluster it talks to, and as whom", unknown.GetSpecifiedName())
		}
		if errors.As(err, &unknown) {
			return nil, refuse("%v (%s takes %s)", err, f.set.Name(), f.names())
		}
		if errors.Is(err, pflag.ErrHelp) {
			return nil, refuse("help is not available here")
		}
		return nil, refuse("%v", err)
	}
	if _, err := requestTimeout(f.requestTimeout); err != nil {
		return nil, err
	}
	for _, s := range []string{f.namespace, f.labelSelector, f.fieldSelector, f.fieldManager, f.logs.container, f.logs.sinceTime} {
		if strings.ContainsAny(s, "\x00\n") {
			return nil, refuse("%q: control characters are not accepted", s)
		}
	}
	return f.set.Args(), nil
}

// changeCause is what --record writes into the annotation kubernetes.io/change-cause: the command line.
func (f *flags) changeCause(arguments []string) string {
	if !f.record {
		return ""
	}
	all := append([]string{"kubectl", f.set.Name()}, arguments...)
	return strings.Join(append(all, f.given...), " ")
}

func (f *flags) names() string {
	var names []string
	f.set.VisitAll(func(flag *pflag.Flag) { names = append(names, "--"+flag.Name) })
	return strings.Join(names, " ")
}

// requireJSON holds for all verbs that print objects: Clouddriver always asks for JSON, and it is the only format an agent
// sends.
func (f *flags) requireJSON() error {
	switch f.output {
	case "json":
		return nil
	case "":
		return refuse("%s: -o json is required, other output is not supported", f.set.Name())
	default:
		return refuse("%s: -o %s is not supported, only -o json is", f.set.Name(), f.output)
	}
}

// requireStdin holds for the verbs that read manifests. Files would be files of the bridge's container.
func (f *flags) requireStdin(rest []string, stdin []byte) error {
	verb := f.set.Name()
	if len(rest) > 0 {
		return refuse("Unexpected args: %v", rest)
	}
	if len(f.filenames) != 1 || f.filenames[0] != "-" {
		return refuse("%s: -f - is required (manifests are read from standard input only), got -f %q", verb, strings.Join(f.filenames, ","))
	}
	if strings.TrimSpace(string(stdin)) == "" {
		return refuse("no objects passed to %s", verb)
	}
	return nil
}

// requestTimeout understands kubectl's --request-timeout: a duration, or a number of seconds. 0 is none.
func requestTimeout(value string) (time.Duration, error) {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, refuse("Invalid timeout value %q. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)", value)
	}
	return d, nil
}

// A UsageError is a command line that is not run. Its text goes to standard error after "error: ".
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func refuse(format string, a ...any) error { return &UsageError{Text: fmt.Sprintf(format, a...)} }
