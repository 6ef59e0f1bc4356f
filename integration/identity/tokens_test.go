package identity

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const issuer = "https://kubernetes.default.svc" // of the environment's API server

// serviceAccounts has bridges take tokens that a real API server made, with its keys from a file, from its address, and from its text.
func serviceAccounts(p *place) {
	keys := p.jwks()
	access, err := clientcmd.BuildConfigFromFlags("", p.env.Clusters[0].Kubeconfig)
	must(p.t, err)
	dir := p.t.TempDir()
	reader := p.request("kube-system", "default", "", "jwks-reader")
	for name, source := range map[string]map[string]any{
		"from a file": {"jwksFile": write(p.t, dir, "jwks.json", keys)},
		"inline":      {"jwks": string(keys)},
		"fetched": {"jwksURL": access.Host + "/openid/v1/jwks", "caFile": write(p.t, dir, "ca.crt", access.CAData),
			"tokenFile": write(p.t, dir, "reader", []byte(reader))},
	} {
		p.t.Run(name, func(t *testing.T) { p.on(t).serviceAccount(source) })
	}
}

func (p *place) serviceAccount(source map[string]any) {
	rule := map[string]any{"issuer": issuer, "audience": "fairlead", "subjects": []any{"system:serviceaccount:kube-system:fairlead-*"}, "accounts": []any{"sa-*"}}
	for name, value := range source {
		rule[name] = value
	}
	b := p.another(func(config map[string]any) { section(config, "agents")["serviceAccounts"] = []any{rule} })
	shown := func(token string) func(map[string]any) {
		file := write(p.t, p.t.TempDir(), "token", []byte(token))
		return func(config map[string]any) { section(config, "clouddriver", "auth")["serviceAccountTokenFile"] = file }
	}
	a := p.agentOf(b.address, shown(p.request("kube-system", "fairlead-agent", "fairlead", "")), "sa-a", "other")
	a.says("msg=attached account=sa-a", "account refused by the bridge", "other")
	b.says("subject system:serviceaccount:kube-system:fairlead-agent")
	a.stop()
	for token, says := range map[string]string{
		p.request("kube-system", "fairlead-agent", "somebody-else", ""):    `is for audience somebody-else, the rule wants \"fairlead\"`,
		p.request("kube-system", "default", "fairlead", ""):                "no rule is about tokens of issuer " + issuer + " with subject system:serviceaccount:kube-system:default",
		forged(p.request("kube-system", "fairlead-agent", "fairlead", "")): "its signature is by none of the issuer's keys",
	} {
		a := p.agentOf(b.address, shown(token), "sa-a")
		a.says("the bridge does not accept this agent", says)
		a.stop()
	}
	// A bridge without rules says what to do.
	a = p.agentOf(p.env.Bridges[0].Agents, shown(p.request("kube-system", "fairlead-agent", "fairlead", "")), "sa-a")
	a.says("this bridge has no rule for such tokens", "agents.serviceAccounts")
}

// forged changes a character in the middle of the signature.
func forged(token string) string {
	at := len(token) - 20
	c := byte('A')
	if token[at] == c {
		c = 'B'
	}
	return token[:at] + string(c) + token[at+1:]
}

// request has the API server make a token, as it does for a projected volume. reads, if given, lets the account read the issuer's keys.
func (p *place) request(namespace, name, audience, reads string) string {
	p.t.Helper()
	kube, err := p.env.Kube(0)
	must(p.t, err)
	ctx := p.t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	_, _ = kube.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}) // it may be there
	if reads != "" {
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: reads}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}}
		_, err := kube.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
		must(p.t, err)
	}
	ask := &authenticationv1.TokenRequest{}
	if audience != "" {
		ask.Spec.Audiences = []string{audience}
	}
	made, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, ask, metav1.CreateOptions{})
	must(p.t, err)
	return made.Status.Token
}

// jwks are the API server's keys.
func (p *place) jwks() []byte {
	p.t.Helper()
	out, err := p.run(p.env.Kubectl, "--kubeconfig", p.env.Clusters[0].Kubeconfig, "get", "--raw", "/openid/v1/jwks")
	must(p.t, err)
	return []byte(out)
}
