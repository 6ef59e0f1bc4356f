package support_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/support"
)

func TestSecretsAreTakenOutInEveryForm(t *testing.T) {
	known := "correct horse/battery+staple"
	r := support.NewRedactor(known, "", "ab")
	for name, text := range map[string]string{
		"as it is":        "the password is " + known + ".",
		"base64":          "data: " + base64.StdEncoding.EncodeToString([]byte(known)),
		"in a URL":        "http://h/?x=" + url.QueryEscape(known),
		"enrolment token": "agent sent flt_hunter2hunter2",
		"person's token":  `{"token":"fla_hunter2hunter2"}`,
		"JWT":             "got eyJhbGciOi.eyJzdWIiOi.hunter2 from",
		"Vault token":     "hvs.hunter2hunter2hunter2hunter2",
		"header":          "Authorization: Bearer hunter2hunter2",
		"DSN":             "clouddriver:hunter2@x@tcp(mysql:3306)/clouddriver",
		"URL":             "https://someone:hunter2@git.example/x",
		"private key":     "before -----BEGIN EC PRIVATE KEY-----\nhunter2\nhunter2\n-----END EC PRIVATE KEY----- after",
		"key that is cut": "-----BEGIN PRIVATE KEY-----\nhunter2",
		"JSON":            `{"password": "hunter2", "user": "u"}`,
		"YAML":            "clientSecret: hunter2\nnext: 1",
		"kubeconfig":      "client-key-data: aHVudGVyMg-hunter2",
		"text log":        `time=now msg="x" token=hunter2 account=a`,
		"AWS":             "AKIAHUNTER2HUNTER2",
		"escaped JSON":    `{\"password\":\"hunter2\"}`,
	} {
		got := string(r.Redact([]byte(text)))
		if strings.Contains(strings.ToLower(got), "hunter2") || strings.Contains(got, "battery") || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(known))) || !strings.Contains(got, "«hidden»") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, text := range []string{
		"keyFile: /etc/fairlead/key", "passwordFile: /run/db", `account "prod" is not known`, "see fairlead token list", "abc", "http://spin-fiat:7003/x",
		`sha256:0123 at 127.0.0.1:8082`, "fairlead_bridge_sessions 3", "kubernetes.v2:infrastructure:pod:prod:n:p",
	} {
		if got := string(r.Redact([]byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
