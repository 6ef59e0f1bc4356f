package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Client is what one operation needs of a cluster. Everything that it does ends with the operation's context. It is a
// genericclioptions.RESTClientGetter, which kubectl's library is built on.
type Client struct {
	cluster *Cluster
	ctx     context.Context
	bound   *bound
	spent   atomic.Int64

	mu       sync.Mutex
	warnings []string
	warned   map[string]bool
}

// Client makes a client for one operation.
func (c *Cluster) Client(ctx context.Context) *Client {
	client := &Client{cluster: c, ctx: ctx, warned: map[string]bool{}}
	client.bound = &bound{ctx: ctx, next: c.connection.routes, limiter: c.connection.operations, gate: c.server.requests, spent: &client.spent}
	return client
}

// Server is the API server's URL.
func (c *Client) Server() string { return c.cluster.connection.server }

// Spent is the time until the API server's answers began, summed.
func (c *Client) Spent() time.Duration { return time.Duration(c.spent.Load()) }

// Warn notes a warning, once.
func (c *Client) Warn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.warned[text] {
		c.warned[text] = true
		c.warnings = append(c.warnings, text)
	}
}

// Warnings returns what the API server and kubectl's library warned of, in order.
func (c *Client) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.warnings
}

// HandleWarningHeader takes a warning of the API server (rest.WarningHandler). 299 is the code for warnings without one.
func (c *Client) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && text != "" {
		c.Warn(text)
	}
}

// ToRESTConfig returns a configuration of its own, that the caller may change.
func (c *Client) ToRESTConfig() (*rest.Config, error) {
	config := c.cluster.connection.config(c.bound)
	config.WarningHandler = c
	config.Timeout = c.cluster.connection.requestTimeout
	return config, nil
}

// ToDiscoveryClient shows the account's present kinds.
func (c *Client) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	catalog, err := c.cluster.kinds.get(c.ctx)
	if err != nil {
		return nil, err
	}
	config, err := c.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return view{catalog: catalog, client: client}, nil
}

// ToRESTMapper resolves kinds; a miss reads discovery again.
func (c *Client) ToRESTMapper() (meta.RESTMapper, error) {
	return mapper{ctx: c.ctx, holder: c.cluster.kinds, warn: c.Warn}, nil
}

// Mapping resolves a kind as kubectl's command line does. The error is an *UnknownKindError if the server does not have it.
func (c *Client) Mapping(token string) (*meta.RESTMapping, error) {
	return c.cluster.kinds.resolve(c.ctx, token, c.Warn)
}

// Recheck resolves a kind again that the API server turned out not to serve as was says.
func (c *Client) Recheck(token string, was *meta.RESTMapping) (*meta.RESTMapping, error) {
	return c.cluster.kinds.recheck(c.ctx, token, was, c.Warn)
}

// Namespace is the account's default namespace.
func (c *Client) Namespace() string { return c.cluster.connection.namespace }

// REST returns a client for a group and version that works on unstructured objects.
func (c *Client) REST(gv schema.GroupVersion) (*rest.RESTClient, error) {
	config, err := c.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config.ContentConfig = resource.UnstructuredPlusDefaultContentConfig()
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	return rest.RESTClientFor(config)
}

// ToRawKubeConfigLoader tells namespace and configuration only.
func (c *Client) ToRawKubeConfigLoader() clientcmd.ClientConfig { return loader{c} }

type loader struct{ client *Client }

func (l loader) RawConfig() (clientcmdapi.Config, error) { return clientcmdapi.Config{}, nil }
func (l loader) ClientConfig() (*rest.Config, error)     { return l.client.ToRESTConfig() }
func (l loader) Namespace() (string, bool, error)        { return l.client.Namespace(), false, nil }
func (l loader) ConfigAccess() clientcmd.ConfigAccess    { return nil }
