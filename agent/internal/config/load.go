package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Options say where a configuration comes from.
type Options struct {
	// File is given explicitly (--config) and must exist; "": the well-known places are searched.
	File string
	// Root stands before the well-known places; "" but in tests.
	Root string
	// Getenv reads the environment; nil: os.Getenv.
	Getenv func(string) string
}

// wellKnown lists where a configuration is looked for, best first, without extension. The last one is where the replaced product
// looked before it got its present name.
var wellKnown = []string{
	"/opt/fairlead/config/fairlead-agent",
	"/opt/armory/config/fairlead-agent",
	"/opt/armory/config/armory-agent",
	"/opt/spinnaker/config/kubesvc",
}

var extensions = []string{".yml", ".yaml"}

// Load reads the configuration. Beside each file, one with "-local" before its extension is laid over it: sections are merged
// key by key, lists and values replace; so are variables (FAIRLEAD_CLOUDDRIVER_GRPC). Without any file the agent runs on defaults and serves no account.
//
// The error, if any, joins everything that is wrong with the file; what is wrong with single accounts is in Config.Refused.
func Load(o Options) (*Config, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	files, notes, err := find(o)
	if err != nil {
		return nil, err
	}
	var trees []*tree
	sum := sha256.New()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w; name the agent's configuration with --config", err)
		}
		mark(sum, file, content)
		t, err := parseTree(file, content)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	given := slices.ContainsFunc(trees, func(t *tree) bool { return child(child(t.root, "kubernetes"), "accounts") != nil })
	variables, err := fromEnvironment(o.Getenv, given)
	if err != nil {
		return nil, err
	}
	if variables != nil {
		trees = append(trees, variables)
	}
	c, err := build(trees, o.Getenv)
	if err != nil {
		return nil, err
	}
	c.Files, c.Fingerprint = files, hex.EncodeToString(sum.Sum(nil))
	c.Notes = append(notes, c.Notes...)
	return c, nil
}

// Fingerprint is that of the Config that Load would read now.
func Fingerprint(o Options) (string, error) {
	files, _, err := find(o)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		mark(sum, file, content)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func mark(sum io.Writer, file string, content []byte) {
	_, _ = fmt.Fprintf(sum, "%q %d\n", file, len(content))
	_, _ = sum.Write(content)
}

// find returns the files to read, base first.
func find(o Options) ([]string, []Note, error) {
	if o.File != "" {
		files := []string{o.File}
		extension := filepath.Ext(o.File)
		local := strings.TrimSuffix(o.File, extension) + "-local" + extension
		if _, err := os.Stat(local); err == nil {
			files = append(files, local)
		}
		return files, nil, nil
	}
	var files []string
	var notes []Note
	for _, place := range wellKnown {
		found, err := at(o.Root + place)
		switch {
		case err != nil:
			return nil, nil, err
		case len(found) == 0:
		case files == nil:
			files = found
		default:
			notes = append(notes, Note{Key: found[0], Text: "not read, because " + files[0] + " is there; remove one of them", Warning: true})
		}
	}
	if files == nil {
		notes = append(notes, Note{Key: "configuration", Text: "none found at " + strings.Join(wellKnown, ".yml, ") + ".yml: running on defaults, without accounts", Warning: true})
	}
	return files, notes, nil
}

// at returns the base file and the local one of a place, as far as they exist.
func at(place string) ([]string, error) {
	var files []string
	for _, suffix := range []string{"", "-local"} {
		var found string
		for _, extension := range extensions {
			file := place + suffix + extension
			switch _, err := os.Stat(file); {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return nil, fmt.Errorf("look for the configuration: %w", err)
			case found != "":
				return nil, fmt.Errorf("%s and %s are both there; remove one of them", found, file)
			default:
				found = file
			}
		}
		if found != "" {
			files = append(files, found)
		}
	}
	return files, nil
}

// overlay lays top over bottom: sections key by key, anything else replaces.
func overlay(bottom, top *yaml.Node) *yaml.Node {
	if bottom == nil || top == nil {
		if top == nil {
			return bottom
		}
		return top
	}
	if bottom.Kind != yaml.MappingNode || top.Kind != yaml.MappingNode {
		return top
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		name, value, found := top.Content[i], top.Content[i+1], false
		for j := 0; j+1 < len(bottom.Content); j += 2 {
			if bottom.Content[j].Value == name.Value {
				bottom.Content[j+1] = overlay(bottom.Content[j+1], value)
				found = true
			}
		}
		if !found {
			bottom.Content = append(bottom.Content, name, value)
		}
	}
	return bottom
}
