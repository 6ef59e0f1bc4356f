package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/agent/internal/secrets"
)

func TestKubeconfigsMayBeSecrets(t *testing.T) {
	for key, value := range map[string]string{
		"kubeconfigFile":     "encryptedFile:vault!k:config!e:secret!n:kubernetes",
		"kubeConfigFile":     "encryptedFile:vault!e:secret!p:kubernetes!k:config",
		"kubeconfigContents": "encryptedFile:vault!e:secret!p:kubernetes!k:config",
	} {
		c := newEnvironment(t).mustLoad("secrets: {vault: {enabled: true, url: 'https://vault:8200', authMethod: KUBERNETES, role: r}}\nkubernetes: {accounts: [{name: a, context: other, " + key + ": '" + value + "'}]}")
		if len(c.Accounts) != 1 || c.Accounts[0].KubeconfigFile != "" || c.Accounts[0].KubeconfigSecret.String() != "encryptedFile:vault!e:secret!p:kubernetes!k:config" {
			t.Errorf("%s: %+v %v", key, c.Accounts, c.Refused)
		}
	}
}

func TestVaultIsConfiguredAsInTheReplacedProductAndMore(t *testing.T) {
	for _, c := range []struct {
		text string
		want *secrets.Vault
	}{
		{"", nil},
		{"{enabled: false, url: 'nonsense', authMethod: x}", nil},
		{"{enabled: true, authMethod: KUBERNETES, url: 'https://v:8200', role: spinnaker, path: kubernetes}",
			&secrets.Vault{URL: "https://v:8200", Login: secrets.Login{Method: secrets.MethodKubernetes, Role: "spinnaker", Mount: "kubernetes"}}},
		{"{enabled: true, authMethod: TOKEN, url: 'https://v:8200', namespace: admin/x}",
			&secrets.Vault{URL: "https://v:8200", Namespace: "admin/x", Login: secrets.Login{Method: secrets.MethodToken, Secret: "of the environment"}}},
		{"{url: 'https://v:8200', authMethod: userpass, username: u, password: p, userAuthPath: users/}",
			&secrets.Vault{URL: "https://v:8200", Login: secrets.Login{Method: secrets.MethodUserpass, Username: "u", Secret: "p", Mount: "users"}}},
		{"{url: 'https://v:8200', authMethod: AppRole, roleId: r, secretIdFile: file:///s, tls: {serverName: vault}}",
			&secrets.Vault{URL: "https://v:8200", TLS: secrets.VaultTLS{ServerName: "vault"}, Login: secrets.Login{Method: secrets.MethodAppRole, RoleID: "r", SecretFile: "/s"}}},
	} {
		e := newEnvironment(t)
		e.variables["VAULT_TOKEN"] = " of the environment\n"
		text := "secrets: {refreshSeconds: 7}"
		if c.text != "" {
			text = "secrets: {refreshSeconds: 7, vault: " + c.text + "}"
		}
		got := e.mustLoad(text).Secrets
		if diff := cmp.Diff(Secrets{Refresh: 7 * time.Second, Vault: c.want}, got); diff != "" {
			t.Errorf("%s\n%s", c.text, diff)
		}
	}
}

func TestWhatIsMissingForVaultIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"{enabled: true}": "secrets.vault.authMethod: \"\": want one of [KUBERNETES TOKEN USERPASS APPROLE]",
		"{url: 'https://v', authMethod: KUBERNETES}":                                              "secrets.vault.role: missing",
		"{url: 'https://v', authMethod: TOKEN}":                                                   "VAULT_TOKEN",
		"{url: 'https://v', authMethod: USERPASS, username: u}":                                   "passwordFile or password",
		"{url: 'https://v', authMethod: APPROLE, roleId: u}":                                      "secretIdFile or secretId",
		"{url: 'v:8200', authMethod: KUBERNETES, role: r}":                                        "secrets.vault.url: \"v:8200\": want https://HOST:PORT",
		"{url: 'https://v', authMethod: KUBERNETES, role: r, tls: {cacertFile: /nonexistent/ca}}": "/nonexistent/ca",
	} {
		_, err := newEnvironment(t).load("secrets: {vault: " + text + "}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := newEnvironment(t).load("secrets: {refreshSeconds: 0}"); err == nil || !strings.Contains(err.Error(), "secrets.refreshSeconds: 0: want 1 to 86400") {
		t.Error(err)
	}
}

func TestDangerousWaysToVaultAreSaid(t *testing.T) {
	c := newEnvironment(t).mustLoad("secrets: {vault: {url: 'http://v', authMethod: KUBERNETES, role: r, tls: {insecureSkipVerify: true}}}")
	var keys []string
	for _, n := range c.Notes {
		if n.Warning {
			keys = append(keys, n.Key)
		}
	}
	if diff := cmp.Diff([]string{"secrets.vault.tls.insecureSkipVerify", "secrets.vault.url"}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestAnAccountWhoseKubeconfigIsInAVaultThatNobodyConfiguredIsRefused(t *testing.T) {
	e := newEnvironment(t)
	e.write("agent.yml", `
clouddriver: {grpc: "bridge:9091", tls: {pin: "sha256:`+strings.Repeat("a", 64)+`"}}
kubernetes: {accounts: [{name: a, kubeconfigFile: 'encryptedFile:vault!e:secret!p:x!k:k'}, {name: b, kubeconfigFile: 'encryptedFile:k8s!n:s!k:k'}]}
`)
	c, err := Load(Options{File: filepath.Join(e.root, "agent.yml"), Getenv: e.getenv})
	if err != nil || len(c.Accounts) != 1 || c.Accounts[0].Name != "b" || len(c.Refused) != 1 || !strings.Contains(c.Refused[0].Err.Error(), "set secrets.vault.enabled, url and authMethod") {
		t.Errorf("%+v, %v", c, err)
	}
}
