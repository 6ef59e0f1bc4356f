package execute

import (
	"context"
	"fmt"
	"io"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubectl/pkg/cmd/util/podcmd"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	"k8s.io/kubectl/pkg/scheme"
	"k8s.io/kubectl/pkg/util/podutils"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// podTimeout is kubectl's --pod-running-timeout of logs: how long a pod of a job may take to appear.
	podTimeout = 20 * time.Second
	// logsBuffer is how much of a log is in memory at once; the rest waits in the connection to the API server.
	logsBuffer = 32 << 10
)

// logs passes the kubelet's lines on as they come. It is written anew because kubectl's writes to the process's own standard
// error, and waits for signals.
func (r *run) logs(op *linkv1.Logs) error {
	options, err := logOptions(op)
	if err != nil {
		return err
	}
	object, err := r.logged(op)
	if err != nil {
		return err
	}
	config, err := r.ToRESTConfig()
	if err != nil {
		return err
	}
	client, err := corev1client.NewForConfig(config)
	if err != nil {
		return err
	}
	pod, err := r.podOf(client, object)
	if err != nil {
		return err
	}
	containers, err := r.containers(pod, op)
	if err != nil {
		return err
	}
	buffer := make([]byte, logsBuffer)
	for _, c := range containers {
		options.Container = c
		if err := r.copyLogs(client, pod, options, buffer); err != nil {
			return err
		}
	}
	return nil
}

func logOptions(op *linkv1.Logs) (*corev1.PodLogOptions, error) {
	options := &corev1.PodLogOptions{Previous: op.GetPrevious(), Timestamps: op.GetTimestamps(), TailLines: op.TailLines}
	if s := op.GetSinceSeconds(); s != 0 {
		options.SinceSeconds = &s
	}
	if op.GetSinceTime() != "" {
		t, err := time.Parse(time.RFC3339, op.GetSinceTime())
		if err != nil {
			return nil, err
		}
		since := metav1.NewTime(t)
		options.SinceTime = &since
	}
	if b := op.GetLimitBytes(); b != 0 {
		options.LimitBytes = &b
	}
	return options, nil
}

// logged finds what the command line names.
func (r *run) logged(op *linkv1.Logs) (runtime.Object, error) {
	namespace, target := r.namespaceOr(op.GetNamespace()), op.GetName()
	if op.GetKind() != "" {
		target = op.GetKind() + "/" + target
	}
	infos, err := r.command("logs", namespace).factory.NewBuilder().
		WithScheme(scheme.Scheme, scheme.Scheme.PrioritizedVersionsAllGroups()...).
		NamespaceParam(namespace).DefaultNamespace().
		SingleResourceType().
		ResourceNames("pods", target).
		Do().Infos()
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("error from server (NotFound): %w in namespace %q", err, namespace)
	case err != nil:
		return nil, err
	case len(infos) != 1:
		return nil, fmt.Errorf("expected a resource")
	}
	return infos[0].Object, nil
}

// podOf is the pod itself, or the one that kubectl would take of a workload's.
func (r *run) podOf(client corev1client.PodsGetter, object runtime.Object) (*corev1.Pod, error) {
	if pod, is := object.(*corev1.Pod); is {
		return pod, nil
	}
	namespace, selector, err := polymorphichelpers.SelectorsForObject(object)
	if err != nil {
		return nil, fmt.Errorf("cannot get the logs from %T: %w", object, err)
	}
	order := func(pods []*corev1.Pod) sort.Interface { return podutils.ByLogging(pods) }
	pod, count, err := polymorphichelpers.GetFirstPod(client, namespace, selector.String(), podTimeout, order)
	if err != nil {
		return nil, err
	}
	if count > 1 {
		r.notes = append(r.notes, fmt.Sprintf("Found %v pods, using pod/%v", count, pod.Name))
	}
	return pod, nil
}

// containers are those whose logs are asked for, in the order in which they start.
func (r *run) containers(pod *corev1.Pod, op *linkv1.Logs) ([]string, error) {
	if op.GetAllContainers() {
		return allContainers(pod), nil
	}
	name := op.GetContainer()
	if chosen := pod.Annotations[podcmd.DefaultContainerAnnotationName]; name == "" && chosen != "" {
		if found, _ := podcmd.FindContainerByName(pod, chosen); found != nil {
			name = chosen
		} else {
			r.notes = append(r.notes, fmt.Sprintf("Default container name %q not found in pod %s", chosen, pod.Name))
		}
	}
	if name == "" {
		name = pod.Spec.Containers[0].Name
		if len(pod.Spec.Containers)+len(pod.Spec.InitContainers)+len(pod.Spec.EphemeralContainers) > 1 {
			r.notes = append(r.notes, fmt.Sprintf("Defaulted container %q out of: %s", name, podcmd.AllContainerNames(pod)))
		}
	}
	if found, _ := podcmd.FindContainerByName(pod, name); found == nil {
		return nil, fmt.Errorf("container %s is not valid for pod %s out of: %s", name, pod.Name, podcmd.AllContainerNames(pod))
	}
	return []string{name}, nil
}

func allContainers(pod *corev1.Pod) []string {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	return names
}

// copyLogs reads only as fast as the output is taken.
func (r *run) copyLogs(client corev1client.PodsGetter, pod *corev1.Pod, options *corev1.PodLogOptions, buffer []byte) error {
	body, err := client.Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(r.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	// The wrappers keep io.Copy from reading in pieces of its own choice.
	_, err = io.CopyBuffer(struct{ io.Writer }{textWriter{r}}, struct{ io.Reader }{body}, buffer)
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}
