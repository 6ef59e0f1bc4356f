// Command kubectl is kubectl as k8s.io/kubectl of this module's go.mod has it, so that stock accounts and differential
// tests run the very code that the agent's own operations are built on.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
