package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/testenv/internal/process"
)

// DockerMissing says why there is no Docker; nil: it answers.
func DockerMissing(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		return fmt.Errorf("docker info: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inContainer is a static program as a container: an image of nothing else, on the host's network and with the process's directory, so that it is
// reached as the process would be. Docker's client passes signals on.
func inContainer(ctx context.Context, spec process.Spec) (process.Spec, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return spec, err
	}
	image, err := buildImage(ctx, docker, spec)
	if err != nil {
		return spec, err
	}
	arguments := []string{docker, "run", "--rm", "--network", "host", "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "--volume", spec.Dir + ":" + spec.Dir,
		// By it the process is known as one of the environment's, if the client is killed.
		"--env", process.MarkVariable}
	for _, variable := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if value, set := os.LookupEnv(variable); set {
			spec.Env = append(spec.Env, variable+"="+value)
		}
	}
	spec.Args = append(append(arguments, image), spec.Args[1:]...)
	return spec, nil
}

// buildImage makes an image of one program.
func buildImage(ctx context.Context, docker string, spec process.Spec) (image string, err error) {
	dir, err := os.MkdirTemp("", "fairlead-image-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, err := os.ReadFile(spec.Args[0])
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "program"), program, 0o755); err != nil { //nolint:gosec // a program
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n"), 0o600); err != nil {
		return "", err
	}
	image = "fairlead-testenv/" + spec.Name + ":local"
	build := exec.CommandContext(ctx, docker, "build", "--quiet", "--tag", image, dir) //nolint:gosec // Docker's own program
	build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")                              // needs no program beside Docker's
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("docker build %s: %w: %s", image, err, out)
	}
	return image, nil
}
