package credentials

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"github.com/fairlead/fairlead/agent/internal/cloud"
)

// tokenLimit bounds the fetching of a token. Requests of the account wait for it, those of others do not.
const tokenLimit = 15 * time.Second

// tokenSource makes Tokens what client-go takes.
type tokenSource struct{ tokens cloud.Tokens }

// Token implements oauth2.TokenSource.
func (s tokenSource) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenLimit)
	defer cancel()
	t, err := s.tokens(ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.Value, TokenType: "Bearer", Expiry: t.Expires}, nil
}
