package dynamic

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

const plain = `apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: a, cluster: {server: "https://a.example.com:6443", certificate-authority-data: QUFB}}
- {name: b, cluster: {server: "https://b.example.com", certificate-authority: /etc/ca}}
users:
- {name: a, user: {token: s3cret-a}}
- {name: b, user: {exec: {command: /bin/sh, apiVersion: client.authentication.k8s.io/v1}}}
contexts:
- {name: a, context: {cluster: a, user: a, namespace: shop}}
- {name: b, context: {cluster: b, user: b}}
`

func TestOfAKubeconfigOnlyTheChosenContextIsKept(t *testing.T) {
	for _, content := range []string{plain, base64.StdEncoding.EncodeToString([]byte(plain))} {
		narrow, err := Narrow([]byte(content), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(narrow); strings.Contains(text, "b.example.com") || !strings.Contains(text, "s3cret-a") || !strings.Contains(text, "namespace: shop") {
			t.Errorf("%s", text)
		}
		if again, err := Narrow(narrow, "", nil); err != nil || string(again) != string(narrow) {
			t.Errorf("narrowed again: %v\n%s", err, again)
		}
	}
}

func TestKubeconfigsThatAreNotInlineAreRefusedByFieldAndWithoutQuotingThem(t *testing.T) {
	with := func(cluster, user string) string {
		return `{"current-context":"c","clusters":[{"name":"c","cluster":{` + cluster + `}}],"users":[{"name":"u","user":{` + user + `}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`
	}
	const server, token = `"server":"https://a"`, `"token":"s3cret"`
	for _, c := range []struct {
		content, context string
		servers          []string
		want             string
	}{
		{"s3cret", "", nil, "is no kubeconfig"},
		{"[s3cret]", "", nil, "is no kubeconfig"},
		{"{s3cret: s3cret}", "", nil, "unknown field"},
		{plain, "b", nil, "certificate-authority: "},
		{plain, "c", nil, `no context "c"`},
		{with(server, `"tokenFile":"/x"`), "", nil, "tokenFile: "},
		{with(server, `"client-key":"/x"`), "", nil, "client-key: "},
		{with(server, `"client-certificate":"/x"`), "", nil, "client-certificate: "},
		{with(server, `"exec":{"command":"s3cret"}`), "", nil, "exec: "},
		{with(server, `"auth-provider":{"name":"gcp"}`), "", nil, "auth-provider: "},
		{with(server+`,"proxy-url":"http://s3cret"`, token), "", nil, "proxy-url: "},
		{with(server, ``), "", nil, "neither token"},
		{with(`"server":"http://a"`, token), "", nil, "in plaintext"},
		{with(`"server":"http://a"`, token), "", []string{"http://a"}, ""},
		{with(`"server":"https://user:s3cret@a"`, token), "", nil, "is no address"},
		{with(`"server":"file:///etc/s3cret"`, token), "", nil, "is no address"},
		{with(server, token), "", []string{"https://*.example.com"}, "accounts.dynamic.servers"},
		{with(`"server":"https://A.Example.com"`, token), "", []string{"https://*.example.com"}, ""},
		{with(`"server":"https://evil.com/.example.com"`, token), "", []string{"https://*.example.com"}, "accounts.dynamic.servers"},
		{with(`"server":"https://evil.com#.example.com"`, token), "", []string{"https://*.example.com"}, "accounts.dynamic.servers"},
		{strings.Repeat("s3cret", MaximumKubeconfig), "", nil, "at most"},
		{"&a [*a]", "", nil, "is no kubeconfig"},
		{"\x00\xff", "", nil, "is no kubeconfig"},
	} {
		_, err := Narrow([]byte(c.content), c.context, c.servers)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%.80s: %v", c.content, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%.80s: %v, want %q", c.content, err, c.want)
		case err != nil && strings.Contains(strings.ReplaceAll(err.Error(), `field "s3cret"`, ""), "s3cret"):
			t.Errorf("quotes a secret: %v", err)
		}
	}
}

func TestDefinitionsAreTakenAsClouddriverAndTheReplacedProductWriteThem(t *testing.T) {
	account := func(members map[string]any) []byte {
		base := map[string]any{"name": "prod", "kubeconfigContents": plain}
		for key, value := range members {
			base[key] = value
		}
		text, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	d, err := Parse(account(map[string]any{"type": "kubernetes", "zoneId": "eu", "cacheThreads": 1, "permissions": map[string]any{}, "environment": nil, "kinds": []string{"pod"},
		"labels": map[string]string{"team": "a"}, "kubectlExecutable": "/bin/kubectl"}), nil)
	if err != nil || d.Zone != "eu" || d.JSON != `{"kinds":["pod"]}` || d.Labels["team"] != "a" || strings.Contains(d.JSON, "s3cret") {
		t.Errorf("%+v, %v", d, err)
	}
	for want, members := range map[string]map[string]any{
		"no such key":         {"kubeconfgFile": "x"},
		"agent's own":         {"serviceAccount": true},
		"is no file":          {"kubeconfigFile": "/etc/k"},
		"want kubernetes":     {"type": "aws"},
		"missing":             {"kubeconfigContents": ""},
		"letters, digits":     {"name": "a/b"},
		"are the limit":       {"name": strings.Repeat("a", 64)},
		"give one of them":    {"kinds": []string{"pod"}, "omitKinds": []string{"job"}},
		"has the wrong type":  {"zoneId": 1},
		"permissions: want":   {"permissions": "s3cret"},
		"a label's name":      {"labels": map[string]string{"a=b": "c"}},
		"kubeconfigContents:": {"kubeconfigContents": "s3cret"},
	} {
		if _, err := Parse(account(members), nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v: %v, want %q", members, err, want)
		}
	}
}

func FuzzNarrowedKubeconfigsHoldInlineDataAlone(f *testing.F) {
	f.Add([]byte(plain), "a")
	f.Add([]byte(plain), "b")
	f.Fuzz(func(t *testing.T, content []byte, context string) {
		narrow, err := Narrow(content, context, nil)
		if err != nil {
			return
		}
		var k kubeconfig
		if err := k.read(narrow); err != nil {
			t.Fatalf("%v\n%s", err, narrow)
		}
		if len(k.Clusters) != 1 || len(k.Users) != 1 || k.check(nil) != nil {
			t.Errorf("%s", narrow)
		}
	})
}
