// Command plugin-copy is what the image clouddriver-plugin starts, as an init container of Clouddriver: it copies the plugin to where
// Clouddriver looks for plugins.
//
//	plugin-copy [-from DIRECTORY] [-to DIRECTORY]
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	from := flag.String("from", "/plugin", "where the plugin's jar is")
	to := flag.String("to", "/opt/plugin/target", "where it is copied to: a volume that Clouddriver's container mounts in its plugins-root-path")
	flag.Parse()
	if err := copyPlugin(os.Stdout, *from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "plugin-copy:", err)
		os.Exit(1)
	}
}

// copyPlugin copies the jar, and removes one that an earlier version left: a Clouddriver that finds the plugin twice does not start.
func copyPlugin(out io.Writer, from, to string) error {
	jars, err := filepath.Glob(filepath.Join(from, "*.jar"))
	if err != nil {
		return err
	}
	if len(jars) != 1 {
		return fmt.Errorf("%s holds %d jars, want the plugin's alone", from, len(jars))
	}
	if info, err := os.Stat(to); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no directory: mount the volume there that Clouddriver mounts in its plugins-root-path", to)
	}
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	name := filepath.Base(jars[0])
	for _, e := range entries {
		if e.Name() != name && strings.HasPrefix(e.Name(), "fairlead-clouddriver-plugin") {
			if err := os.RemoveAll(filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := copyFile(jars[0], filepath.Join(to, name)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "copied", name, "to", to)
	return err
}

// copyFile replaces the target in one step: a Clouddriver that restarts meanwhile must not read half of it.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.CreateTemp(filepath.Dir(to), ".fairlead-plugin-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(target.Name()) }()
	_, err = io.Copy(target, source)
	if err := errors.Join(err, target.Chmod(0o644), target.Close()); err != nil {
		return err
	}
	return os.Rename(target.Name(), to)
}
