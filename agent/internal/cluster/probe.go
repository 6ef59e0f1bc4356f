package cluster

import (
	"context"

	"k8s.io/client-go/discovery"

	"github.com/fairlead/fairlead/agent/internal/config"
)

// Probe tells whether an account's API server answers and takes its credentials.
func Probe(ctx context.Context, account config.Account, o Options) error {
	c, err := connect(account, o)
	if err != nil {
		return err
	}
	defer c.close()
	client, err := discovery.NewDiscoveryClientForConfig(c.forInventory(ctx))
	if err != nil {
		return err
	}
	// Unlike /version it is for authenticated users alone.
	return client.RESTClient().Get().AbsPath("/api").Do(ctx).Error()
}
