package credentials

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/transport"

	"github.com/fairlead/fairlead/agent/internal/cloud"
)

// Access is how to reach an API server.
type Access struct {
	// Config is the caller's to change a copy of.
	Config *rest.Config
	// Namespace is the default one.
	Namespace string
	// Stamp is equal for what was made of the same things.
	Stamp string
}

// Policy says what a kubeconfig may ask for.
type Policy struct {
	// ExecPlugins are the commands that may be run, as kubeconfigs name them: by path, or by name.
	ExecPlugins []string
	// Cloud fetches tokens of managed clusters.
	Cloud *cloud.Cloud
}

// parse reads a kubeconfig's context ("": its current one). dir is where relative paths in it begin; "": it may name no files, because it
// does not come from one. It returns the files that it names.
func (p Policy) parse(content []byte, context, dir string) (*Access, []string, error) {
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil, nil, errors.New("it is no kubeconfig") // the parser's error quotes it
	}
	if context == "" {
		context = config.CurrentContext
	}
	chosen, ok := config.Contexts[context]
	switch {
	case context == "":
		return nil, nil, errors.New("it has no current-context; name one of its contexts in the account's context")
	case !ok:
		return nil, nil, fmt.Errorf("it has no context %q", context)
	}
	config.CurrentContext = context
	if err := clientcmdapi.MinifyConfig(config); err != nil {
		return nil, nil, err
	}
	if config.Clusters[chosen.Cluster] == nil || config.Clusters[chosen.Cluster].Server == "" {
		return nil, nil, fmt.Errorf("its context %q names no cluster with a server", context)
	}
	files, err := localFiles(config, dir)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := p.programs(config)
	if err != nil {
		return nil, files, err
	}
	made, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, files, err
	}
	if tokens != nil {
		source := transport.NewCachedTokenSource(tokenSource{tokens})
		made.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return transport.TokenSourceWrapTransport(source)(next)
		})
	}
	namespace := chosen.Namespace
	if namespace == "" {
		namespace = "default"
	}
	return &Access{Config: made, Namespace: namespace}, files, nil
}

// inline reads a kubeconfig that holds data alone: the bridge has checked that already, and this agent believes nobody.
func (p Policy) inline(content []byte, context string) (*Access, error) {
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil, errors.New("it is no kubeconfig")
	}
	for _, a := range config.AuthInfos {
		if a.Exec != nil {
			return nil, errors.New("exec: a dynamic account's kubeconfig runs no programs")
		}
	}
	for _, c := range config.Clusters {
		if c.ProxyURL != "" {
			return nil, errors.New("proxy-url: a dynamic account's kubeconfig names no proxy")
		}
	}
	access, _, err := p.parse(content, context, "")
	if err != nil {
		return nil, err
	}
	access.Stamp = stamp(content)
	return access, nil
}

// localFiles makes paths absolute and returns them.
func localFiles(config *clientcmdapi.Config, dir string) ([]string, error) {
	var files []string
	var errs []error
	resolve := func(field string, path *string) {
		switch {
		case *path == "":
			return
		case dir == "":
			errs = append(errs, fmt.Errorf("%s: %s: a kubeconfig that is a secret may name no files; put the content into %s-data (a token into token)",
				field, *path, field))
			return
		case !filepath.IsAbs(*path):
			*path = filepath.Join(dir, *path)
		}
		files = append(files, *path)
	}
	for _, c := range config.Clusters {
		resolve("certificate-authority", &c.CertificateAuthority)
	}
	for _, a := range config.AuthInfos {
		resolve("client-certificate", &a.ClientCertificate)
		resolve("client-key", &a.ClientKey)
		resolve("tokenFile", &a.TokenFile)
		if a.AuthProvider != nil {
			errs = append(errs, fmt.Errorf("auth-provider %q: Kubernetes clients have dropped these; use a token, a certificate or an exec plugin", a.AuthProvider.Name))
		}
	}
	slices.Sort(files)
	return files, errors.Join(errs...)
}

// programs decides what becomes of a kubeconfig's exec section: tokens fetched in the process, a program that is allowed, or a refusal.
func (p Policy) programs(config *clientcmdapi.Config) (cloud.Tokens, error) {
	for _, a := range config.AuthInfos { // one, since it is minified
		if a.Exec == nil {
			continue
		}
		if slices.Contains(p.ExecPlugins, a.Exec.Command) || slices.Contains(p.ExecPlugins, filepath.Base(a.Exec.Command)) {
			a.Exec.PluginPolicy = clientcmdapi.PluginPolicy{PolicyType: clientcmdapi.PluginPolicyAllowAll}
			a.Exec.InteractiveMode = clientcmdapi.NeverExecInteractiveMode
			return nil, nil
		}
		tokens, err := p.managed(a.Exec)
		if err != nil {
			return nil, fmt.Errorf("exec: %w", err)
		}
		if tokens == nil {
			return nil, fmt.Errorf("exec: %s may not be run: if it shall, put it into an image derived from the agent's and add %q to kubernetes.execPlugins. Without a program go: aws eks get-token, "+
				"aws-iam-authenticator token, gke-gcloud-auth-plugin, kubelogin get-token", a.Exec.Command, a.Exec.Command)
		}
		a.Exec = nil
		return tokens, nil
	}
	return nil, nil
}

