package execute

import (
	"k8s.io/kubectl/pkg/cmd/top"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// top prints kubectl's table of what pods use, as the metrics API says.
func (r *run) top(op *linkv1.Top) error {
	c := r.command("pod", op.GetNamespace())
	o := &top.TopPodOptions{IOStreams: c.streams, UseProtocolBuffers: true, PrintContainers: op.GetContainers(), LabelSelector: op.GetLabelSelector()}
	var pods []string
	if op.GetPod() != "" {
		pods = []string{op.GetPod()}
	}
	if err := o.Complete(c.factory, c.cobra, pods); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	return c.end(o.RunTopPod())
}
