package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/process"
)

// kube is one control plane (testenv/kube).
type kube struct {
	dir                          string
	port, etcdPort, etcdPeerPort int
}

func newKube(dir string) (*kube, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	return &kube{dir: dir, port: ports[0], etcdPort: ports[1], etcdPeerPort: ports[2]}, os.MkdirAll(dir, 0o700)
}

func (k *kube) spec(program, log string) process.Spec {
	return process.Spec{
		Name: "kube", Dir: k.dir, Log: log,
		Args: []string{
			program, "plane", "--dir=" + k.dir, "--port=" + strconv.Itoa(k.port),
			"--etcd-port=" + strconv.Itoa(k.etcdPort), "--etcd-peer-port=" + strconv.Itoa(k.etcdPeerPort),
		},
	}
}

// kubeconfig is the file of an administrator; it appears when the cluster is ready.
func (k *kube) kubeconfig() string { return filepath.Join(k.dir, "kubeconfig") }

func (k *kube) ready(ctx context.Context, p *process.Process) error {
	return awaitPart(ctx, p, 3*time.Minute, func(context.Context) error {
		if _, err := os.Stat(k.kubeconfig()); err != nil {
			return fmt.Errorf("the API server and its controllers are starting: %w", err)
		}
		return nil
	})
}
