package dynamic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
)

// Definition is an account as somebody wants it.
type Definition struct {
	Name, Zone string
	Labels     map[string]string
	// JSON is an object of the keys of an account in an agent's file, without name and credentials, sorted.
	JSON string
	// Kubeconfig is what its context needs, and nothing else.
	Kubeconfig []byte
}

// used are the keys that an agent knows and that mean something for a dynamic account; the agent checks their values.
var used = []string{
	"context", "insecure", "noProxy", "namespaces", "omitNamespaces", "kinds", "omitKinds", "onlyNamespacedResources", "onlySpinnakerManaged", "metrics",
	"customResourceDefinitions", "permissions", "environment", "accountType", "debug", "namingStrategy", "requiredGroupMembership", "cacheAllApplicationRelationships",
	"customResources", "cachingPolicies",
}

// dropped are keys of Clouddriver and of the replaced product that mean nothing here: people paste them.
var dropped = []string{
	"type", "rawResourcesEndpointConfig", "kubectlRequestTimeoutSeconds", "serviceAccountName", "maxResumableResourceAgeMs", "skipServerSideApply", "skipManifestDefaults",
	"oAuthScopes", "oAuthServiceAccount", "kubectlExecutable", "cacheThreads", "cacheIntervalSeconds", "checkPermissionsOnStartup", "liveManifestCalls", "providerVersion",
	"configureImagePullSecrets", "dockerRegistries", "kubeconfigEncoded", "state",
}

// maximumDefinition is how large a definition without its kubeconfig may be, in bytes.
const maximumDefinition = 256 << 10

// Parse reads an account definition as Clouddriver and the replaced product write them. servers is as for Narrow.
func Parse(content []byte, servers []string) (Definition, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(content, &raw); err != nil {
		// The error may quote a credential.
		return Definition{}, errors.New("an account is a JSON object")
	}
	d := Definition{}
	var kubeconfig, agents, file, kind, context string
	var own bool
	texts := []struct {
		key string
		to  any
	}{{"name", &d.Name}, {"zoneId", &d.Zone}, {"labels", &d.Labels}, {"kubeconfigContents", &kubeconfig}, {"kubeconfigAgent", &agents}, {"kubeconfigFile", &file}, {"type", &kind},
		{"context", &context}, {"serviceAccount", &own}}
	for _, t := range texts {
		if value, given := raw[t.key]; given {
			if json.Unmarshal(value, t.to) != nil {
				return d, fmt.Errorf("%s: has the wrong type", t.key)
			}
			if t.key != "context" {
				delete(raw, t.key)
			}
		}
	}
	if problem := accounts.CheckName(d.Name); problem != "" {
		return d, errors.New(problem)
	}
	switch {
	case kind != "" && kind != "kubernetes":
		return d, fmt.Errorf("type: %q: want kubernetes", kind)
	case own:
		return d, errors.New("serviceAccount: true is the agent's own service account, which only the agent's own file may give; a dynamic account has a kubeconfig")
	case file != "":
		return d, errors.New("kubeconfigFile: a dynamic account's kubeconfig is no file; put its content into kubeconfigContents")
	case kubeconfig == "" && agents == "":
		return d, errors.New("kubeconfigContents: missing; put the kubeconfig there")
	case agents != "":
		kubeconfig = agents // another one for the agent than for Clouddriver, which has no use for its own here
	}
	if err := d.keys(raw); err != nil {
		return d, err
	}
	var err error
	if d.Kubeconfig, err = Narrow([]byte(kubeconfig), context, servers); err != nil {
		return d, fmt.Errorf("kubeconfigContents: %w", err)
	}
	return d, d.checkLabels()
}

// keys keeps what an agent takes.
func (d *Definition) keys(raw map[string]json.RawMessage) error {
	kept := map[string]json.RawMessage{}
	for key, value := range raw {
		switch {
		case slices.Contains(dropped, key) || bytes.Equal(bytes.TrimSpace(value), []byte("null")) || key == "context":
		case slices.Contains(used, key):
			kept[key] = value
		default:
			return fmt.Errorf("%s: no such key of an account", key)
		}
	}
	for _, pair := range [][2]string{{"namespaces", "omitNamespaces"}, {"kinds", "omitKinds"}} {
		if some(kept[pair[0]]) && some(kept[pair[1]]) {
			return fmt.Errorf("%s and %s: give one of them", pair[0], pair[1])
		}
	}
	if !some(kept["permissions"]) {
		// Clouddriver writes {} for an account that is open to everybody.
		if value := bytes.TrimSpace(kept["permissions"]); len(value) > 0 && !bytes.Equal(value, []byte("{}")) && !bytes.Equal(value, []byte("[]")) {
			return errors.New("permissions: want READ, WRITE or EXECUTE with lists of roles")
		}
		delete(kept, "permissions")
	}
	text, err := json.Marshal(kept)
	if err == nil && len(text) > maximumDefinition {
		err = fmt.Errorf("has %d bytes without its kubeconfig, at most %d are taken", len(text), maximumDefinition)
	}
	d.JSON = string(text)
	return err
}

// some tells whether a value is a list or an object that is not empty.
func some(value json.RawMessage) bool {
	var list []any
	var object map[string]any
	return json.Unmarshal(value, &list) == nil && len(list) > 0 || json.Unmarshal(value, &object) == nil && len(object) > 0
}

func (d *Definition) checkLabels() error {
	if len(d.Labels) > 32 {
		return fmt.Errorf("labels: %d are too many, at most 32 are taken", len(d.Labels))
	}
	for key, value := range d.Labels {
		if key == "" || len(key) > 63 || len(value) > 255 || strings.ContainsAny(key, "= ,\n") {
			return fmt.Errorf("labels: %q: a label's name has 1 to 63 characters without '=', ',' or space, its value at most 255", key)
		}
	}
	return nil
}

// InZone is a definition with another zone; "": as it is.
func InZone(content []byte, zone string) json.RawMessage {
	var raw map[string]json.RawMessage
	if zone == "" || json.Unmarshal(content, &raw) != nil {
		return content // what is wrong with it, Parse says
	}
	text, err := json.Marshal(zone)
	if err != nil {
		return content
	}
	raw["zoneId"] = text
	if content, err = json.Marshal(raw); err != nil {
		return nil
	}
	return content
}

// Names are those of definitions; "" for what has none.
func Names(definitions []string) []string {
	var names []string
	for _, d := range definitions {
		var named struct{ Name string }
		if json.Unmarshal([]byte(d), &named) != nil {
			named.Name = ""
		}
		names = append(names, named.Name)
	}
	return names
}
