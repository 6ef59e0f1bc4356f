package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// TestAPluginElsewhereIsSetUpByOneCommand calls a real bridge as the plugin does, with what the command wrote.
func TestAPluginElsewhereIsSetUpByOneCommand(t *testing.T) {
	config := bridgetest.Configure(t, storetest.Start(t).Database(t).DSN)
	_, port, _ := net.SplitHostPort(config.Plugin.Address)
	config.Plugin.Address, config.Plugin.SecretFile, config.Plugin.MutualTLS, config.Plugin.TLS.Names = ":"+port, "", true, []string{"fairlead-bridge"}
	b := bridgetest.Run(t, config)
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", b.Config.Admin.TokenFile)
	dir := t.TempDir()
	out, _, err := fairlead(t, "plugin", "certificate", "--dir", dir, "--ttl", "240h")
	if err != nil || !strings.Contains(out, "good for 240h0m0s") {
		t.Fatal(out, err)
	}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".fairlead-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// The Service's name is in the bridge's certificate.
	call := func(files string) (int, string) {
		t.Helper()
		return callAsPlugin(t, "https://fairlead-bridge:"+port, config.Plugin.Address, dir, files)
	}
	if code, said := call(dir); code != http.StatusOK || !strings.Contains(said, `"version":"test"`) {
		t.Errorf("%d %s", code, said)
	}
	if code, said := call(""); code != http.StatusUnauthorized || !strings.Contains(said, "shows no client certificate") {
		t.Errorf("without a certificate: %d %s", code, said)
	}
	if out, _, _ := fairlead(t, "status"); !strings.Contains(out, "of Clouddriver's plugin expires at") {
		t.Errorf("the status does not say that the certificate expires in ten days:\n%s", out)
	}
	out, _, _ = fairlead(t, "token", "list")
	line, _, _ := strings.Cut(out[strings.Index(out, "\n")+1:], "\n")
	id := strings.Fields(line)[0]
	if !strings.Contains(line, "plugin") || !strings.Contains(line, "in 9d") {
		t.Errorf("the list of tokens:\n%s", out)
	}
	if out, _, _ := fairlead(t, "audit", "list"); !strings.Contains(out, "plugin.certificate") || !strings.Contains(out, id) {
		t.Errorf("the trail:\n%s", out)
	}
	if _, _, err := fairlead(t, "token", "revoke", id); err != nil {
		t.Fatal(err)
	}
	if code, said := call(dir); code != http.StatusUnauthorized || !strings.Contains(said, "was revoked") {
		t.Errorf("after the revocation: %d %s", code, said)
	}
	// As a Secret it is the same.
	out, _, err = fairlead(t, "plugin", "certificate", "--secret", "fairlead-plugin")
	var secret struct {
		Kind     string
		Metadata struct{ Name string }
		Data     map[string]string
	}
	if err := yaml.Unmarshal([]byte(out), &secret); err != nil || secret.Kind != "Secret" || secret.Metadata.Name != "fairlead-plugin" || len(secret.Data) != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	mounted := t.TempDir()
	for name, text := range secret.Data {
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mounted, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, said := call(mounted); err != nil || code != http.StatusOK {
		t.Errorf("from the Secret: %d %s %v", code, said, err)
	}
	for want, args := range map[string][]string{
		"--dir, --secret: give one of them":        {},
		"--dir, --secret: give one of them: a dir": {"--dir", dir, "--secret", "x"},
		`"Not_A_Name" is not a name`:               {"--secret", "Not_A_Name"},
		"--dir: open /absent/":                     {"--dir", "/absent"},
		"--ttl: 1m0s is shorter than an hour":      {"--secret", "x", "--ttl", "1m"},
		"is not between 1h and":                    {"--secret", "x", "--ttl", "87600h"},
	} {
		if out, _, err := fairlead(t, append([]string{"plugin", "certificate"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %s, want %q", args, err, out, want)
		}
	}
}

// callAsPlugin asks for the status. The address is dialled whatever the URL's host is; the certificate is that of the files, "" for none.
func callAsPlugin(t *testing.T, url, address, trust, files string) (code int, said string) {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(trust, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AppendCertsFromPEM(ca)
	if files != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(files, "tls.crt"), filepath.Join(files, "tls.key"))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/fairlead.clouddriver.v1.ClouddriverService/GetStatus", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
