package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool is a program that the machine has or that Debian packages bring.
type Tool struct {
	// Part is one word for it; Name is what it is called when it is missing.
	Part, Name string
	// Find returns its path, or an error if it is not there.
	Find func() (string, error)
	// Packages bring it.
	Packages []string
}

// MissingError says what the machine lacks and how to get it.
type MissingError struct {
	// Part is one word for it: mysql, java, maven, clouddriver.
	Part  string
	Text  string
	Cause error
}

func (e *MissingError) Error() string { return e.Text + ": " + e.Cause.Error() }

func (e *MissingError) Unwrap() error { return e.Cause }

func (t Tool) missing(cause error) *MissingError {
	return &MissingError{Part: t.Part, Cause: cause, Text: fmt.Sprintf("%s is missing (on Debian or Ubuntu: apt-get install %s)", t.Name, strings.Join(t.Packages, " "))}
}

// inPath finds a program in PATH or where Debian puts what only root runs.
func inPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, directory := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/libexec"} {
		path := filepath.Join(directory, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in PATH", name)
}

// MariaDB is the server. The core packages are enough and, unlike mariadb-server, start no service of their own.
func MariaDB() Tool {
	return Tool{
		Part: "mysql", Name: "MariaDB's server", Packages: []string{"mariadb-server-core", "mariadb-client-core"},
		Find: func() (string, error) { return inPath("mariadbd") },
	}
}

// MariaDBInstall makes MariaDB's data directories.
func MariaDBInstall() Tool {
	tool := MariaDB()
	tool.Find = func() (string, error) { return inPath("mariadb-install-db") }
	return tool
}

// Maven resolves class paths and builds the plugin.
func Maven() Tool {
	return Tool{
		Part: "maven", Name: "Maven", Packages: []string{"maven", "openjdk-17-jdk-headless"},
		Find: func() (string, error) { return inPath("mvn") },
	}
}

// Java is a Java 17 with its compiler: older ones cannot run Clouddriver 2026.2, newer ones not 1.38.
func Java() Tool {
	return Tool{
		Part: "java", Name: "Java 17", Packages: []string{"openjdk-17-jdk-headless"},
		Find: func() (string, error) {
			candidates, _ := filepath.Glob("/usr/lib/jvm/*17*/bin/java")
			if home := os.Getenv("JAVA_HOME"); home != "" {
				candidates = append([]string{filepath.Join(home, "bin", "java")}, candidates...)
			}
			if path, err := inPath("java"); err == nil {
				candidates = append(candidates, path)
			}
			for _, candidate := range candidates {
				version, err := exec.Command(candidate, "-version").CombinedOutput()
				if err == nil && strings.Contains(string(version), `version "17.`) {
					return candidate, nil
				}
			}
			return "", errors.New("neither JAVA_HOME nor /usr/lib/jvm nor PATH has one")
		},
	}
}

// Tool finds a tool; if it is missing and this is root on a Debian system, it installs it (FAIRLEAD_INSTALL=no keeps it
// from doing so).
func (c *Cache) Tool(ctx context.Context, tool Tool) (string, error) {
	path, err := tool.Find()
	if err == nil {
		return path, nil
	}
	notFound := err
	apt, aptErr := exec.LookPath("apt-get")
	if aptErr != nil || os.Getuid() != 0 || os.Getenv("FAIRLEAD_INSTALL") == "no" {
		return "", tool.missing(notFound)
	}
	unlock, err := c.lock(ctx, "apt")
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, err := tool.Find(); err == nil {
		return path, nil
	}
	c.tell("installs %s", strings.Join(tool.Packages, " "))
	quiet := []string{"DEBIAN_FRONTEND=noninteractive"}
	install := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, tool.Packages...)
	if _, err := Run(ctx, "/", quiet, apt, install...); err != nil {
		// Perhaps only the lists are old or were never fetched.
		if _, err := Run(ctx, "/", quiet, apt, "update", "-qq"); err != nil {
			return "", tool.missing(err)
		}
		if _, err := Run(ctx, "/", quiet, apt, install...); err != nil {
			return "", tool.missing(err)
		}
	}
	if path, err = tool.Find(); err != nil {
		return "", tool.missing(err)
	}
	return path, nil
}
