package main

import (
	"slices"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// plugin names what Vault mounts.
type plugin struct {
	name string
	kind consts.PluginType
}

// registry is the catalog of plugins that are built in. Vault wants one, and
// panics at the first mount without.
type registry map[plugin]logical.Factory

var builtins = registry{
	{"kv", consts.PluginTypeSecrets}:         kv.Factory,
	{"transit", consts.PluginTypeSecrets}:    transit.Factory,
	{"approle", consts.PluginTypeCredential}: approle.Factory,
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r[plugin{name, kind}]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := r[plugin{name, kind}]
	return func() (any, error) { return factory, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) []string {
	var keys []string
	for p := range r {
		if p.kind == kind {
			keys = append(keys, p.name)
		}
	}
	slices.Sort(keys)
	return keys
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
