package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// plane is one control plane; its fields are the command line.
type plane struct {
	dir                          string
	port, etcdPort, etcdPeerPort int
}

func (p plane) file(name string) string { return filepath.Join(p.dir, name) }

func (p plane) server() string {
	return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
}

// run blocks until ctx is done (nil) or one of the parts has ended (its error).
func (p plane) run(ctx context.Context) error {
	started := time.Now()
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	id, err := makeIdentity(p)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	etcd, err := p.startEtcd(ctx)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	fmt.Println("etcd ready after", time.Since(started).Round(time.Millisecond))

	var parts []*exec.Cmd
	ended := make(chan error, 3) // one place per part, so that no waiter is left blocked
	start := func(name string, arguments ...string) error {
		part, err := startPart(name, arguments, ended)
		if err == nil {
			parts = append(parts, part)
		}
		return err
	}
	defer func() {
		// A throw-away cluster: none of the minute-long graceful shutdowns.
		for _, part := range parts {
			_ = part.Process.Kill()
		}
		for range parts {
			<-ended
		}
	}()

	if err := start("apiserver", p.apiserverFlags()...); err != nil {
		return err
	}
	if err := p.await(ctx, id, ended, "/readyz"); err != nil {
		return err
	}
	fmt.Println("apiserver ready after", time.Since(started).Round(time.Millisecond))
	if err := start("controller-manager", p.controllerFlags()...); err != nil {
		return err
	}
	if err := start("scheduler", "--kubeconfig="+p.file("internal.conf"), "--leader-elect=false", "--secure-port=0"); err != nil {
		return err
	}
	// Both are made by controllers: without them a first deploy would race with the cluster's own start.
	for _, path := range []string{"/api/v1/namespaces/default/serviceaccounts/default", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"} {
		if err := p.await(ctx, id, ended, path); err != nil {
			return err
		}
	}
	if err := publishKubeconfig(p, id); err != nil {
		return err
	}
	fmt.Println("kube ready after", time.Since(started).Round(time.Millisecond))

	select {
	case <-ctx.Done():
		return nil
	case <-etcd.Server.StopNotify():
		return errors.New("etcd stopped")
	case err := <-ended:
		ended <- err // for the deferred wait
		return err
	}
}

func (p plane) startEtcd(ctx context.Context) (*embed.Etcd, error) {
	cfg := embed.NewConfig()
	cfg.Dir = p.file("etcd")
	cfg.LogLevel = "warn"
	cfg.UnsafeNoFsync = true // throw-away data
	clients := []url.URL{{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.etcdPort))}}
	peers := []url.URL{{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.etcdPeerPort))}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-etcd.Server.StopNotify():
		return nil, errors.New("stopped before it was ready")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p plane) apiserverFlags() []string {
	return []string{
		"--etcd-servers=http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.etcdPort)),
		"--bind-address=127.0.0.1",
		// Without it the API server looks for a default route, which a sandbox may not have.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--secure-port=" + strconv.Itoa(p.port),
		"--tls-cert-file=" + p.file("apiserver.crt"),
		"--tls-private-key-file=" + p.file("apiserver.key"),
		"--client-ca-file=" + p.file("ca.crt"),
		"--token-auth-file=" + p.file("tokens.csv"),
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.file("sa.pub"),
		"--service-account-signing-key-file=" + p.file("sa.key"),
		"--allow-privileged=true",
		"--event-ttl=30m",
	}
}

func (p plane) controllerFlags() []string {
	return []string{
		"--kubeconfig=" + p.file("internal.conf"),
		"--service-account-private-key-file=" + p.file("sa.key"),
		"--root-ca-file=" + p.file("ca.crt"),
		"--leader-elect=false",
		"--use-service-account-credentials=false",
		"--controllers=*,-nodeipam,-cloud-node-lifecycle",
		"--kube-api-qps=200", "--kube-api-burst=400", // tests wait for it; the default is 20
		"--secure-port=0",
	}
}

// startPart runs this binary as one of its other modes and reports its end on ended.
func startPart(name string, arguments []string, ended chan<- error) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	part := exec.Command(self, append([]string{name}, arguments...)...)
	part.Stdout, part.Stderr = os.Stdout, os.Stderr
	part.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := part.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { ended <- fmt.Errorf("%s ended: %v", name, part.Wait()) }()
	return part, nil
}

// await asks path until it answers 200.
func (p plane) await(ctx context.Context, id *identity, ended chan error, path string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(id.caPEM)
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	defer client.CloseIdleConnections()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.server()+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+id.token)
		if answer, err := client.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return err
		case <-again.C:
		}
	}
}
