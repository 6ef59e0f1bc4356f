package plugin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretMinimum is the fewest characters that a secret may have; ours have 43.
const secretMinimum = 16

// secret is what a caller must show. The file is read for each call, so that it can be replaced while the bridge runs.
type secret struct{ file string }

// newSecret makes the file, readable by its owner alone, if there is none. The plugin waits until it appears.
func newSecret(file string) (secret, error) {
	s := secret{file: file}
	_, err := s.read()
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := create(file); err != nil {
		return s, fmt.Errorf("plugin.secretFile %s: %w", file, err)
	}
	_, err = s.read()
	return s, err
}

// create writes a temporary file first: whoever waits for the file must never read half of it, and of two bridges that start
// at once only one may win.
func create(file string) error {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	temporary, err := os.CreateTemp(filepath.Dir(file), ".fairlead-secret-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.WriteString(base64.RawURLEncoding.EncodeToString(random) + "\n")
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (s secret) read() (string, error) {
	info, err := os.Stat(s.file)
	if err != nil {
		return "", fmt.Errorf("plugin.secretFile: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("plugin.secretFile %s: every user may use it (mode %04o): chmod 0600 it", s.file, info.Mode().Perm())
	}
	content, err := os.ReadFile(s.file)
	if err != nil {
		return "", fmt.Errorf("plugin.secretFile: %w", err)
	}
	value := strings.TrimSpace(string(content))
	if len(value) < secretMinimum {
		return "", fmt.Errorf("plugin.secretFile %s: %d characters are too few for a secret, at least %d are needed; delete the file and a new one is made at the next start", s.file, len(value), secretMinimum)
	}
	return value, nil
}

// matches compares in constant time, and digests, so that the length is no hint either.
func (s secret) matches(shown string) (bool, error) {
	want, err := s.read()
	if err != nil {
		return false, err
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(shown))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
}
