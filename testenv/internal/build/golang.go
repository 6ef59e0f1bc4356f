package build

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
)

// Program is a Go program that is built into the cache.
type Program struct {
	// Name is its name in the cache.
	Name string
	// Module is the folder of its module, relative to the repository; Package the package to build, as that module says it.
	Module, Package string
	// Sources are the files and folders that it is made of, relative to the module.
	Sources []string
	// Flags of the linker.
	Flags string
	// Static programs are built without cgo and without paths. Those of the main module are not: they share the packages
	// that `go build` and `go test` have compiled already.
	Static bool
	// Slow says in a few words why the first build takes long; empty if it does not.
	Slow string
}

const kubernetesVersion = "1.34.2"

// Kube is the control plane.
func Kube() Program {
	return Program{
		Name: "kube", Module: "testenv/kube", Package: ".", Sources: []string{"."},
		Flags: versionFlags(kubernetesVersion), Static: true,
		Slow: "compiles Kubernetes " + kubernetesVersion + ", 4 minutes on two cores",
	}
}

// versionFlags sets what `kubectl version` shows and parses; without it the server reports an empty version.
func versionFlags(version string) string {
	parts := strings.SplitN(version, ".", 3)
	const pkg = "k8s.io/component-base/version."
	return "-X " + pkg + "gitVersion=v" + version + " -X " + pkg + "gitMajor=" + parts[0] + " -X " + pkg + "gitMinor=" + parts[1]
}

// Go builds a program unless the cache has it, and returns its path.
func (c *Cache) Go(ctx context.Context, p Program) (string, error) {
	module := filepath.Join(c.Root, p.Module)
	var paths []string
	for _, source := range p.Sources {
		paths = append(paths, filepath.Join(module, source))
	}
	version, err := run(ctx, module, nil, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	key, err := Digest(paths, p.Package, p.Flags, version, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	return c.Once(ctx, p.Name, key, func(path string) error {
		if p.Slow != "" {
			c.tell("builds %s (%s)", p.Name, p.Slow)
		} else {
			c.tell("builds %s", p.Name)
		}
		environment := []string{"GOFLAGS=-buildvcs=false", "GOWORK=off"}
		arguments := []string{"build", "-ldflags=-s -w " + p.Flags, "-o", path}
		if p.Static {
			environment = append(environment, "CGO_ENABLED=0")
			arguments = append(arguments, "-trimpath")
		}
		_, err := run(ctx, module, environment, "go", append(arguments, p.Package)...)
		return err
	})
}
