package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomize builds a directory as `kubectl kustomize` does.
func Kustomize(directory string) ([]byte, error) {
	return build(filesys.MakeFsOnDisk(), directory)
}

func build(files filesys.FileSystem, directory string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	made, err := krusty.MakeKustomizer(options).Run(files, directory)
	if err != nil {
		return nil, err
	}
	return made.AsYaml()
}

// HelmTemplate renders a chart as `helm template` does, with hooks, for a release in a namespace.
func HelmTemplate(chart, release, namespace string, values map[string]any) ([]byte, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(&action.Configuration{})
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	install.ReleaseName, install.Namespace = release, namespace
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.34.2", Major: "1", Minor: "34"}
	made, err := install.Run(loaded, values)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBufferString(made.Manifest)
	for _, hook := range made.Hooks {
		fmt.Fprintf(out, "---\n%s\n", hook.Manifest)
	}
	return out.Bytes(), nil
}

// Objects parses a stream of manifests.
func Objects(manifests []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// Find decodes the object of a kind and name into an API type.
func Find[T any](objects []*unstructured.Unstructured, kind, name string) (*T, error) {
	for _, o := range objects {
		if o.GetKind() != kind || o.GetName() != name {
			continue
		}
		into := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true); err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, name, err)
		}
		return into, nil
	}
	return nil, fmt.Errorf("no %s %s among %d objects", kind, name, len(objects))
}
