package execute

import (
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/scheme"

	"github.com/fairlead/fairlead/agent/internal/cluster"
)

// command is what kubectl's own commands need to run here: a factory that knows the account and the namespace, streams, and
// the tree of commands that they ask for their names.
type command struct {
	run     *run
	factory cmdutil.Factory
	streams genericiooptions.IOStreams
	cobra   *cobra.Command
	said    *remarks
}

// command prepares a verb of kubectl. Its text goes to the operation's output.
func (r *run) command(verb, namespace string) *command {
	said := &remarks{}
	parent, child := &cobra.Command{Use: "kubectl"}, &cobra.Command{Use: verb}
	parent.AddCommand(child)
	return &command{
		run: r, factory: cmdutil.NewFactory(scoped{r.Client, r.namespaceOr(namespace)}), cobra: child, said: said,
		streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: textWriter{r}, ErrOut: said},
	}
}

// end passes on what the verb said on standard error.
func (c *command) end(err error) error {
	warned, noted := c.said.take()
	for _, w := range warned {
		c.run.Warn(w)
	}
	c.run.notes = append(c.run.notes, noted...)
	return err
}

// textWriter is the operation's output; that nobody takes it any more is told apart from other failures.
type textWriter struct{ run *run }

func (w textWriter) Write(p []byte) (int, error) {
	n, err := w.run.output.Write(p)
	if err != nil {
		err = &outputError{err}
	}
	return n, err
}

// recorder writes the command line into an annotation, if there is one to write.
func recorder(changeCause string) genericclioptions.Recorder {
	flags := genericclioptions.NewRecordFlags()
	*flags.Record = changeCause != ""
	_ = flags.CompleteWithChangeCause(changeCause) // never fails
	made, err := flags.ToRecorder()
	if err != nil {
		return genericclioptions.NoopRecorder{}
	}
	return made
}

// scoped is an account as kubectl sees it with --namespace.
type scoped struct {
	*cluster.Client

	namespace string
}

// ToRESTConfig has a user agent that begins as kubectl's: where a verb names no owner of the fields that it sets, the API server
// takes the owner from there, and objects must have the same owner whether a stock account or an agent's changed them.
func (s scoped) ToRESTConfig() (*rest.Config, error) {
	config, err := s.Client.ToRESTConfig()
	if err == nil {
		config.UserAgent = "kubectl/" + config.UserAgent
	}
	return config, err
}

// ToRawKubeConfigLoader tells namespace and configuration only.
func (s scoped) ToRawKubeConfigLoader() clientcmd.ClientConfig { return s }

// RawConfig is part of clientcmd.ClientConfig, and not asked for.
func (scoped) RawConfig() (clientcmdapi.Config, error) { return clientcmdapi.Config{}, nil }

// ClientConfig is how to talk to the account's API server.
func (s scoped) ClientConfig() (*rest.Config, error) { return s.ToRESTConfig() }

// Namespace is the operation's.
func (s scoped) Namespace() (string, bool, error) { return s.namespace, false, nil }

// ConfigAccess is part of clientcmd.ClientConfig, and not asked for.
func (scoped) ConfigAccess() clientcmd.ConfigAccess { return nil }

// remarks takes what kubectl's library writes to standard error.
type remarks struct{ text strings.Builder }

func (w *remarks) Write(p []byte) (int, error) { return w.text.Write(p) }

// take tells warnings, without "Warning: ", from other lines.
func (w *remarks) take() (warnings, notes []string) {
	for line := range strings.Lines(w.text.String()) {
		line = strings.TrimSuffix(line, "\n")
		if warning, is := strings.CutPrefix(line, "Warning: "); is {
			warnings = append(warnings, warning)
		} else if line != "" {
			notes = append(notes, line)
		}
	}
	w.text.Reset()
	return warnings, notes
}

// options prepares what a verb's options read from flags: none of them is set, but they must be there.
func (c *command) options(flags *genericclioptions.PrintFlags) {
	flags.AddFlags(c.cobra)
	cmdutil.AddDryRunFlag(c.cobra)
}

// print writes kubectl's line about an object: "deployment.apps/web patched".
func (c *command) print(object runtime.Object, done string) error {
	printer, err := genericclioptions.NewPrintFlags(done).WithTypeSetter(scheme.Scheme).ToPrinter()
	if err != nil {
		return err
	}
	return printer.PrintObj(object, c.streams.Out)
}
