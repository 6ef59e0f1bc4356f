package testenv

import (
	"context"
	"fmt"

	"github.com/fairlead/fairlead/testenv/internal/process"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodeNames are the nodes of a cluster; kwok plays them.
var nodeNames = []string{"node-1", "node-2", "node-3"}

func kwokSpec(name, program, stages, kubeconfig, dir, log string, port int) process.Spec {
	return process.Spec{
		Name: name, Dir: dir, Log: log,
		Args: []string{
			program, "--config=" + stages, "--kubeconfig=" + kubeconfig, "--manage-all-nodes=true",
			"--server-address=" + loopback(port),
		},
		Health: "http://" + loopback(port) + "/healthz",
	}
}

// makeNodes makes the nodes and waits until pods can be bound to them.
func makeNodes(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range nodeNames {
		_, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
		}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return Wait(ctx, func(ctx context.Context) error {
		for _, name := range nodeNames {
			node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !nodeReady(node) {
				return fmt.Errorf("node %s is not ready", name)
			}
		}
		return nil
	})
}

// nodeReady tells whether the scheduler binds pods to the node.
func nodeReady(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoSchedule {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
