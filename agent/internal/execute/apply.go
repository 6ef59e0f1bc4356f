package execute

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	kubectlapply "k8s.io/kubectl/pkg/cmd/apply"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util"
	openapiv2 "k8s.io/kubectl/pkg/util/openapi"

	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
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
	var client, server []*resource.Info
	if op.GetServerSide() {
		server = infos
	} else {
		client, server = r.methods(infos)
	}
	// What the deploy stage did not ask to be applied server-side overwrites others' fields as client-side apply does.
	force := op.GetForceConflicts() || !op.GetServerSide()
	err = aggregate([]error{readErr, r.applyClientSide(op, client), r.applyServerSide(op, server, force)})
	if err != nil {
		return err
	}
	return r.printAll(objectsOf(infos))
}

// annotationsLimit is how many bytes the API server lets all annotations of an object have together
// (k8s.io/apimachinery/pkg/api/validation, TotalAnnotationSizeLimitB).
const annotationsLimit = validation.TotalAnnotationSizeLimitB

// methods takes apart what is applied client-side and what server-side: by the configuration and the manifest, and because it is too
// large to be written down in an annotation.
func (r *run) methods(infos []*resource.Info) (client, server []*resource.Info) {
	for _, info := range infos {
		if r.asked(info) {
			server = append(server, info)
			continue
		}
		configuration, err := util.GetModifiedConfiguration(info.Object, false, unstructured.UnstructuredJSONScheme)
		if err != nil { // kubectl's apply will say the same
			client = append(client, info)
			continue
		}
		size := annotationsSize(info.Object, configuration)
		if size <= annotationsLimit || info.Name == "" {
			client = append(client, info)
			continue
		}
		server = append(server, info)
		r.Warn(fmt.Sprintf("%s is applied server-side: its last applied configuration is larger than the %d bytes of all annotations", info.ObjectName(), annotationsLimit))
	}
	return client, server
}

// asked tells whether configuration or manifest want server-side apply.
func (r *run) asked(info *resource.Info) bool {
	if info.Name == "" {
		return false // cannot be applied at all, which client-side apply says
	}
	wish, kind := "", info.Mapping.GroupVersionKind
	if m, err := meta.Accessor(info.Object); err == nil {
		wish = m.GetAnnotations()[config.ServerSideAnnotation]
	}
	return r.policy.Applies(kind.Kind, kind.Group, wish)
}

// annotationsSize is what the annotations of an object take with a last applied configuration.
func annotationsSize(object runtime.Object, configuration []byte) int {
	size := len(corev1.LastAppliedConfigAnnotation) + len(configuration)
	if m, err := meta.Accessor(object); err == nil {
		for name, value := range m.GetAnnotations() {
			if name != corev1.LastAppliedConfigAnnotation {
				size += len(name) + len(value)
			}
		}
	}
	return size
}

// applyClientSide applies, and removes from objects that were applied server-side before what went out of their manifests.
func (r *run) applyClientSide(op *linkv1.Apply, infos []*resource.Info) error {
	if len(infos) == 0 {
		return nil
	}
	manifests := make([]runtime.Object, 0, len(infos))
	for _, info := range infos {
		manifests = append(manifests, info.Object.DeepCopyObject())
	}
	if err := r.applyAll(op, infos, false, false); err != nil {
		return err
	}
	for i, info := range infos {
		if err := r.adoptClientSide(info, manifests[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) applyServerSide(op *linkv1.Apply, infos []*resource.Info, force bool) error {
	if len(infos) == 0 {
		return nil
	}
	to := heir{manager: op.GetFieldManager(), operation: metav1.ManagedFieldsOperationApply, clientSide: !op.GetServerSide()}
	if to.manager == "" {
		to.manager = serverSideManager
	}
	for _, info := range infos {
		if info.Name == "" {
			continue
		}
		if err := r.adoptServerSide(info, to); err != nil {
			return err
		}
	}
	return r.applyAll(op, infos, true, force)
}

// applyAll runs kubectl's apply. What the objects are afterwards is in infos.
func (r *run) applyAll(op *linkv1.Apply, infos []*resource.Info, serverSide, force bool) error {
	diagnostics := &warnings{warn: r.Warn}
	o, err := r.applyOptions(op, serverSide, force, diagnostics)
	if err != nil {
		return err
	}
	o.SetObjects(infos)
	o.PostProcessorFn = nil // printing is done by the caller
	err = o.Run()
	diagnostics.flush()
	return err
}

// applyOptions asks kubectl for the options that its command line would have given.
func (r *run) applyOptions(op *linkv1.Apply, serverSide, force bool, diagnostics io.Writer) (*kubectlapply.ApplyOptions, error) {
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: diagnostics}
	flags := kubectlapply.NewApplyFlags(streams)
	command := &cobra.Command{Use: "apply"}
	flags.AddFlags(command)
	set := map[string]string{"filename": "-", "output": "json"}
	if serverSide {
		set["server-side"] = "true"
	}
	if force {
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
	o.OpenAPIV3Root = schemaRoot{ctx: r.ctx, account: r.schemas, client: r.Client}
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
