package credentials

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead/fairlead/agent/internal/cloud"
	"github.com/fairlead/fairlead/agent/internal/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubeconfig is one with a user and two contexts.
func kubeconfig(t *testing.T, server string, user *clientcmdapi.AuthInfo) []byte {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: server, InsecureSkipTLSVerify: true}
	c.AuthInfos["u"] = user
	c.Contexts["first"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.Contexts["second"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: "ns"}
	c.CurrentContext = "first"
	content, err := clientcmd.Write(*c)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func exec(command string, arguments ...string) *clientcmdapi.AuthInfo {
	return &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", Command: command, Args: arguments, InteractiveMode: clientcmdapi.NeverExecInteractiveMode}}
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, content, 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// seen asks a server with an Access, and returns the Authorization header that arrived.
func seen(t *testing.T, access *Access) string {
	t.Helper()
	client, err := rest.HTTPClientFor(access.Config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(access.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	return string(body)
}

// echo answers with the credentials that it was shown.
func echo(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) }))
	t.Cleanup(s.Close)
	return s.URL
}

func TestContextAndNamespaceAreTheKubeconfigs(t *testing.T) {
	content := kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{Token: "t"})
	for context, namespace := range map[string]string{"": "default", "first": "default", "second": "ns"} {
		access, _, err := Policy{}.parse(content, context, "")
		if err != nil || access.Namespace != namespace || access.Config.BearerToken != "t" {
			t.Errorf("%q: %+v %v", context, access, err)
		}
	}
	if _, _, err := (Policy{}).parse(content, "third", ""); err == nil || !strings.Contains(err.Error(), `no context "third"`) {
		t.Error(err)
	}
}