// managed returns how to get the tokens that the command would print; nil if the command is not known.
func (p Policy) managed(exec *clientcmdapi.ExecConfig) (cloud.Tokens, error) {
	environment := map[string]string{}
	for _, v := range exec.Env {
		environment[v.Name] = v.Value
	}
	arguments := exec.Args
	switch filepath.Base(strings.TrimSuffix(exec.Command, ".exe")) {
	case "aws":
		f, rest, err := flags(arguments, []string{"cluster-name", "cluster-id", "region", "role-arn", "profile", "output"}, nil)
		if err != nil || !slices.Equal(rest, []string{"eks", "get-token"}) {
			return nil, notUnderstood("aws", err, "eks get-token --cluster-name NAME --region REGION")
		}
		return p.eks(cloud.EKS{Cluster: f["cluster-name"] + f["cluster-id"], Region: f["region"], Role: f["role-arn"], Profile: f["profile"]}, environment)
	case "aws-iam-authenticator":
		f, rest, err := flags(arguments, []string{"cluster-id", "i", "role", "r", "region", "session-name", "s"}, nil)
		if err != nil || !slices.Equal(rest, []string{"token"}) {
			return nil, notUnderstood("aws-iam-authenticator", err, "token -i NAME")
		}
		return p.eks(cloud.EKS{Cluster: f["cluster-id"] + f["i"], Region: f["region"], Role: f["role"] + f["r"]}, environment)
	case "gke-gcloud-auth-plugin":
		if _, _, err := flags(arguments, nil, []string{"use_application_default_credentials"}); err != nil {
			return nil, notUnderstood("gke-gcloud-auth-plugin", err, "no arguments")
		}
		return p.Cloud.GKETokens(), nil
	case "kubelogin":
		f, rest, err := flags(arguments, []string{"environment", "server-id", "client-id", "tenant-id", "login", "l", "t"}, nil)
		if err != nil || !slices.Equal(rest, []string{"get-token"}) {
			return nil, notUnderstood("kubelogin", err, "get-token --login workloadidentity --server-id ID")
		}
		login := f["login"] + f["l"]
		if login == "" {
			login = environment["AAD_LOGIN_METHOD"]
		}
		a := cloud.AKS{Login: login, Server: f["server-id"], Tenant: f["tenant-id"] + f["t"], Client: f["client-id"], Environment: f["environment"]}
		return p.Cloud.AKSTokens(a), a.Check()
	default:
		return nil, nil
	}
}

func (p Policy) eks(e cloud.EKS, environment map[string]string) (cloud.Tokens, error) {
	if e.Cluster == "" {
		return nil, errors.New("no cluster is named; the arguments lack --cluster-name")
	}
	if e.Region == "" {
		e.Region = environment["AWS_REGION"]
	}
	if e.Profile == "" {
		e.Profile = environment["AWS_PROFILE"]
	}
	return p.Cloud.EKSTokens(e), nil
}

func notUnderstood(command string, err error, usual string) error {
	if err == nil {
		err = errors.New("these arguments are not understood")
	}
	return fmt.Errorf("%s: %w; understood is: %s. To run the program itself, name it in kubernetes.execPlugins", command, err, usual)
}

// flags sorts arguments into flags (--name value, --name=value, -n value) and the rest. Any flag that is not known is an error.
func flags(arguments, withValue, alone []string) (map[string]string, []string, error) {
	found := map[string]string{}
	var rest []string
	for i := 0; i < len(arguments); i++ {
		if !strings.HasPrefix(arguments[i], "-") {
			rest = append(rest, arguments[i])
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(arguments[i], "-"), "=")
		switch {
		case slices.Contains(alone, name):
			continue
		case !slices.Contains(withValue, name):
			return nil, nil, fmt.Errorf("argument --%s is not understood", name)
		case !hasValue && i+1 == len(arguments):
			return nil, nil, fmt.Errorf("argument --%s lacks its value", name)
		case !hasValue:
			i++
			value = arguments[i]
		}
		found[name] = value
	}
	return found, rest, nil
}
