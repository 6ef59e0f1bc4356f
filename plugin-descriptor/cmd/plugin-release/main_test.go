package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func jarOf(t *testing.T, version string) string {
	t.Helper()
	content, err := archived(func(add func(string, io.Reader) error) error {
		for name, text := range map[string]string{
			"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\nPlugin-Id: Fairlead.Bridge\r\nPlugin-Version: " + version +
				"\r\nPlugin-Provider: https://example.com/a-very-long-addr\r\n ess\r\nPlugin-Class: io.fairlead.X\r\n",
			"io/fairlead/X.class": "x",
		} {
			if err := add(name, strings.NewReader(text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plugin.jar")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReleaseIsABundleWithItsHashBeforeTheEarlierOnes(t *testing.T) {
	out := t.TempDir()
	index := filepath.Join(out, "plugins.json")
	if err := run(jarOf(t, "0.1.0"), "https://example.com/v0.1.0/", out, "", "2026-12-01"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time replaces, and does not add
		if err := run(jarOf(t, "0.2.0"), "https://example.com/v0.2.0", out, index, "2027-01-01"); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	var list []plugin
	if err := json.Unmarshal(content, &list); err != nil || len(list) != 1 || len(list[0].Releases) != 2 || list[0].Provider != "https://example.com/a-very-long-address" {
		t.Fatalf("%v %s", err, content)
	}
	newest, older := list[0].Releases[0], list[0].Releases[1]
	if newest.Version != "0.2.0" || !newest.Preferred || older.Preferred || newest.Date != "2027-01-01T00:00:00.000Z" || older.URL != "https://example.com/v0.1.0/fairlead-bridge-0.1.0.zip" {
		t.Errorf("%+v", list[0].Releases)
	}
	bundle, err := os.ReadFile(filepath.Join(out, "fairlead-bridge-0.2.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha512.Sum512(bundle); hex.EncodeToString(sum[:]) != newest.SHA512 {
		t.Error("the hash is not the bundle's")
	}
	outer, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	service, err := fs.ReadFile(outer, "clouddriver.zip")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := zip.NewReader(bytes.NewReader(service), int64(len(service)))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := fs.ReadFile(inner, "classes/io/fairlead/X.class"); err != nil || string(x) != "x" {
		t.Error(x, err)
	}
}

func TestWhatIsNotAPluginIsRefused(t *testing.T) {
	if err := run(jarOf(t, ""), "https://example.com", t.TempDir(), "", "2026-12-01"); err == nil || !strings.Contains(err.Error(), "no Plugin-Version") {
		t.Error(err)
	}
	if err := run(jarOf(t, "1"), "https://example.com", t.TempDir(), "", "yesterday"); err == nil || !strings.Contains(err.Error(), "-date") {
		t.Error(err)
	}
}