func TestKubeconfigsThatAreNoneAreRefusedWithoutBeingQuoted(t *testing.T) {
	for _, content := range []string{"", "secret-in-nonsense: [", "{}", "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: gone}}]", "\x00\xff", "apiVersion: v2\nkind: Secret\n"} {
		if _, _, err := (Policy{}).parse([]byte(content), "", "/"); err == nil || strings.Contains(err.Error(), "secret-in") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestAKubeconfigThatIsASecretNamesNoFiles(t *testing.T) {
	for field, user := range map[string]*clientcmdapi.AuthInfo{
		"tokenFile":          {TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token"},
		"client-key":         {ClientKey: "/etc/shadow", ClientCertificateData: []byte("x")},
		"client-certificate": {ClientCertificate: "relative.pem"},
	} {
		content := kubeconfig(t, "https://api", user)
		if _, _, err := (Policy{}).parse(content, "", ""); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
		if _, files, _ := (Policy{}).parse(content, "", "/dir"); len(files) != 1 || !filepath.IsAbs(files[0]) {
			t.Errorf("%s: in a file it names %v", field, files)
		}
	}
}

func TestProgramsRunOnlyWhereTheyAreAllowed(t *testing.T) {
	server := echo(t)
	program := write(t, t.TempDir(), "get-token", []byte("#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"of-the-program\"}}'\n"))
	content := kubeconfig(t, server, exec(program))
	_, _, err := Policy{}.parse(content, "", "/")
	if err == nil || !strings.Contains(err.Error(), program+" may not be run") || !strings.Contains(err.Error(), "kubernetes.execPlugins") {
		t.Errorf("%v", err)
	}
	for _, allowed := range []string{program, "get-token"} {
		access, _, err := Policy{ExecPlugins: []string{allowed}}.parse(content, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := seen(t, access); got != "Bearer of-the-program" {
			t.Errorf("allowed as %s: the server saw %q", allowed, got)
		}
	}
}

func TestTokensOfManagedClustersNeedNoProgram(t *testing.T) {
	entra := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token": "of-entra", "expires_in": 3600}`)
	}))
	defer entra.Close()
	clouds := cloud.New(func(name string) string {
		return map[string]string{"AZURE_AUTHORITY_HOST": entra.URL, "AZURE_CLIENT_SECRET": "s", "AWS_REGION": "eu-west-1"}[name]
	})
	p := Policy{Cloud: clouds}
	access, _, err := p.parse(kubeconfig(t, echo(t), exec("kubelogin", "get-token", "--environment", "AzurePublicCloud", "--server-id", "id", "--client-id", "c", "--tenant-id=t", "--login", "spn")), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := seen(t, access); got != "Bearer of-entra" {
		t.Errorf("the server saw %q", got)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	for _, user := range []*clientcmdapi.AuthInfo{
		exec("aws", "--region", "eu-west-1", "eks", "get-token", "--cluster-name", "prod", "--output", "json"),
		exec("/usr/local/bin/aws-iam-authenticator", "token", "-i", "prod"),
	} {
		access, _, err := p.parse(kubeconfig(t, echo(t), user), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := seen(t, access); !strings.HasPrefix(got, "Bearer k8s-aws-v1.") {
			t.Errorf("%s: the server saw %q", user.Exec.Command, got)
		}
	}
	if access, _, err := p.parse(kubeconfig(t, "https://api", exec("gke-gcloud-auth-plugin")), "", ""); err != nil || access.Config.WrapTransport == nil {
		t.Error(err)
	}
	for want, user := range map[string]*clientcmdapi.AuthInfo{
		"argument --debug is not understood":      exec("aws", "eks", "get-token", "--cluster-name", "x", "--debug"),
		"these arguments are not understood":      exec("aws", "s3", "rm", "--region", "x"),
		"no cluster is named":                     exec("aws", "eks", "get-token"),
		"argument --cluster-name lacks its value": exec("aws", "eks", "get-token", "--cluster-name"),
		`kubelogin --login "devicecode"`:          exec("kubelogin", "get-token", "--server-id", "x", "--login", "devicecode"),
	} {
		if _, _, err := p.parse(kubeconfig(t, "https://api", user), "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// follow runs a keeper until the test ends; it returns where its Accesses come.
func follow(t *testing.T, k *Keeper) <-chan *Access {
	t.Helper()
	came := make(chan *Access, 100)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx, func(a *Access) { came <- a }) })
	t.Cleanup(func() { stop(); running.Wait() })
	return came
}

func next(t *testing.T, came <-chan *Access) *Access {
	t.Helper()
	select {
	case a := <-came:
		return a
	case <-time.After(30 * time.Second):
		t.Fatal("waited in vain for another Access")
		return nil
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestAFileIsReadAgainWhenItOrWhatItNamesChanges(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "token", []byte("one"))
	file := write(t, dir, "kubeconfig", kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{TokenFile: "token"}))
	k := New("a", Spec{File: file}, Options{})
	came := follow(t, k)
	if a := next(t, came); a.Config.BearerTokenFile != filepath.Join(dir, "token") {
		t.Errorf("token file %s", a.Config.BearerTokenFile)
	}
	write(t, dir, "token", []byte("two"))
	k.Poke()
	next(t, came)

	write(t, dir, "kubeconfig", []byte("nonsense"))
	eventually(t, "the problem is told", func() bool { _, problem := k.Current(); return strings.Contains(problem, file+": ") })
	if a, _ := k.Current(); a == nil || a.Config.Host != "https://api" {
		t.Error("the last good one is gone")
	}
	write(t, dir, "kubeconfig", kubeconfig(t, "https://other", &clientcmdapi.AuthInfo{Token: "t"}))
	if a := next(t, came); a.Config.Host != "https://other" {
		t.Error(a.Config.Host)
	}
	if _, problem := k.Current(); problem != "" {
		t.Error(problem)
	}
}

// A rotation between two reads of the file must not leave the former credentials under the mark of the later ones: it would never be noticed.
func TestWhatWasReadOfAFileIsWhatItsMarkIsOf(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "kubeconfig") // each read takes what was written, and no file can change between two of them
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	k := New("a", Spec{File: pipe}, Options{})
	for _, token := range []string{"first", "rotated"} {
		content := kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{Token: token})
		written := make(chan error, 1)
		go func() { written <- os.WriteFile(pipe, content, 0o600) }()
		looked := make(chan bool, 1)
		go func() {
			_, other := k.Look(t.Context())
			looked <- other
		}()
		select {
		case other := <-looked:
			if access, problem := k.Current(); !other || problem != "" || access.Config.BearerToken != token {
				t.Errorf("%s: %v %q", token, other, problem)
			}
		case <-time.After(10 * time.Second):
			t.Error("the file is read twice")
			// Whoever waits for a writer is let go.
			if err := os.WriteFile(pipe, content, 0o600); err != nil {
				t.Fatal(err)
			}
			<-looked
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileThatDoesNotChangeIsNotReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "kubeconfig", kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{Token: "t"}))
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, past, past); err != nil {
		t.Fatal(err)
	}
	s := &source{spec: Spec{File: file}}
	for i, want := range []bool{true, true, false, false} { // the second one has learned which files there are
		if a, err := s.read(t.Context()); err != nil || (a != nil) != want {
			t.Errorf("look %d: %v %v", i, a, err)
		}
	}
}

func TestASecretThatCannotBeReadKeepsTheLastGoodAccess(t *testing.T) {
	var mu sync.Mutex
	content, away := kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{Token: "one"}), false
	// A stand-in for GCS: package secrets has its tests on the real Vault.
	gcs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(content)
	}))
	defer gcs.Close()
	reader, err := secrets.New(secrets.Options{Cloud: cloud.New(func(name string) string { return map[string]string{"STORAGE_EMULATOR_HOST": gcs.URL}[name] })})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := secrets.Parse("encryptedFile:gcs!b:b!f:f")
	if err != nil {
		t.Fatal(err)
	}
	k := New("a", Spec{Secret: &ref}, Options{Secrets: reader, Refresh: 10 * time.Millisecond})
	came := follow(t, k)
	if a := next(t, came); a.Config.BearerToken != "one" {
		t.Error(a.Config.BearerToken)
	}
	mu.Lock()
	away = true
	mu.Unlock()
	eventually(t, "the problem is told", func() bool { _, problem := k.Current(); return strings.Contains(problem, "503") })
	if a, _ := k.Current(); a == nil || a.Config.BearerToken != "one" {
		t.Error("the last good one is gone")
	}
	mu.Lock()
	away, content = false, kubeconfig(t, "https://api", &clientcmdapi.AuthInfo{Token: "two"})
	mu.Unlock()
	if a := next(t, came); a.Config.BearerToken != "two" {
		t.Error(a.Config.BearerToken)
	}
}
