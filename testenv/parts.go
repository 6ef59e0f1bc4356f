package testenv

import (
	"context"
	"io"

	"github.com/fairlead/fairlead/testenv/internal/build"
)

// PluginJar builds the plugin, or finds it built, and returns its jar.
func PluginJar(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := build.Open()
	if err != nil {
		return "", err
	}
	cache.Tell = newProgress(progress).note
	return cache.PluginJar(ctx)
}
