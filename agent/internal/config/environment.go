package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// environmentPrefix begins the variables that set keys: FAIRLEAD_CLOUDDRIVER_GRPC is clouddriver.grpc.
const environmentPrefix = "FAIRLEAD_"

// accountVariable names an account of the pod's own cluster: with it, an agent needs no file.
const accountVariable = environmentPrefix + "ACCOUNT"

// ownAccount is the account of the cluster that the agent runs in.
func ownAccount(name string) *yaml.Node {
	text := func(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value} }
	one := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{text("name"), text(name), text("serviceAccount"), text("true")}}
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{one}}
	accounts := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{text("accounts"), list}}
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{text("kubernetes"), accounts}}
}

// fromEnvironment is what the variables say, as a file that is laid over the others; nil if they say nothing. Lists of texts are written with commas,
// lists of sections (accounts) cannot be. given: the files list accounts.
func fromEnvironment(getenv func(string) string, given bool) (*tree, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	variables(root, keys(), environmentPrefix, getenv)
	if name := strings.TrimSpace(getenv(accountVariable)); name != "" && !given {
		overlay(root, ownAccount(name))
	}
	if len(root.Content) == 0 {
		return nil, nil //nolint:nilnil // no file
	}
	content, err := yaml.Marshal(root)
	if err != nil {
		return nil, err
	}
	return parseTree("environment "+environmentPrefix+"…", content)
}

func variables(into *yaml.Node, known map[string]key, prefix string, getenv func(string) string) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		k, variable := known[name], prefix+strings.ToUpper(name)
		var value *yaml.Node
		switch k.shape {
		case section:
			value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			variables(value, k.keys, variable+"_", getenv)
			if len(value.Content) == 0 {
				continue
			}
		case sections, anything:
			continue
		default:
			text := strings.TrimSpace(getenv(variable))
			if text == "" || strings.HasPrefix(text, "tcp://") { // Kubernetes sets such for a Service whose name fits
				continue
			}
			value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
			if k.shape == texts {
				value = separated(text)
			}
		}
		into.Content = append(into.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, value)
	}
}

// separated makes a list of a text with commas.
func separated(text string) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: item})
		}
	}
	return list
}
