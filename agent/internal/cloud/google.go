package cloud

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// googleScope is what gke-gcloud-auth-plugin asks for.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// GKETokens fetches the tokens of the agent's identity at Google: workload identity, a key file (GOOGLE_APPLICATION_CREDENTIALS), or
// the node's. All GKE clusters take them.
func (c *Cloud) GKETokens() Tokens {
	return func(ctx context.Context) (Token, error) {
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, c.http), requestLimit)
		defer cancel()
		found, err := google.FindDefaultCredentials(ctx, googleScope)
		if err != nil {
			return Token{}, fmt.Errorf("google: no credentials: %w", err)
		}
		token, err := found.TokenSource.Token()
		if err != nil {
			return Token{}, fmt.Errorf("google: no token: %w", err)
		}
		return Token{Value: token.AccessToken, Expires: token.Expiry}, nil
	}
}

// GCSObject reads an object.
func (c *Cloud) GCSObject(ctx context.Context, bucket, object string) ([]byte, error) {
	base := "https://storage.googleapis.com"
	emulator := c.getenv("STORAGE_EMULATOR_HOST") // as for Google's own libraries; it wants no token
	if emulator != "" {
		base = emulator
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
	}
	address := strings.TrimSuffix(base, "/") + "/storage/v1/b/" + url.PathEscape(bucket) + "/o/" + url.PathEscape(object) + "?alt=media"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if emulator == "" {
		token, err := c.GKETokens()(ctx)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token.Value)
	}
	return c.do(request)
}
