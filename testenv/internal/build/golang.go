package build

import (
	"context"
	"fmt"
	"os"
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
	// Tags to build with.
	Tags string
	// Static programs are built without cgo and without paths. Those of the main module are not: they share the packages
	// that `go build` and `go test` have compiled already.
	Static bool
	// Slow says in a few words why the first build takes long; empty if it does not.
	Slow string
}

// The versions that the modules below testenv and the main go.mod require; TestVersionsAreThoseOfTheModules holds them
// to it.
const (
	kubernetesVersion = "1.34.2"
	kubectlVersion    = "1.37.2"
)

// Kube is the control plane.
func Kube() Program {
	return Program{
		Name: "kube", Module: "testenv/kube", Package: ".", Sources: []string{"."}, Static: true,
		Flags: versionFlags(kubernetesVersion),
		Slow:  "compiles Kubernetes " + kubernetesVersion + ", 4 minutes on two cores",
	}
}

// Kwok plays the nodes: it makes pods ready that are bound to one.
func Kwok() Program {
	return Program{
		Name: "kwok", Module: "testenv/kwok", Package: "sigs.k8s.io/kwok/cmd/kwok", Sources: []string{"go.mod", "go.sum"}, Static: true,
		Slow: "a minute on two cores",
	}
}

// Vault is a small real Vault server.
func Vault() Program {
	return Program{
		Name: "vault", Module: "testenv/vault", Package: ".", Sources: []string{"."}, Static: true,
		Slow: "3 minutes on two cores",
	}
}

// Kubectl is what stock accounts and differential tests run.
func Kubectl() Program {
	return Program{
		Name: "kubectl", Package: "./testenv/kubectl", Sources: []string{"testenv/kubectl", "go.mod", "go.sum"},
		Flags: versionFlags(kubectlVersion),
	}
}

// Bridge is the bridge.
func Bridge() Program { return project("fairlead-bridge", "bridge", "bridge/cmd/fairlead-bridge") }

// Agent is the agent.
func Agent() Program {
	p := project("fairlead-agent", "agent", "agent/cmd/fairlead-agent")
	p.Tags = "kustomize_disable_go_plugin_support" // as in the Makefile
	return p
}

// Faultnet is the network between agents and bridges that can go wrong.
func Faultnet() Program {
	return Program{Name: "faultnet", Package: "./testenv/cmd/faultnet", Sources: []string{"testenv/faultnet", "testenv/cmd/faultnet", "go.mod", "go.sum"}}
}

// CLI is what operators type.
func CLI() Program { return project("fairlead", "bridge", "bridge/cmd/fairlead") }

func project(name, folder, pkg string) Program {
	return Program{Name: name, Package: "./" + pkg, Sources: []string{folder, "proto", "go.mod", "go.sum"}}
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
	version, err := Run(ctx, module, nil, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	key, err := Digest(paths, p.Package, p.Flags, p.Tags, version, runtime.GOOS, runtime.GOARCH)
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
		arguments := []string{"build", "-tags=" + p.Tags, "-ldflags=-s -w " + p.Flags, "-o", path}
		if p.Static {
			environment = append(environment, "CGO_ENABLED=0")
			arguments = append(arguments, "-trimpath")
		}
		_, err := Run(ctx, module, environment, "go", append(arguments, p.Package)...)
		return err
	})
}

// KwokStages returns the file of kwok's stages: nodes become ready and stay so, pods become ready, complete and go at
// once. They come with kwok's module.
func (c *Cache) KwokStages(ctx context.Context) (string, error) {
	module := filepath.Join(c.Root, "testenv/kwok")
	key, err := Digest([]string{filepath.Join(module, "go.mod")}, "stages")
	if err != nil {
		return "", err
	}
	return c.Once(ctx, "kwok-stages", key, func(path string) error {
		directory, err := Run(ctx, module, []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
		if err != nil {
			return err
		}
		var stages []byte
		for _, name := range []string{
			"node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
			"pod/fast/pod-ready.yaml", "pod/fast/pod-complete.yaml", "pod/fast/pod-delete.yaml",
		} {
			stage, err := os.ReadFile(filepath.Join(strings.TrimSpace(directory), "kustomize", "stage", name))
			if err != nil {
				return err
			}
			stages = fmt.Appendf(stages, "---\n%s\n", stage)
		}
		return os.WriteFile(path, stages, 0o644)
	})
}

// Tools returns the directory of the pinned tools (testenv/tools): buf, its plugins, golangci-lint.
func (c *Cache) Tools(ctx context.Context) (string, error) {
	module := filepath.Join(c.Root, "testenv", "tools")
	version, err := Run(ctx, module, nil, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	key, err := Digest([]string{module}, version, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	return c.Once(ctx, "tools", key, func(path string) error {
		c.tell("builds buf and golangci-lint (4 minutes on two cores)")
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		_, err := Run(ctx, module, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"},
			"go", "build", "-trimpath", "-ldflags=-s -w", "-o", path+"/", "tool")
		return err
	})
}
