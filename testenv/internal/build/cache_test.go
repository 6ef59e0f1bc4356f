package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAThingIsMadeOnceForAllWhoWantItAtTheSameTime(t *testing.T) {
	cache := &Cache{Dir: t.TempDir()}
	var made atomic.Int32
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			path, err := cache.Once(t.Context(), "thing", "key", func(path string) error {
				made.Add(1)
				time.Sleep(50 * time.Millisecond)
				return os.WriteFile(path, []byte("made"), 0o644)
			})
			if content, _ := os.ReadFile(path); err != nil || string(content) != "made" {
				t.Errorf("%q: %v", content, err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

func TestWhatCouldNotBeMadeIsTriedAgain(t *testing.T) {
	cache := &Cache{Dir: t.TempDir()}
	broken := errors.New("broken")
	_, err := cache.Once(t.Context(), "thing", "key", func(path string) error {
		return errors.Join(os.WriteFile(path, []byte("half"), 0o644), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	path, err := cache.Once(t.Context(), "thing", "key", func(path string) error { return os.WriteFile(path, []byte("whole"), 0o644) })
	if content, _ := os.ReadFile(path); err != nil || string(content) != "whole" {
		t.Errorf("%q: %v", content, err)
	}
}

func TestWhatWasNotUsedForLongGoesWhenANewerOneIsMade(t *testing.T) {
	cache := &Cache{Dir: t.TempDir()}
	create := func(path string) error { return os.WriteFile(path, nil, 0o644) }
	var paths []string
	for _, key := range []string{"old", "used"} {
		path, err := cache.Once(t.Context(), "thing", key, create)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	long := time.Now().Add(-2 * keepUnused)
	for _, path := range paths {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cache.Once(t.Context(), "thing", "used", create); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Once(t.Context(), "thing", "new", create); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{paths[0]: false, paths[1]: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	cache := &Cache{Dir: t.TempDir()}
	unlock, err := cache.lock(t.Context(), "thing")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	var told []string
	cache.Tell = func(text string) { told = append(told, text) }
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := cache.lock(ctx, "thing"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if len(told) != 1 || !strings.Contains(told[0], "thing") {
		t.Errorf("told %q, want once what it waits for", told)
	}
}

func TestADigestChangesWithSourcesButNotWithTests(t *testing.T) {
	dir := t.TempDir()
	digest := func() string {
		d, err := Digest([]string{dir}, "flags")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.go", "package a")
	first := digest()
	write("a_test.go", "package a")
	if digest() != first {
		t.Error("a test changed it")
	}
	write("a.sql", "SELECT 1")
	if digest() == first {
		t.Error("a file that may be embedded did not change it")
	}
}

func TestCancellingACommandEndsWhatItStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, dir, nil, "/bin/sh", "-c", "sleep 300 & echo $! >pid; wait")
		ended <- err
	}()
	var pid string
	for deadline := time.Now().Add(5 * time.Second); pid == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		content, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid = strings.TrimSpace(string(content))
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %s is still there", pid)
}

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testenv/kube/go.mod": "k8s.io/kubernetes v" + kubernetesVersion,
		"go.mod":              "k8s.io/kubectl v0." + strings.TrimPrefix(kubectlVersion, "1."),
	} {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), want+"\n") && !strings.Contains(string(content), want+" ") {
			t.Errorf("%s does not require %s: change the version here", path, want)
		}
	}
}

func TestTheProjectsProgramsAreThoseThatExist(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Program{Kube(), Kwok(), Kubectl(), Vault(), Bridge(), Agent(), CLI()} {
		for _, source := range p.Sources {
			if _, err := os.Stat(filepath.Join(root, p.Module, source)); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	}
}

func TestAPomNamesTheRepositoryOnlyIfThereIsOne(t *testing.T) {
	for version, v := range clouddrivers {
		without, with := v.pom(""), v.pom("/some/where")
		if strings.Contains(without, "<repositories>") || !strings.Contains(with, "<url>file:///some/where</url>") {
			t.Errorf("%s:\n%s\n%s", version, without, with)
		}
	}
}

func TestAMissingToolIsNamedWithItsPackages(t *testing.T) {
	t.Setenv("FAIRLEAD_INSTALL", "no")
	cache := &Cache{Dir: t.TempDir()}
	_, err := cache.Tool(t.Context(), Tool{
		Part: "loom", Name: "The loom", Packages: []string{"loom-core"},
		Find: func() (string, error) { return exec.LookPath("no-such-loom") },
	})
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Part != "loom" || !strings.Contains(err.Error(), "apt-get install loom-core") {
		t.Errorf("error %v", err)
	}
}

func TestMavensWordsForAMissingClouddriverAreRecognised(t *testing.T) {
	for text, want := range map[string]string{
		"mvn: exit status 1\n[ERROR] Some problems\n[ERROR] Non-resolvable import POM: io.spinnaker.kork:kork-bom:pom:2026.2.3 was not found": "Non-resolvable import POM: io.spinnaker.kork:kork-bom:pom:2026.2.3 was not found",
		"mvn: exit status 1\n[ERROR] Failed to execute goal: Could not resolve dependencies: io.spinnaker.clouddriver:clouddriver-web:jar":    "Failed to execute goal: Could not resolve dependencies: io.spinnaker.clouddriver:clouddriver-web:jar",
		"mvn: exit status 1\n[ERROR] No space left on device":                                                                                 "",
	} {
		if got := unresolved(errors.New(text)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
