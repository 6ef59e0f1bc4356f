package config

import (
	"encoding/json"
	"errors"
	"fmt"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Assigned reads an account that a bridge gave to the agent, by the same rules as one of the file.
func Assigned(a *linkv1.Assign) (Account, error) {
	var entry map[string]any
	if err := json.Unmarshal(a.GetDefinition(), &entry); err != nil {
		return Account{}, errors.New("the definition is no JSON object")
	}
	entry["name"] = a.GetAccount()
	for _, key := range []string{"kubeconfigFile", "kubeconfigContents", "serviceAccount"} {
		if _, given := entry[key]; given {
			return Account{}, fmt.Errorf("%s: a dynamic account's kubeconfig comes apart from its definition", key)
		}
	}
	if len(a.GetKubeconfig()) == 0 {
		return Account{}, errors.New("there is no kubeconfig")
	}
	content, err := json.Marshal(map[string]any{"kubernetes": map[string]any{"accounts": []any{entry}}})
	if err != nil {
		return Account{}, err
	}
	t, err := parseTree("definition", content)
	if err != nil {
		return Account{}, err
	}
	nodes := accountNodes(t.root)
	if len(t.problems) > 0 || len(nodes) != 1 {
		return Account{}, errors.Join(t.problems...)
	}
	if errs := t.accountProblems[nodes[0]]; len(errs) > 0 {
		return Account{}, errors.Join(errs...)
	}
	account, err := decodeAccount(nodes[0])
	if err != nil {
		return Account{}, err
	}
	account.Kubeconfig, account.Revision = a.GetKubeconfig(), a.GetRevision()
	return account, account.validate()
}
