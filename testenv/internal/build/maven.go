package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// clouddriver is one generation of Clouddriver that environments can have.
type clouddriver struct {
	// release is Spinnaker's number; boms are imported in that order; artifacts are what the class path starts from.
	release         string
	boms, artifacts []string
}

// The two generations: the last with Spring Boot 2 and javax, and the newest with Spring Boot 3 and jakarta.
var clouddrivers = map[string]clouddriver{
	"1.38": {
		release: "1.38",
		// It pins two artifacts of kork that kork's own list has in versions that were never published: first one wins.
		boms: []string{"io.spinnaker.clouddriver:clouddriver-bom:5.95.0"},
		artifacts: []string{
			"io.spinnaker.clouddriver:clouddriver-web:5.95.0", "io.spinnaker.clouddriver:clouddriver-kubernetes:5.95.0",
			"io.spinnaker.clouddriver:clouddriver-sql:5.95.0", "io.spinnaker.clouddriver:clouddriver-sql-mysql:5.95.0",
		},
	},
	"2026.2": {
		release:   "2026.2.3",
		boms:      []string{"io.spinnaker.kork:kork-bom:2026.2.3"},
		artifacts: []string{"io.spinnaker.clouddriver:clouddriver-web:2026.2.3"},
	},
}

// ClouddriverVersions are the versions that ClouddriverClassPath knows, oldest first.
func ClouddriverVersions() []string {
	var versions []string
	for version := range clouddrivers {
		versions = append(versions, version)
	}
	sort.Strings(versions)
	return versions
}

// ClouddriverRelease is Spinnaker's full number of a version.
func ClouddriverRelease(version string) string { return clouddrivers[version].release }

// repository is the Maven repository layout with Clouddriver's artifacts: the one named by
// FAIRLEAD_CLOUDDRIVER_REPOSITORY, or the one beside the project; "" if there is none.
func (c *Cache) repository() (string, error) {
	if given := os.Getenv("FAIRLEAD_CLOUDDRIVER_REPOSITORY"); given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("FAIRLEAD_CLOUDDRIVER_REPOSITORY: %w", err)
		}
		return filepath.Abs(given)
	}
	beside := filepath.Join(c.Root, "..", "shared", "clouddriver", "maven")
	if _, err := os.Stat(beside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", err
	}
	return beside, nil
}

// pom is a project whose only purpose is its class path.
func (v clouddriver) pom(repository string) string {
	var b strings.Builder
	line := func(format string, arguments ...any) { _, _ = fmt.Fprintf(&b, format+"\n", arguments...) }
	coordinates := func(artifact string) string {
		parts := strings.Split(artifact, ":")
		return fmt.Sprintf("<groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>", parts[0], parts[1], parts[2])
	}
	line(`<project xmlns="http://maven.apache.org/POM/4.0.0">`)
	line(`<modelVersion>4.0.0</modelVersion><groupId>io.fairlead.testenv</groupId><artifactId>clouddriver-class-path</artifactId>`)
	line(`<version>%s</version><packaging>pom</packaging>`, v.release)
	if repository != "" {
		line(`<repositories><repository><id>clouddriver-layout</id><url>file://%s</url><snapshots><enabled>false</enabled></snapshots></repository></repositories>`, repository)
	}
	line(`<dependencyManagement><dependencies>`)
	for _, bom := range v.boms {
		line(`<dependency>%s<type>pom</type><scope>import</scope></dependency>`, coordinates(bom))
	}
	line(`</dependencies></dependencyManagement><dependencies>`)
	for _, artifact := range v.artifacts {
		// The old servlet API would shadow the one that Spring Boot's Tomcat brings.
		line(`<dependency>%s<exclusions><exclusion><groupId>javax.servlet</groupId><artifactId>servlet-api</artifactId></exclusion></exclusions></dependency>`, coordinates(artifact))
	}
	line(`</dependencies></project>`)
	return b.String()
}

