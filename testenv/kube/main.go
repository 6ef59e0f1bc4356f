// Command kube is a whole Kubernetes control plane in one binary: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler of one release, for tests that need a real API server with real controllers and nothing of a node.
//
//	kube plane --dir DIR --port N --etcd-port N --etcd-peer-port N
//
// makes certificates, tokens and keys in DIR, starts everything on 127.0.0.1 and, once the API server and its
// controllers answer, writes DIR/kubeconfig: that file's appearance means ready. SIGTERM and SIGINT end it at once; the
// data is thrown away, so nothing is drained. The children die with it, however it ends. --remove=DIR also removes a
// directory then.
//
// etcd runs inside the process; the other three are the binary itself under their usual names
// (kube apiserver|controller-manager|scheduler FLAGS), since each of them owns its process's flags and signals.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fail(2, "usage: kube plane|apiserver|controller-manager|scheduler FLAGS")
	}
	mode := os.Args[1]
	os.Args = append(os.Args[:1:1], os.Args[2:]...)
	switch mode {
	case "plane":
		if err := runPlane(); err != nil {
			fail(1, err.Error())
		}
	case "apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	default:
		fail(2, "unknown mode "+mode)
	}
}

func runPlane() error {
	var p plane
	flags := flag.NewFlagSet("kube plane", flag.ExitOnError)
	flags.StringVar(&p.dir, "dir", "", "directory for certificates, keys and etcd's data")
	flags.IntVar(&p.port, "port", 0, "port of the API server")
	flags.IntVar(&p.etcdPort, "etcd-port", 0, "port of etcd for clients")
	flags.IntVar(&p.etcdPeerPort, "etcd-peer-port", 0, "port of etcd for peers")
	remove := flags.String("remove", "", "directory to remove at the end")
	_ = flags.Parse(os.Args[1:])
	if p.dir == "" || p.port == 0 || p.etcdPort == 0 || p.etcdPeerPort == 0 {
		return fmt.Errorf("kube plane: --dir, --port, --etcd-port and --etcd-peer-port are all needed")
	}
	var err error
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = p.run(ctx)
	if *remove != "" {
		err = errors.Join(err, os.RemoveAll(*remove))
	}
	return err
}

func fail(code int, text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(code)
}
