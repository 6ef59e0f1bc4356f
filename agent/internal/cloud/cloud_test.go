package cloud

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The providers are stand-ins that check what the real ones check: signatures, assertions, headers. The real ones cannot be had in a test.

const (
	keyID, key        = "AKIDTEST", "secret-key-of-the-test"
	roleID, roleKey   = "ASIATEST", "secret-key-of-the-role"
	session, assumed  = "session-of-the-test", "arn:aws:iam::1:role/eks"
	webToken, webRole = "web-identity-of-the-test", "arn:aws:iam::1:role/pod"
)

// keys are what the stand-ins of AWS know.
var keys = map[string]aws.Credentials{
	keyID:  {AccessKeyID: keyID, SecretAccessKey: key},
	roleID: {AccessKeyID: roleID, SecretAccessKey: roleKey, SessionToken: session},
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// environment is an AWS environment without anybody's files.
func environment(t *testing.T, variables map[string]string) *Cloud {
	t.Helper()
	for name, value := range map[string]string{"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": ""} {
		t.Setenv(name, value)
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
	return New(nil)
}

// signedBy tells who signed a request, as AWS finds out: by signing it again.
func signedBy(t *testing.T, r *http.Request, body []byte, service, region string) string {
	t.Helper()
	said := r.Header.Get("Authorization")
	_, rest, _ := strings.Cut(said, "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	_, list, _ := strings.Cut(said, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), strings.NewReader(string(body)))
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, name := range strings.Split(list, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Error(err)
		return ""
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err := signer.SignHTTP(t.Context(), keys[id], again, hash(body), service, region, at); err != nil {
		t.Error(err)
	}
	if again.Header.Get("Authorization") != said {
		t.Errorf("%s %s: the signature is wrong:\n%s\n%s", r.Method, r.URL, said, again.Header.Get("Authorization"))
		return ""
	}
	return id
}

// eksCaller finds out whom an EKS token names, as EKS does by sending it to STS.
func eksCaller(t *testing.T, token, cluster, region string) string {
	t.Helper()
	coded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok {
		t.Fatalf("token %q", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := url.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	query := signed.Query()
	if signed.Host != "sts."+region+".amazonaws.com" || query.Get("Action") != "GetCallerIdentity" || !strings.Contains(query.Get("X-Amz-SignedHeaders"), "x-k8s-aws-id") {
		t.Errorf("signed URL %s", signed)
	}
	id, _, _ := strings.Cut(query.Get("X-Amz-Credential"), "/")
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest(http.MethodGet, "https://"+signed.Host+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires="+query.Get("X-Amz-Expires"), nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("x-k8s-aws-id", cluster)
	resigned, _, err := v4.NewSigner().PresignHTTP(t.Context(), keys[id], again, emptyHash, "sts", region, at)
	if err != nil {
		t.Fatal(err)
	}
	want, err := url.Parse(resigned)
	if err != nil || want.Query().Get("X-Amz-Signature") != query.Get("X-Amz-Signature") {
		t.Errorf("the signature is not %s's for cluster %s", id, cluster)
	}
	return id
}

func TestEKSTokensAreSignedForTheCluster(t *testing.T) {
	c := environment(t, map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": key})
	token, err := c.EKSTokens(EKS{Cluster: "prod", Region: "eu-west-1"})(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if who := eksCaller(t, token.Value, "prod", "eu-west-1"); who != keyID {
		t.Errorf("it names %q", who)
	}
	if left := time.Until(token.Expires); left > 15*time.Minute || left < 5*time.Minute {
		t.Errorf("it counts for %s", left)
	}
	if _, err := c.EKSTokens(EKS{Cluster: "prod"})(t.Context()); err == nil || !strings.Contains(err.Error(), "set AWS_REGION") {
		t.Error(err)
	}
	t.Setenv("AWS_REGION", "us-east-1")
	if token, err := c.EKSTokens(EKS{Cluster: "other"})(t.Context()); err != nil || eksCaller(t, token.Value, "other", "us-east-1") != keyID {
		t.Error(err)
	}
}

func TestEKSRolesAreAssumedAndPodsProveThemselvesByWebIdentity(t *testing.T) {
	answer := func(w http.ResponseWriter, action string) {
		_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>%[3]s</SecretAccessKey>`+
			`<SessionToken>%[4]s</SessionToken><Expiration>%[5]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, roleID, roleKey, session, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}
	sts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		switch action := form.Get("Action"); {
		case action == "AssumeRole" && form.Get("RoleArn") == assumed && signedBy(t, r, body, "sts", "eu-west-1") == keyID,
			action == "AssumeRoleWithWebIdentity" && form.Get("RoleArn") == webRole && form.Get("WebIdentityToken") == webToken:
			answer(w, action)
		default:
			http.Error(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>", http.StatusForbidden)
		}
	})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(webToken), 0o600); err != nil {
		t.Fatal(err)
	}
	c := environment(t, map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": key, "AWS_ENDPOINT_URL_STS": sts})
	token, err := c.EKSTokens(EKS{Cluster: "prod", Region: "eu-west-1", Role: assumed})(t.Context())
	if err != nil || eksCaller(t, token.Value, "prod", "eu-west-1") != roleID {
		t.Error(err)
	}
	if _, err := c.EKSTokens(EKS{Cluster: "prod", Region: "eu-west-1", Role: "arn:aws:iam::1:role/other"})(t.Context()); err == nil || strings.Contains(err.Error(), key) {
		t.Error(err)
	}
	c = environment(t, map[string]string{"AWS_ENDPOINT_URL_STS": sts, "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": webRole, "AWS_REGION": "eu-west-1"})
	if token, err = c.EKSTokens(EKS{Cluster: "pod"})(t.Context()); err != nil || eksCaller(t, token.Value, "pod", "eu-west-1") != roleID {
		t.Error(err)
	}
}

func TestS3AndSecretsManagerAreAskedWithSignatures(t *testing.T) {
	aws := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Amz-Target") == "secretsmanager.GetSecretValue" {
			var asked map[string]string
			_ = json.Unmarshal(body, &asked)
			switch {
			case signedBy(t, r, body, "secretsmanager", "eu-west-1") != keyID:
				http.Error(w, "who?", http.StatusForbidden)
			case asked["SecretId"] == "binary":
				_ = json.NewEncoder(w).Encode(map[string]any{"SecretBinary": []byte("bytes")})
			case asked["SecretId"] == "prod/kube":
				_ = json.NewEncoder(w).Encode(map[string]any{"SecretString": "kubeconfig"})
			default:
				http.Error(w, `{"__type":"ResourceNotFoundException"}`, http.StatusBadRequest)
			}
			return
		}
		if signedBy(t, r, body, "s3", "eu-west-1") != keyID || r.URL.Path != "/bucket/a b/ü.yml" {
			http.Error(w, "<Code>NoSuchKey</Code>", http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("object"))
	})
	c := environment(t, map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": key, "AWS_ENDPOINT_URL": aws})
	for name, read := range map[string]func() ([]byte, error){
		"object":     func() ([]byte, error) { return c.S3Object(t.Context(), "eu-west-1", "bucket", "/a b/ü.yml") },
		"kubeconfig": func() ([]byte, error) { return c.AWSSecret(t.Context(), "eu-west-1", "prod/kube") },
		"bytes":      func() ([]byte, error) { return c.AWSSecret(t.Context(), "eu-west-1", "binary") },
	} {
		if got, err := read(); err != nil || string(got) != name {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if _, err := c.S3Object(t.Context(), "eu-west-1", "bucket", "other"); err == nil || !strings.Contains(err.Error(), "NoSuchKey") {
		t.Error(err)
	}
	if _, err := c.AWSSecret(t.Context(), "eu-west-1", "other"); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Error(err)
	}
}

func TestGKETokensComeFromTheMetadataService(t *testing.T) {
	metadata := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasSuffix(r.URL.Path, "/instance/service-accounts/default/token") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token": "ya29.test", "expires_in": 600, "token_type": "Bearer"}`))
	})
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata, "http://"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	token, err := New(nil).GKETokens()(t.Context())
	if err != nil || token.Value != "ya29.test" || time.Until(token.Expires) > 11*time.Minute {
		t.Errorf("%v %v", token.Expires, err)
	}
}

func TestObjectsOfGCS(t *testing.T) {
	gcs := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/storage/v1/b/bucket/o/kube%2Fconfig" || r.URL.Query().Get("alt") != "media" {
			http.Error(w, `{"error": {"message": "No such object"}}`, http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("object"))
	})
	c := New(func(name string) string {
		return map[string]string{"STORAGE_EMULATOR_HOST": strings.TrimPrefix(gcs, "http://")}[name]
	})
	if got, err := c.GCSObject(t.Context(), "bucket", "kube/config"); err != nil || string(got) != "object" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := c.GCSObject(t.Context(), "bucket", "x"); err == nil || !strings.Contains(err.Error(), "No such object") {
		t.Error(err)
	}
}

func TestAKSTokensByEachLogin(t *testing.T) {
	entra := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/metadata/") {
			if q := r.URL.Query(); r.Header.Get("Metadata") != "true" || q.Get("resource") != "server" || q.Get("client_id") != "client" {
				http.Error(w, "no", http.StatusBadRequest)
				return
			}
			_, _ = w.Write([]byte(`{"access_token": "by msi", "expires_in": "600"}`))
			return
		}
		_ = r.ParseForm()
		form := r.PostForm
		switch {
		case r.URL.Path != "/tenant/oauth2/v2.0/token" || form.Get("client_id") != "client" || form.Get("scope") != "server/.default":
			http.Error(w, `{"error_description": "wrong"}`, http.StatusBadRequest)
		case form.Get("client_secret") == "secret-of-spn":
			_, _ = w.Write([]byte(`{"access_token": "by spn", "expires_in": 600}`))
		case form.Get("client_assertion") == webToken && strings.HasSuffix(form.Get("client_assertion_type"), "jwt-bearer"):
			_, _ = w.Write([]byte(`{"access_token": "by workloadidentity", "expires_in": 600}`))
		default:
			http.Error(w, `{"error_description": "AADSTS7000215: Invalid client secret"}`, http.StatusUnauthorized)
		}
	})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(webToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{"AZURE_AUTHORITY_HOST": entra + "/", "AZURE_POD_IDENTITY_AUTHORITY_HOST": entra, "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client",
		"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_CLIENT_SECRET": "secret-of-spn"}
	c := New(func(name string) string { return variables[name] })
	for _, login := range []string{LoginWorkloadIdentity, LoginServicePrincipal, LoginManagedIdentity} {
		a := AKS{Login: login, Server: "server"}
		if err := a.Check(); err != nil {
			t.Error(err)
		}
		token, err := c.AKSTokens(a)(t.Context())
		if err != nil || token.Value != "by "+login || time.Until(token.Expires) > 11*time.Minute {
			t.Errorf("%s: %v", login, err)
		}
	}
	variables["AZURE_CLIENT_SECRET"] = "wrong-secret"
	if _, err := c.AKSTokens(AKS{Login: LoginServicePrincipal, Server: "server"})(t.Context()); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "wrong-secret") {
		t.Error(err)
	}
	for _, a := range []AKS{{Login: "devicecode", Server: "s"}, {Login: LoginManagedIdentity}, {Login: LoginManagedIdentity, Server: "s", Environment: "moon"}} {
		if a.Check() == nil {
			t.Errorf("%+v is accepted", a)
		}
	}
}
