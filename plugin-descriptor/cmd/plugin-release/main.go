// Command plugin-release makes of the plugin's jar what Spinnaker's plugin repositories hold: a bundle, and a plugins.json that names it with
// its hash.
//
//	plugin-release -jar FILE -url PREFIX -out DIRECTORY [-index plugins.json] [-date 2026-12-01]
package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plugin is an entry of plugins.json, as pf4j-update and kork read it (org.pf4j.update.PluginInfo, SpinnakerPluginInfo).
type plugin struct {
	ID          string    `json:"id"`
	Description string    `json:"description"`
	Provider    string    `json:"provider"`
	ProjectURL  string    `json:"projectUrl"`
	Releases    []release `json:"releases"`
}

type release struct {
	Version string `json:"version"`
	Date    string `json:"date"`
	// Requires names the service that loads it; Clouddriver does not know its own version, and the jar fits all.
	Requires  string `json:"requires"`
	URL       string `json:"url"`
	SHA512    string `json:"sha512sum"`
	Preferred bool   `json:"preferred"`
}

func main() {
	jar := flag.String("jar", "", "the plugin's jar")
	prefix := flag.String("url", "", "where the bundle will be found: its URL without the file's name")
	out := flag.String("out", "", "directory for bundle and plugins.json")
	index := flag.String("index", "", "plugins.json of the earlier releases, which are kept")
	date := flag.String("date", time.Now().UTC().Format(time.DateOnly), "date of the release")
	flag.Parse()
	if err := run(*jar, *prefix, *out, *index, *date); err != nil {
		fmt.Fprintln(os.Stderr, "plugin-release:", err)
		os.Exit(1)
	}
}

func run(jar, prefix, out, index, date string) error {
	if jar == "" || prefix == "" || out == "" {
		return errors.New("-jar, -url and -out are needed")
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return fmt.Errorf("-date: %w", err)
	}
	content, err := os.ReadFile(jar)
	if err != nil {
		return err
	}
	manifest, err := manifestOf(content)
	if err != nil {
		return fmt.Errorf("%s: %w", jar, err)
	}
	bundle, err := bundle(content)
	if err != nil {
		return fmt.Errorf("%s: %w", jar, err)
	}
	name := "fairlead-bridge-" + manifest["Plugin-Version"] + ".zip"
	sum := sha512.Sum512(bundle)
	known, err := read(index)
	if err != nil {
		return err
	}
	known = add(known, manifest, release{
		Version: manifest["Plugin-Version"], Date: day.Format("2006-01-02T15:04:05.000Z"), Requires: "clouddriver>=0.0.0",
		URL: strings.TrimRight(prefix, "/") + "/" + name, SHA512: hex.EncodeToString(sum[:]), Preferred: true,
	})
	list, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(out, name), bundle, 0o644), os.WriteFile(filepath.Join(out, "plugins.json"), append(list, '\n'), 0o644))
}

// manifestOf reads a jar's manifest.
func manifestOf(jar []byte) (map[string]string, error) {
	archive, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return nil, err
	}
	content, err := fs.ReadFile(archive, "META-INF/MANIFEST.MF")
	if err != nil {
		return nil, err
	}
	entries := map[string]string{}
	// Long lines go on in the next one, after a space.
	for line := range strings.Lines(strings.ReplaceAll(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n ", "")) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), ": "); found {
			entries[key] = value
		}
	}
	for _, key := range []string{"Plugin-Id", "Plugin-Version", "Plugin-Provider", "Plugin-Class"} {
		if entries[key] == "" {
			return nil, fmt.Errorf("the manifest has no %s: this is not a plugin", key)
		}
	}
	return entries, nil
}

// bundle puts the jar's content into classes/ of clouddriver.zip, and that into the bundle: one plugin may have a zip for each service. The
// same jar makes the same bytes.
func bundle(jar []byte) ([]byte, error) {
	archive, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return nil, err
	}
	service, err := archived(func(add func(string, io.Reader) error) error {
		for _, f := range archive.File {
			if strings.HasSuffix(f.Name, "/") {
				continue
			}
			content, err := f.Open()
			if err != nil {
				return err
			}
			if err := errors.Join(add("classes/"+f.Name, content), content.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return archived(func(add func(string, io.Reader) error) error { return add("clouddriver.zip", bytes.NewReader(service)) })
}

func archived(fill func(add func(name string, content io.Reader) error) error) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	err := fill(func(name string, content io.Reader) error {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			return err
		}
		_, err = io.Copy(entry, content)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func read(index string) ([]plugin, error) {
	if index == "" {
		return nil, nil
	}
	content, err := os.ReadFile(index)
	if err != nil {
		return nil, err
	}
	var known []plugin
	if err := json.Unmarshal(content, &known); err != nil {
		return nil, fmt.Errorf("%s: %w", index, err)
	}
	return known, nil
}

// add puts a release before the earlier ones, or in the place of the one with its version.
func add(known []plugin, manifest map[string]string, r release) []plugin {
	at := slices.IndexFunc(known, func(p plugin) bool { return p.ID == manifest["Plugin-Id"] })
	if at < 0 {
		known, at = append(known, plugin{ID: manifest["Plugin-Id"]}), len(known)
	}
	p := &known[at]
	p.Provider, p.ProjectURL = manifest["Plugin-Provider"], manifest["Plugin-Provider"]
	p.Description = "The seam between a stock Clouddriver and its Fairlead bridge."
	kept := []release{r}
	for _, old := range p.Releases {
		if old.Version != r.Version {
			old.Preferred = false
			kept = append(kept, old)
		}
	}
	p.Releases = kept
	return known
}
