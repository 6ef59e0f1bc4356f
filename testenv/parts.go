package testenv

import (
	"context"
	"io"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// PluginJar builds the plugin, or finds it built, and returns its jar.
func PluginJar(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := openFor(progress)
	if err != nil {
		return "", err
	}
	return cache.PluginJar(ctx)
}

// Parts are the programs and files that an environment is made of, for whoever starts them in another way than Up does: in containers.
type Parts struct {
	Kube, Kwok, KwokStages, Kubectl string
	MariaDB, MariaDBInstall         string
	Java                            string
	// ClassPath is that of Clouddriver, with the class to start.
	ClassPath, ClouddriverMain string
}

// FindParts builds or finds the parts for a version of Clouddriver.
func FindParts(ctx context.Context, version string, progress io.Writer) (*Parts, error) {
	cache, err := openFor(progress)
	if err != nil {
		return nil, err
	}
	parts := &Parts{ClouddriverMain: "com.netflix.spinnaker.clouddriver.Main"}
	for _, step := range []struct {
		into *string
		find func() (string, error)
	}{
		{&parts.Kube, func() (string, error) { return cache.Go(ctx, build.Kube()) }},
		{&parts.Kwok, func() (string, error) { return cache.Go(ctx, build.Kwok()) }},
		{&parts.KwokStages, func() (string, error) { return cache.KwokStages(ctx) }},
		{&parts.Kubectl, func() (string, error) { return cache.Go(ctx, build.Kubectl()) }},
		{&parts.MariaDB, func() (string, error) { return cache.Tool(ctx, build.MariaDB()) }},
		{&parts.MariaDBInstall, func() (string, error) { return cache.Tool(ctx, build.MariaDBInstall()) }},
		{&parts.Java, func() (string, error) { return cache.Tool(ctx, build.Java()) }},
		{&parts.ClassPath, func() (string, error) { return cache.ClouddriverClassPath(ctx, version) }},
	} {
		if *step.into, err = step.find(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// MakeNodes makes the nodes that a kwok plays, and waits until pods can be bound to them.
func MakeNodes(ctx context.Context, kubeconfig string) error {
	client, err := newKubeClient(kubeconfig)
	if err != nil {
		return err
	}
	return makeNodes(ctx, client)
}

func openFor(progress io.Writer) (*build.Cache, error) {
	cache, err := build.Open()
	if err == nil {
		cache.Tell = newProgress(progress).note
	}
	return cache, err
}
