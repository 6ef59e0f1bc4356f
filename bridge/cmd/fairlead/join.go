package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

// joining is what an agent needs to come.
type joining struct {
	account, namespace, address, pin, token, id string
}

var accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func agentCommand(o *options) *cobra.Command {
	var j joining
	var ttl time.Duration
	join := &cobra.Command{
		Use: "join --account ACCOUNT", Short: "Print the commands that install an agent in a cluster, with a token of its own and the bridges' pin", Args: cobra.NoArgs,
		Long: "Makes an enrolment token for one account and prints what to run in its cluster: with Helm, with kustomize, or with kubectl alone. The commands hold the\n" +
			"token: they are for the person who runs them, and not for a chat or a ticket.",
		RunE: func(c *cobra.Command, _ []string) error {
			if !accountForm.MatchString(j.account) {
				return usage("--account: %q must begin with a letter or digit and hold letters, digits, '.', '_' and '-' only", j.account)
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			if err := j.fill(c, client, ttl); err != nil {
				return err
			}
			return j.print(c.OutOrStdout())
		},
	}
	join.Flags().StringVar(&j.account, "account", "", "the account that the agent serves: the cluster that it runs in")
	join.Flags().StringVar(&j.address, "address", "", "how the agent reaches the bridges, HOST:PORT; by default agents.advertise of the bridge")
	join.Flags().StringVar(&j.namespace, "namespace", "fairlead", "namespace for the agent")
	join.Flags().DurationVar(&ttl, "ttl", 0, "how long the agent may come; 0: until its token is revoked")
	agent := &cobra.Command{Use: "agent", Aliases: []string{"agents"}, Short: "Agents"}
	agent.AddCommand(join, listAgentsCommand(o))
	return agent
}

// fill asks the bridge for what is missing. The token is made last, so that nothing is left behind when something else is wrong.
func (j *joining) fill(c *cobra.Command, client adminv1connect.AdminServiceClient, ttl time.Duration) error {
	status, err := client.GetStatus(c.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		return err
	}
	if j.address = cmp.Or(j.address, status.Msg.GetAgentsAddress()); j.address == "" {
		return usage("--address: is not set, and the bridge does not say how agents reach it: name HOST:PORT of its Service or load balancer here, or set agents.advertise at the bridge")
	}
	if _, _, err := net.SplitHostPort(j.address); err != nil || strings.ContainsAny(j.address, " '\"\\$`") {
		return usage("--address: %q is not HOST:PORT", j.address)
	}
	if j.pin = status.Msg.GetCaPin(); j.pin == "" {
		return errors.New("the bridge has no certificate yet: it waits for its database; try again when \"fairlead status\" shows its CA PIN")
	}
	made, err := client.CreateToken(c.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{
		Accounts: []string{j.account}, TtlSeconds: uint64(max(ttl, 0) / time.Second), Description: "agent join " + j.account, //nolint:gosec // not negative
	}))
	if err != nil {
		return err
	}
	j.token, j.id = made.Msg.GetToken(), made.Msg.GetId()
	return nil
}

// print writes the commands. Each stands by itself; one of them is enough. The token goes through standard input and never into an argument,
// which every user of a machine can see.
func (j *joining) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `Token %[1]s was made for account %[2]s. Run one of these where kubectl points to its cluster.

# --- Helm
kubectl create namespace %[3]s --dry-run=client -o yaml | kubectl apply -f -
kubectl -n %[3]s apply -f - <<'EOF'
%[4]sEOF
helm upgrade --install fairlead-agent oci://ghcr.io/fairlead/charts/fairlead-agent -n %[3]s \
  --set bridge.address='%[5]s' \
  --set bridge.caPin='%[6]s' \
  --set token.secretName=%[7]s \
  --set 'accounts[0].name=%[2]s' --set 'accounts[0].serviceAccount=true'

# --- kustomize: a directory with these files, then kubectl apply -k .
kubectl create namespace %[3]s --dry-run=client -o yaml | kubectl apply -f -
mkdir -p fairlead-agent && cd fairlead-agent
cat >fairlead-agent.yml <<'EOF'
%[8]sEOF
(umask 077 && cat >token <<'EOF'
%[9]s
EOF
)
cat >kustomization.yaml <<'EOF'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: %[3]s
resources: [https://github.com/fairlead/fairlead//agent/deploy/kustomize/base]
components: [https://github.com/fairlead/fairlead//agent/deploy/kustomize/components/rbac-deploy]
configMapGenerator: [{name: fairlead-agent, files: [fairlead-agent.yml]}]
secretGenerator: [{name: fairlead-agent-token, files: [token]}]
replacements:
  - source: {kind: ServiceAccount, name: fairlead-agent, fieldPath: metadata.namespace}
    targets:
      - {select: {group: rbac.authorization.k8s.io}, fieldPaths: [metadata.name], options: {delimiter: ".", index: 1}}
      - {select: {kind: ClusterRoleBinding}, fieldPaths: [roleRef.name], options: {delimiter: ".", index: 1}}
EOF
kubectl apply -k .

# --- kubectl alone
kubectl create namespace %[3]s --dry-run=client -o yaml | kubectl apply -f -
kubectl -n %[3]s apply -f - <<'EOF'
%[4]s---
%[10]sEOF
curl -fsSLO https://raw.githubusercontent.com/fairlead/fairlead/main/agent/deploy/manifests/fairlead-agent.yaml
sed -e 's/namespace: fairlead$/namespace: %[3]s/' -e 's/fairlead-agent-deploy[.]fairlead$/fairlead-agent-deploy.%[3]s/' fairlead-agent.yaml | kubectl apply -f -

The agent appears in "fairlead status" within seconds. "fairlead token revoke %[1]s" ends it.
`, j.id, j.account, j.namespace, j.secret(), j.address, j.pin, tokenSecret, j.configuration(), j.token, j.configMap())
	return err
}

// tokenSecret is the Secret that all ways to install an agent look for.
const tokenSecret = "fairlead-agent-token"

// secret is the token as a Secret.
func (j *joining) secret() string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {token: %s}\n", tokenSecret, j.token)
}

// configuration is fairlead-agent.yml (or armory-agent.yml, whose keys are the same).
func (j *joining) configuration() string {
	return fmt.Sprintf(`clouddriver:
  grpc: %q
  tls: {pin: %q}
  auth: {tokenFile: /etc/fairlead/token/token}
kubernetes:
  accounts:
    - {name: %q, serviceAccount: true}
`, j.address, j.pin, j.account)
}

// configMap holds the configuration for those who have no tool but kubectl.
func (j *joining) configMap() string {
	indented := strings.ReplaceAll(strings.TrimRight(j.configuration(), "\n"), "\n", "\n    ")
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fairlead-agent}\ndata:\n  fairlead-agent.yml: |\n    %s\n", indented)
}
