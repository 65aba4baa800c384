// Command kubernetes is the test cluster's programs in one binary: etcd, the control plane, the
// kubelet and kubectl.
//
// The base name of argv[0] chooses the program, so a folder of symbolic links to this binary can
// stand in for a folder of the separate programs. One binary instead of six links the packages that
// they share once, which is most of the time and of the disk space that a build takes.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	// CronJobs name time zones, and the machine may have no database of them.
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlerrors "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// The components' own main packages register these too: logs as JSON, and the metrics of the
	// client and of the version.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// exitUsage is the exit code for a name that is none of the programs.
const exitUsage = 2

// components are the programs that are served by the component-base framework.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	name := filepath.Base(os.Args[0])
	switch component, isComponent := components[name]; {
	case name == "etcd":
		etcdmain.Main(os.Args)
	case name == "kubectl":
		// kubectl words its own errors, so the framework must not print them a second time.
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlerrors.CheckErr(err)
		}
	case isComponent:
		os.Exit(cli.Run(component()))
	default:
		fmt.Fprintf(os.Stderr, "%s: link this binary as etcd, kubectl, kube-apiserver, "+
			"kube-controller-manager, kube-scheduler or kubelet\n", name)
		os.Exit(exitUsage)
	}
}
