package execute

import (
	"errors"
	"io"
	"strings"

	openapiv2 "k8s.io/kubectl/pkg/util/openapi"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectlapply "k8s.io/kubectl/pkg/cmd/apply"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// apply runs kubectl's own apply: client-side three-way with the last applied configuration in an annotation, or server-side
// with the migration of field owners.
func (r *run) apply(op *linkv1.Apply) error {
	result, err := r.read(op.GetManifests(), op.GetNamespace(), op.GetLabelSelector())
	if err != nil {
		return err
	}
	infos, readErr := result.Infos()
	if len(infos) == 0 {
		if readErr == nil {
			readErr = errors.New("no objects passed to apply")
		}
		return readErr
	}
	diagnostics := &warnings{warn: r.Warn}
	o, err := r.applyOptions(op, diagnostics)
	if err != nil {
		return err
	}
	o.SetObjects(infos)
	o.PostProcessorFn = nil // printing is done below
	err = o.Run()
	diagnostics.flush()
	if err := aggregate([]error{readErr, err}); err != nil {
		return err
	}
	return r.printAll(objectsOf(infos))
}

// applyOptions asks kubectl for the options that its command line would have given.
func (r *run) applyOptions(op *linkv1.Apply, diagnostics io.Writer) (*kubectlapply.ApplyOptions, error) {
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: diagnostics}
	flags := kubectlapply.NewApplyFlags(streams)
	command := &cobra.Command{Use: "apply"}
	flags.AddFlags(command)
	set := map[string]string{"filename": "-", "output": "json"}
	if op.GetServerSide() {
		set["server-side"] = "true"
	}
	if op.GetForceConflicts() {
		set["force-conflicts"] = "true"
	}
	if m := op.GetFieldManager(); m != "" {
		set["field-manager"] = m
	}
	for name, value := range set {
		if err := command.Flags().Set(name, value); err != nil {
			return nil, err
		}
	}
	o, err := flags.ToOptions(cmdutil.NewFactory(r), command, "kubectl", nil)
	if err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Recorder = recorder(op.GetChangeCause())
	o.OpenAPIV3Root = schemaRoot{account: r.schemas, client: r.Client}
	o.OpenAPIGetter = noOpenAPIv2{}
	return o, nil
}

// noOpenAPIv2: kubectl falls back to it for kinds that version 3 of the document does not describe, downloads megabytes, and
// ends with the same merge patch that it makes without.
type noOpenAPIv2 struct{}

func (noOpenAPIv2) OpenAPISchema() (openapiv2.Resources, error) {
	return nil, errors.New("not read")
}

// warnings takes what kubectl's library writes to standard error.
type warnings struct {
	warn    func(string)
	pending strings.Builder
}

func (w *warnings) Write(p []byte) (int, error) { return w.pending.Write(p) }

func (w *warnings) flush() {
	text := strings.TrimSpace(w.pending.String())
	w.pending.Reset()
	if text == "" {
		return
	}
	for _, warning := range strings.Split("\n"+text, "\nWarning: ") {
		if warning = strings.TrimSpace(warning); warning != "" {
			w.warn(warning)
		}
	}
}
