// Command kubectl is kubectl alone, as people have it.
//
// The cluster's own kubectl is one name of a binary that holds the control plane too, whose packages
// take longer to initialize than kubectl takes to answer. Benches that compare with kubectl need this one.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	// kubectl's own main package registers these too: the credential plugins of clients.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		// kubectl words its own errors, so the framework must not print them a second time.
		util.CheckErr(err)
	}
}
