package testenv

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// Prepare builds and resolves everything that environments of all Clouddriver versions need, or only the named parts. What the machine lacks it
// names on progress and leaves out: the tests that need it say so too.
func Prepare(ctx context.Context, progress io.Writer, only ...string) error {
	cache, err := build.Open()
	if err != nil {
		return err
	}
	told := newProgress(progress)
	cache.Tell = told.note
	steps := []preparation{
		{"mysql", func() error { _, err := cache.Tool(ctx, build.MariaDB()); return err }},
		{"java", func() error { _, err := cache.Tool(ctx, build.Java()); return err }},
		{"maven", func() error { _, err := cache.Tool(ctx, build.Maven()); return err }},
	}
	for _, program := range []build.Program{build.Kube(), build.Kwok(), build.Kubectl(), build.Vault(), build.Bridge(), build.Agent(), build.CLI()} {
		steps = append(steps, preparation{program.Name, func() error { _, err := cache.Go(ctx, program); return err }})
	}
	steps = append(steps, preparation{"stages", func() error { _, err := cache.KwokStages(ctx); return err }})
	for _, version := range build.ClouddriverVersions() {
		steps = append(steps, preparation{"clouddriver " + version, func() error { _, err := cache.ClouddriverClassPath(ctx, version); return err }})
	}
	if _, err := os.Stat(filepath.Join(cache.Root, "plugin-descriptor", "pom.xml")); err == nil {
		steps = append(steps, preparation{"plugin", func() error { _, err := cache.PluginJar(ctx); return err }})
	}
	for _, step := range steps {
		if len(only) > 0 && !slices.Contains(only, step.name) {
			continue
		}
		if err := step.run(told); err != nil {
			return err
		}
	}
	return nil
}

// preparation is one thing that is made ahead.
type preparation struct {
	name string
	make func() error
}

func (p preparation) run(told *progress) error {
	started := time.Now()
	err := p.make()
	var missing *build.MissingError
	switch {
	case errors.As(err, &missing):
		told.ready(p.name, "%v", err)
	case err != nil:
		return err
	default:
		told.ready(p.name, "there (%.1f s)", time.Since(started).Seconds())
	}
	return nil
}
