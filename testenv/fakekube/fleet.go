package fakekube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Fleet is the API servers of many clusters behind one listener.
type Fleet struct {
	listener    net.Listener
	certificate tls.Certificate
	ca          []byte
	token       string

	mu       sync.Mutex
	clusters map[string]*Cluster
	// connections by the cluster that was last asked for on them.
	connections map[net.Conn]string
}

// New makes a fleet without clusters that listens on a free port of the loopback address. Run serves it.
func New() (*Fleet, error) {
	f := &Fleet{clusters: map[string]*Cluster{}, connections: map[net.Conn]string{}, token: rand.Text()}
	if err := f.makeCertificate(); err != nil {
		return nil, err
	}
	var err error
	f.listener, err = net.Listen("tcp", "127.0.0.1:0")
	return f, err
}

// Start runs a fleet for a test.
func Start(t testing.TB) *Fleet {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// Run serves until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	server := &http.Server{
		Handler:           f,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{f.certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that go away in the middle are what it is for
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				f.mu.Lock()
				delete(f.connections, c)
				f.mu.Unlock()
			}
		},
	}
	g.Go(func() error {
		if err := server.ServeTLS(f.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}

type connectionKey struct{}

// Add makes a cluster with nothing in it but its namespaces. The name becomes a part of its URL.
func (f *Fleet) Add(name string) *Cluster {
	c := newCluster(f, name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clusters[name] = c
	return c
}

// URL is the cluster's API server.
func (c *Cluster) URL() string {
	return "https://" + c.fleet.listener.Addr().String() + "/clusters/" + c.Name
}

// Kubeconfig is a file with which everything may be done in the cluster.
func (c *Cluster) Kubeconfig() ([]byte, error) {
	return clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{"fake": {Server: c.URL(), CertificateAuthorityData: c.fleet.ca}},
		AuthInfos:      map[string]*api.AuthInfo{"fake": {Token: c.fleet.token}},
		Contexts:       map[string]*api.Context{"fake": {Cluster: "fake", AuthInfo: "fake"}},
		CurrentContext: "fake",
	})
}

// Sever resets every connection to the cluster, and with them its watches.
func (c *Cluster) Sever() {
	c.fleet.mu.Lock()
	var severed []net.Conn
	for connection, name := range c.fleet.connections {
		if name == c.Name {
			severed = append(severed, connection)
		}
	}
	c.fleet.mu.Unlock()
	for _, connection := range severed {
		reset(connection)
	}
}

// reset closes a connection as a process that dies does.
func reset(connection net.Conn) {
	if secure, ok := connection.(*tls.Conn); ok {
		connection = secure.NetConn()
	}
	if plain, ok := connection.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
	_ = connection.Close()
}

// ServeHTTP implements http.Handler for all clusters.
func (f *Fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/clusters/"), "/")
	connection, _ := r.Context().Value(connectionKey{}).(net.Conn)
	f.mu.Lock()
	c := f.clusters[name]
	if c != nil && connection != nil {
		f.connections[connection] = name
	}
	f.mu.Unlock()
	switch {
	case c == nil:
		http.NotFound(w, r)
	case r.Header.Get("Authorization") != "Bearer "+f.token:
		refuse(w, unauthorized())
	default:
		c.serve(w, r, "/"+path, connection)
	}
}

// makeCertificate makes the fleet's certificate, which is its own authority.
func (f *Fleet) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fakekube"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	f.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return nil
}
