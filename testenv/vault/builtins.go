package main

import (
	"slices"
	_ "unsafe" // go:linkname

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/vault"
)

// registry names what is built in: without one, each mount is a nil dereference.
type registry struct{}

// Keys lists the plugins of a type.
func (registry) Keys(t consts.PluginType) []string {
	switch t {
	case consts.PluginTypeSecrets:
		return []string{"kv"}
	case consts.PluginTypeCredential:
		return []string{"userpass", "approle", "kubernetes"}
	default:
		return nil
	}
}

// Contains tells whether a plugin is built in.
func (r registry) Contains(name string, t consts.PluginType) bool {
	return slices.Contains(r.Keys(t), name)
}

// Get returns a factory that nobody calls: the core has its own.
func (r registry) Get(name string, t consts.PluginType) (func() (any, error), bool) {
	return func() (any, error) { return nil, nil }, r.Contains(name, t)
}

// DeprecationStatus says that all are supported.
func (registry) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

// IsBuiltinEntPlugin says that none is of the enterprise edition.
func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// entPaths are stubs for features of the enterprise edition. In v1.14.1 they declare a CreateOperation without an ExistenceCheck, which
// the sdk that builds here refuses with a panic at the first request to sys/.
//
//go:linkname entPaths github.com/hashicorp/vault/vault.entPaths
var entPaths func(*vault.SystemBackend) []*framework.Path

func init() { entPaths = func(*vault.SystemBackend) []*framework.Path { return nil } }
