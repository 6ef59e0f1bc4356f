package cluster

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/testenv"
	"k8s.io/client-go/tools/clientcmd/api"
)

// apiServer is a second API server on the shared control plane's storage, that a test may stop and start.
type apiServer struct {
	t         *testing.T
	program   string
	arguments []string
	port      int
	process   *exec.Cmd
}

// secondAPIServer takes the command line of the shared control plane's API server and another port.
func secondAPIServer(t *testing.T) *apiServer {
	t.Helper()
	plane := testenv.Kube(t)
	children, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	s := &apiServer{t: t}
	for _, file := range children {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(plane.PID) {
			continue
		}
		directory := filepath.Dir(file)
		line, err := os.ReadFile(filepath.Join(directory, "cmdline"))
		if err != nil || !strings.Contains(string(line), "apiserver\x00--etcd-servers") {
			continue
		}
		s.arguments = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")[1:]
		if s.program, err = os.Readlink(filepath.Join(directory, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	if s.program == "" {
		t.Skip("needs kube: the API server of the control plane cannot be found")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	for i, a := range s.arguments {
		if strings.HasPrefix(a, "--secure-port=") {
			s.arguments[i] = fmt.Sprintf("--secure-port=%d", s.port)
		}
	}
	t.Cleanup(s.stop)
	s.start()
	return s
}

func (s *apiServer) url() string { return fmt.Sprintf("https://127.0.0.1:%d", s.port) }

func (s *apiServer) start() {
	s.t.Helper()
	s.process = exec.Command(s.program, s.arguments...)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // only whether it answers
	}}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := client.Get(s.url() + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the second API server does not get ready")
		}
	}
}

func (s *apiServer) stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

func (s *apiServer) instead(a *config.Account, k *api.Config) {
	for _, c := range k.Clusters {
		c.Server = s.url()
	}
}
