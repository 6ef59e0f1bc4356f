package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// keepUnused is how long the older versions of a thing stay after a newer one was made.
const keepUnused = 14 * 24 * time.Hour

// Cache makes things once.
type Cache struct {
	// Root is the repository.
	Root string
	// Dir is where things are kept.
	Dir string
	// Tell, if set, is called when something that takes long begins.
	Tell func(text string)
}

// Open finds the repository and the cache.
func Open() (*Cache, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	dir := os.Getenv("FAIRLEAD_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			// No HOME, as under some service managers.
			user = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
		}
		dir = filepath.Join(user, "fairlead")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return &Cache{Root: root, Dir: dir}, os.MkdirAll(dir, 0o755)
}

// Root finds the repository: above the working directory, or above the program's own file (bin/testenv).
func Root() (string, error) {
	var starts []string
	if directory, err := os.Getwd(); err == nil {
		starts = append(starts, directory)
	}
	if program, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(program))
	}
	for _, start := range starts {
		for directory := start; ; directory = filepath.Dir(directory) {
			content, err := os.ReadFile(filepath.Join(directory, "go.mod"))
			if err == nil && strings.HasPrefix(string(content), "module github.com/fairlead/fairlead\n") {
				return directory, nil
			}
			if directory == filepath.Dir(directory) {
				break
			}
		}
	}
	return "", errors.New("the repository is neither above the working directory nor above this program's file: start it from within a clone")
}

func (c *Cache) tell(format string, arguments ...any) {
	if c.Tell != nil {
		c.Tell(fmt.Sprintf(format, arguments...))
	}
}

// Once returns the path of a thing called name made of what key is the digest of; if it is not there, it calls create
// with a path to make it at, under a lock that other programs respect.
func (c *Cache) Once(ctx context.Context, name, key string, create func(path string) error) (string, error) {
	directory := filepath.Join(c.Dir, name)
	path := filepath.Join(directory, key)
	if fresh(path) {
		return path, nil
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if fresh(path) {
		return path, nil
	}
	part := path + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if err := create(part); err != nil {
		_ = os.RemoveAll(part)
		return "", err
	}
	if err := os.Rename(part, path); err != nil {
		return "", err
	}
	return path, prune(directory, path)
}

// fresh tells whether path is there, and marks it as used.
func fresh(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// prune removes what has not been used for long.
func prune(directory, but string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		info, err := entry.Info()
		if err != nil || path == but || time.Since(info.ModTime()) < keepUnused {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// lock takes the lock of that name; it says so if somebody else has it.
func (c *Cache) lock(ctx context.Context, name string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(c.Dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for told := false; ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if !told {
			c.tell("waits for %s, which another program is making", name)
			told = true
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// Digest is a short digest of words and of the contents of all files at or below paths; testdata and tests do not count.
func Digest(paths []string, words ...string) (string, error) {
	sum := sha256.New()
	for _, word := range words {
		_, _ = fmt.Fprintf(sum, "%q\n", word)
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "target"):
				return filepath.SkipDir
			case entry.IsDir(), !entry.Type().IsRegular(), strings.HasSuffix(file, "_test.go"):
				return nil
			}
			relative, _ := filepath.Rel(path, file)
			_, _ = fmt.Fprintf(sum, "%q\n", relative)
			content, err := os.Open(file)
			if err != nil {
				return err
			}
			defer func() { _ = content.Close() }()
			_, err = io.Copy(sum, content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:20], nil
}
