package install

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type (
	object = unstructured.Unstructured
	job    = batchv1.Job
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func objects(t *testing.T, render func() ([]byte, error)) []*object {
	t.Helper()
	manifests, err := render()
	must(t, err)
	all, err := Objects(manifests)
	must(t, err)
	return all
}

func find[T any](t *testing.T, all []*object, kind, name string) *T {
	t.Helper()
	found, err := Find[T](all, kind, name)
	must(t, err)
	return found
}

// byName sorts what is a set.
func byName(spec *corev1.PodSpec) {
	slices.SortFunc(spec.Volumes, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
	for i := range spec.Containers {
		slices.SortFunc(spec.Containers[i].VolumeMounts, func(a, b corev1.VolumeMount) int { return strings.Compare(a.MountPath, b.MountPath) })
	}
}

// overlay builds a mode's kustomization with other components than its own, as an operator's overlay would name them.
func overlay(t *testing.T, mode string, components ...string) ([]byte, error) {
	t.Helper()
	// Kustomize wants relative paths, and its root above everything: a copy of the tree.
	root := t.TempDir()
	must(t, os.CopyFS(root, os.DirFS(filepath.Join(deploy, "kustomize"))))
	file := filepath.Join(root, mode, "kustomization.yaml")
	content, err := os.ReadFile(file)
	must(t, err)
	var text strings.Builder
	skip := false
	for line := range strings.Lines(string(content)) {
		if skip = skip && strings.HasPrefix(line, " "); skip {
			continue
		}
		text.WriteString(line)
		if strings.HasPrefix(line, "components:") {
			skip = true
			for _, c := range components {
				fmt.Fprintf(&text, "  - ../components/%s\n", c)
			}
		}
	}
	must(t, os.WriteFile(file, []byte(text.String()), 0o644))
	return Kustomize(filepath.Join(root, mode))
}