// ClouddriverClassPath resolves the class path of a Clouddriver with the Kubernetes provider and SQL.
func (c *Cache) ClouddriverClassPath(ctx context.Context, version string) (classPath string, err error) {
	v, known := clouddrivers[version]
	if !known {
		return "", fmt.Errorf("no Clouddriver %q: know %s", version, strings.Join(ClouddriverVersions(), " and "))
	}
	repository, err := c.repository()
	if err != nil {
		return "", err
	}
	pom := v.pom(repository)
	key, err := Digest(nil, pom)
	if err != nil {
		return "", err
	}
	resolve := func(path string) error { return c.resolve(ctx, v, pom, path) }
	for range 2 {
		path, err := c.Once(ctx, "class-path-"+version, key, resolve)
		if err != nil {
			return "", err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		classPath = strings.TrimSpace(string(content))
		if complete(classPath) {
			return classPath, nil
		}
		// Somebody emptied Maven's local repository.
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("class path of Clouddriver %s names files that Maven did not leave in its local repository", v.release)
}

func complete(classPath string) bool {
	for _, jar := range filepath.SplitList(classPath) {
		if _, err := os.Stat(jar); err != nil {
			return false
		}
	}
	return classPath != ""
}

func (c *Cache) resolve(ctx context.Context, v clouddriver, pom, path string) error {
	maven, err := c.Tool(ctx, Maven())
	if err != nil {
		return err
	}
	c.tell("resolves the class path of Clouddriver %s with Maven, about 400 jars", v.release)
	directory, err := os.MkdirTemp(c.Dir, "resolve-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	if err := os.WriteFile(filepath.Join(directory, "pom.xml"), []byte(pom), 0o644); err != nil {
		return err
	}
	java, err := c.javaHome(ctx)
	if err != nil {
		return err
	}
	_, err = Run(ctx, directory, java, maven, "-B", "-q", "-Dstyle.color=never", "dependency:build-classpath", "-Dmdep.outputFile="+path)
	if missing := unresolved(err); missing != "" && ctx.Err() == nil {
		return &MissingError{Part: "clouddriver", Cause: errors.New(missing), Text: "Clouddriver " + v.release + " is missing: its artifacts are neither in " +
			"../shared/clouddriver/maven beside the repository nor in the configured Maven repositories; name a repository layout with " +
			"FAIRLEAD_CLOUDDRIVER_REPOSITORY, or do without one (--clouddriver none)"}
	}
	return err
}

// unresolved returns what Maven said about an artifact of Spinnaker that it did not find; empty if that was not the
// problem.
func unresolved(err error) string {
	if err == nil {
		return ""
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if strings.Contains(line, "io.spinnaker") && (strings.Contains(line, "resolv") || strings.Contains(line, "find")) {
			return strings.TrimSpace(strings.TrimPrefix(line, "[ERROR]"))
		}
	}
	return ""
}

// PluginJar builds the plugin and returns its jar. It is built from a copy of the sources, so that a build in the tree is
// not disturbed.
func (c *Cache) PluginJar(ctx context.Context) (string, error) {
	const module, jar = "plugin-descriptor", "fairlead-clouddriver-plugin.jar"
	sources := filepath.Join(c.Root, module)
	key, err := Digest([]string{filepath.Join(sources, "pom.xml"), filepath.Join(sources, "src", "main")})
	if err != nil {
		return "", err
	}
	return c.Once(ctx, "plugin", key+".jar", func(path string) error {
		maven, err := c.Tool(ctx, Maven())
		if err != nil {
			return err
		}
		c.tell("builds the plugin with Maven")
		directory, err := os.MkdirTemp(c.Dir, "plugin-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(directory) }()
		if err := os.CopyFS(filepath.Join(directory, "src", "main"), os.DirFS(filepath.Join(sources, "src", "main"))); err != nil {
			return err
		}
		pom, err := os.ReadFile(filepath.Join(sources, "pom.xml"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(directory, "pom.xml"), pom, 0o644); err != nil {
			return err
		}
		java, err := c.javaHome(ctx)
		if err != nil {
			return err
		}
		if _, err := Run(ctx, directory, java, maven, "-B", "-q", "-Dstyle.color=never", "-Dmaven.test.skip=true", "package"); err != nil {
			return err
		}
		return os.Rename(filepath.Join(directory, "target", jar), path)
	})
}

// javaHome is the environment that makes Maven use Java 17.
func (c *Cache) javaHome(ctx context.Context) ([]string, error) {
	java, err := c.Tool(ctx, Java())
	if err != nil {
		return nil, err
	}
	if java, err = filepath.EvalSymlinks(java); err != nil {
		return nil, err
	}
	return []string{"JAVA_HOME=" + filepath.Dir(filepath.Dir(java))}, nil
}
