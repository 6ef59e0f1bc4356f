package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// awsIdentity is whom the agent is at AWS.
type awsIdentity struct{ region, role, profile string }

// EKS is a cluster at AWS, as `aws eks get-token` names it. Role is assumed, if there is one.
type EKS struct{ Cluster, Region, Role, Profile string }

const (
	// tokenPrefix and clusterHeader are of the protocol between aws-iam-authenticator and EKS.
	tokenPrefix   = "k8s-aws-v1."
	clusterHeader = "x-k8s-aws-id"
	// eksLife is how long EKS takes a token, less a minute.
	eksLife = 14 * time.Minute
)

// EKSTokens makes tokens for an EKS cluster: a signed request that tells STS, and thereby EKS, who the agent is.
func (c *Cloud) EKSTokens(e EKS) Tokens {
	return func(ctx context.Context) (Token, error) {
		credentials, region, err := c.credentials(ctx, awsIdentity{e.Region, e.Role, e.Profile})
		if err != nil {
			return Token{}, fmt.Errorf("EKS cluster %s: %w", e.Cluster, err)
		}
		address := "https://" + host("sts", region) + "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return Token{}, err
		}
		request.Header.Set(clusterHeader, e.Cluster)
		now := time.Now()
		signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, request, emptyHash, "sts", region, now)
		if err != nil {
			return Token{}, err
		}
		return Token{Value: tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(signed)), Expires: now.Add(eksLife)}, nil
	}
}

var emptyHash = hash(nil)

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// host is a service's usual one.
func host(service, region string) string {
	domain := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	return service + "." + region + "." + domain
}

// endpoint is where a service is: AWS_ENDPOINT_URL_SERVICE and AWS_ENDPOINT_URL move it, as for AWS's own tools.
func (c *Cloud) endpoint(service, variable, region string) string {
	for _, name := range []string{"AWS_ENDPOINT_URL_" + variable, "AWS_ENDPOINT_URL"} {
		if v := c.getenv(name); v != "" {
			return strings.TrimSuffix(v, "/")
		}
	}
	return "https://" + host(service, region)
}

// credentials returns the identity's keys, and its region. Providers are kept: they cache keys and renew them.
func (c *Cloud) credentials(ctx context.Context, id awsIdentity) (aws.Credentials, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	id.region = firstOf(id.region, c.getenv("AWS_REGION"), c.getenv("AWS_DEFAULT_REGION"))
	if id.region == "" {
		return aws.Credentials{}, "", errors.New("AWS: no region; name it in the kubeconfig's arguments (--region), or set AWS_REGION")
	}
	c.mu.Lock()
	provider := c.aws[id]
	c.mu.Unlock()
	if provider == nil {
		loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(id.region), config.WithSharedConfigProfile(id.profile))
		if err != nil {
			return aws.Credentials{}, "", fmt.Errorf("AWS: %w", err)
		}
		provider = loaded.Credentials
		if id.role != "" {
			provider = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), id.role))
		}
		c.mu.Lock()
		c.aws[id] = provider
		c.mu.Unlock()
	}
	keys, err := provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, "", fmt.Errorf("AWS: no credentials: %w", err)
	}
	return keys, id.region, nil
}

// signed sends a request that is signed for a service.
func (c *Cloud) signed(ctx context.Context, service, region, method, address string, body []byte, headers map[string]string) ([]byte, error) {
	keys, region, err := c.credentials(ctx, awsIdentity{region: region})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	digest := hash(body)
	request.Header.Set("X-Amz-Content-Sha256", digest)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err := signer.SignHTTP(ctx, keys, request, digest, service, region, time.Now()); err != nil {
		return nil, err
	}
	return c.do(request)
}

// S3Object reads an object.
func (c *Cloud) S3Object(ctx context.Context, region, bucket, key string) ([]byte, error) {
	address, err := url.Parse(c.endpoint("s3", "S3", region))
	if err != nil {
		return nil, fmt.Errorf("S3: %w", err)
	}
	return c.signed(ctx, "s3", region, http.MethodGet, address.JoinPath(bucket, strings.TrimPrefix(key, "/")).String(), nil, nil)
}

// AWSSecret reads a secret of Secrets Manager.
func (c *Cloud) AWSSecret(ctx context.Context, region, name string) ([]byte, error) {
	body, err := json.Marshal(map[string]string{"SecretId": name})
	if err != nil {
		return nil, err
	}
	answer, err := c.signed(ctx, "secretsmanager", region, http.MethodPost, c.endpoint("secretsmanager", "SECRETS_MANAGER", region)+"/", body,
		map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"})
	if err != nil {
		return nil, err
	}
	var secret struct {
		SecretString string
		SecretBinary []byte
	}
	if err := json.Unmarshal(answer, &secret); err != nil {
		return nil, errors.New("secrets manager's answer is no JSON")
	}
	if secret.SecretString == "" {
		return secret.SecretBinary, nil
	}
	return []byte(secret.SecretString), nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
