package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// AKS is a cluster at Azure, as kubelogin's arguments name it.
type AKS struct {
	// Login is workloadidentity, spn or msi.
	Login string
	// Server is the application that stands for the API server; Tenant, Client and Environment may come from the process's environment.
	Server, Tenant, Client string
	// Environment is AzurePublicCloud ("" too), AzureUSGovernmentCloud or AzureChinaCloud.
	Environment string
}

// The ways in which kubelogin logs in without a person.
const (
	LoginWorkloadIdentity = "workloadidentity"
	LoginServicePrincipal = "spn"
	LoginManagedIdentity  = "msi"
)

var azureAuthorities = map[string]string{
	"":                       "https://login.microsoftonline.com",
	"azurepubliccloud":       "https://login.microsoftonline.com",
	"azureusgovernmentcloud": "https://login.microsoftonline.us",
	"azurechinacloud":        "https://login.chinacloudapi.cn",
}

// Check says what of an AKS is not understood.
func (a AKS) Check() error {
	switch {
	case a.Server == "":
		return errors.New("kubelogin without --server-id")
	case a.Login != LoginWorkloadIdentity && a.Login != LoginServicePrincipal && a.Login != LoginManagedIdentity:
		return fmt.Errorf("kubelogin --login %q needs a person or a program; use %s, %s or %s", a.Login, LoginWorkloadIdentity, LoginServicePrincipal, LoginManagedIdentity)
	case azureAuthorities[strings.ToLower(a.Environment)] == "":
		return fmt.Errorf("kubelogin --environment %q is not known", a.Environment)
	}
	return nil
}

// AKSTokens fetches tokens of Entra ID for an AKS cluster.
func (c *Cloud) AKSTokens(a AKS) Tokens {
	return func(ctx context.Context) (Token, error) {
		request, err := c.azureRequest(ctx, a)
		if err != nil {
			return Token{}, fmt.Errorf("azure: %w", err)
		}
		body, err := c.do(request)
		if err != nil {
			return Token{}, fmt.Errorf("azure: no token: %w", err)
		}
		var answer struct {
			AccessToken string      `json:"access_token"`
			ExpiresIn   json.Number `json:"expires_in"` // a number from Entra ID, a text from instance metadata
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
			return Token{}, errors.New("azure: the answer holds no token")
		}
		seconds, err := answer.ExpiresIn.Int64()
		if err != nil || seconds <= 0 {
			seconds = 300
		}
		return Token{Value: answer.AccessToken, Expires: time.Now().Add(time.Duration(seconds) * time.Second)}, nil
	}
}

func (c *Cloud) azureRequest(ctx context.Context, a AKS) (*http.Request, error) {
	tenant, client := firstOf(a.Tenant, c.getenv("AZURE_TENANT_ID")), firstOf(a.Client, c.getenv("AZURE_CLIENT_ID"))
	if a.Login == LoginManagedIdentity {
		return c.managedIdentity(ctx, a.Server, client)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {a.Server + "/.default"}}
	switch a.Login {
	case LoginServicePrincipal:
		secret := firstOf(c.getenv("AAD_SERVICE_PRINCIPAL_CLIENT_SECRET"), c.getenv("AZURE_CLIENT_SECRET"))
		if secret == "" {
			return nil, errors.New("login spn without AZURE_CLIENT_SECRET in the environment")
		}
		form.Set("client_secret", secret)
	default:
		file := c.getenv("AZURE_FEDERATED_TOKEN_FILE")
		if file == "" {
			return nil, errors.New("login workloadidentity without AZURE_FEDERATED_TOKEN_FILE in the environment; label the pod azure.workload.identity/use")
		}
		assertion, err := os.ReadFile(file) // each time: Kubernetes rotates it
		if err != nil {
			return nil, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", strings.TrimSpace(string(assertion)))
	}
	if tenant == "" || client == "" {
		return nil, errors.New("no tenant or client; name them in kubelogin's arguments, or set AZURE_TENANT_ID and AZURE_CLIENT_ID")
	}
	authority := firstOf(c.getenv("AZURE_AUTHORITY_HOST"), azureAuthorities[strings.ToLower(a.Environment)])
	address := strings.TrimSuffix(authority, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request, nil
}

// managedIdentity asks the node's metadata service.
func (c *Cloud) managedIdentity(ctx context.Context, server, client string) (*http.Request, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {server}}
	if client != "" {
		query.Set("client_id", client)
	}
	base := firstOf(c.getenv("AZURE_POD_IDENTITY_AUTHORITY_HOST"), "http://169.254.169.254")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/metadata/identity/oauth2/token?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Metadata", "true")
	return request, nil
}
