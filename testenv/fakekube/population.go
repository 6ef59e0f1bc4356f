package fakekube

import (
	"fmt"
	"hash/fnv"
	"strconv"
)

// Population is what a cluster is filled with: applications, each a Deployment with its ReplicaSet, pods and a Service, as Spinnaker
// deploys them.
type Population struct {
	// Prefix of the applications' names; "": "app".
	Prefix       string
	Applications int
	// Pods of each application.
	Pods int
	// Namespaces that they are spread over; 0: ten.
	Namespaces int
	// Bytes of each object's JSON, about, without the managedFields that it also has.
	Bytes int
	// Application, if not "", is Spinnaker's application of all of them; else each is its own.
	Application string
}

// Application is one of a population.
type Application struct {
	Cluster         *Cluster
	Namespace, Name string
	// Pods are the names of those that there are.
	Pods []string

	spinnaker  string
	bytes      int
	replicaSet string // its uid
	made       int
}

// Objects is how many objects a population has, its namespaces left out.
func (p Population) Objects() int { return p.Applications * (p.Pods + 3) }

// Populate makes a population's objects. Its names are always the same.
func (c *Cluster) Populate(p Population) []*Application {
	if p.Namespaces == 0 {
		p.Namespaces = 10
	}
	if p.Prefix == "" {
		p.Prefix = "app"
	}
	for i := range p.Namespaces {
		c.mustPut("namespaces", "", fmt.Sprintf("team-%d", i), []byte(`{"status":{"phase":"Active"}}`))
	}
	var list []*Application
	for i := range p.Applications {
		a := &Application{Cluster: c, Namespace: fmt.Sprintf("team-%d", i%p.Namespaces), Name: fmt.Sprintf("%s%d", p.Prefix, i), bytes: p.Bytes, spinnaker: p.Application}
		if a.spinnaker == "" {
			a.spinnaker = a.Name
		}
		deployment := c.Make("deployments", a.Namespace, a.Name, a.workload("", p.Pods))
		a.replicaSet = c.Make("replicasets", a.Namespace, a.ReplicaSet(), a.workload(deployment, p.Pods))
		c.Make("services", a.Namespace, a.Name, a.service)
		for range p.Pods {
			a.AddPod()
		}
		list = append(list, a)
	}
	return list
}

// ReplicaSet is the name of the application's replica set.
func (a *Application) ReplicaSet() string { return a.Name + "-5d4f8c7b9" }

// AddPod makes one more pod, ready, and returns its name.
func (a *Application) AddPod() string {
	name := fmt.Sprintf("%s-%05d", a.ReplicaSet(), a.made)
	a.made++
	a.Cluster.Make("pods", a.Namespace, name, a.pod)
	a.Pods = append(a.Pods, name)
	return name
}

// RemovePod deletes the i-th pod.
func (a *Application) RemovePod(i int) {
	a.Cluster.Delete("pods", a.Namespace, a.Pods[i])
	a.Pods[i] = a.Pods[len(a.Pods)-1]
	a.Pods = a.Pods[:len(a.Pods)-1]
}

// object begins an object's JSON; labels and owner are those of its kind.
func (a *Application) object(to []byte, s State, labels, owner string) []byte {
	return fmt.Appendf(to, `{"metadata":{"name":%q,"namespace":%q,"uid":%q,"resourceVersion":"%d","generation":1,"creationTimestamp":"2026-01-02T03:04:05Z",`+
		`"labels":{"app":%q,"app.kubernetes.io/name":%q,"app.kubernetes.io/managed-by":"spinnaker"%s},`+
		`"annotations":{"artifact.spinnaker.io/location":%q,"artifact.spinnaker.io/name":%q,"artifact.spinnaker.io/version":"","artifact.spinnaker.io/type":"kubernetes/deployment",`+
		`"moniker.spinnaker.io/application":%q,"moniker.spinnaker.io/cluster":"deployment %s"}%s,`+
		`"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":`+
		`{"f:metadata":{"f:annotations":{".":{},"f:artifact.spinnaker.io/location":{},"f:artifact.spinnaker.io/name":{}},"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:env":{},"f:image":{},"f:name":{}}}},"f:status":{"f:conditions":{}}}}]},`,
		s.Name, s.Namespace, s.UID, s.Version, a.Name, a.Name, labels, s.Namespace, a.Name, a.spinnaker, a.Name, owner)
}

// managedBytes is the size of what object writes in vain.
const managedBytes = 500

func owner(kind, name, uid string) string {
	if uid == "" {
		return ""
	}
	return fmt.Sprintf(`,"ownerReferences":[{"apiVersion":"apps/v1","kind":%q,"name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]`, kind, name, uid)
}

const hashLabel = `,"pod-template-hash":"5d4f8c7b9"`

// containers fills an object up to the size that is wanted with what its container has in its environment; rest bytes follow. Views show the
// release, as a part of the image's name.
func (a *Application) containers(to []byte, begin, rest, release int) []byte {
	to = fmt.Appendf(to, `"containers":[{"name":"main","image":"registry.example.com/team/%s:1.42.%d","imagePullPolicy":"IfNotPresent","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}],`+
		`"resources":{"limits":{"memory":"512Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},"terminationMessagePath":"/dev/termination-log","env":[`, a.Name, release)
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(a.Name))
	for i := 0; len(to)-begin < a.bytes+managedBytes-rest; i++ {
		if i > 0 {
			to = append(to, ',')
		}
		_, _ = hash.Write([]byte{byte(i)})
		to = append(to, `{"name":"SETTING_`...)
		to = strconv.AppendInt(to, int64(i), 10)
		to = append(to, `","value":"`...)
		to = strconv.AppendUint(to, hash.Sum64(), 36)
		to = append(to, `"}`...)
	}
	return append(to, `]}]`...)
}

func (a *Application) pod(to []byte, s State) []byte {
	begin := len(to)
	to = a.object(to, s, hashLabel, owner("ReplicaSet", a.ReplicaSet(), a.replicaSet))
	to = append(to, `"spec":{"nodeName":"node-7","restartPolicy":"Always","serviceAccountName":"default",`...)
	to = a.containers(to, begin, 900, 0)
	return fmt.Appendf(to, `},"status":{"phase":"Running","hostIP":"10.0.0.7","podIP":"10.1.2.3","startTime":"2026-01-02T03:04:05Z","qosClass":"Burstable",`+
		`"conditions":[{"type":"Initialized","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"},{"type":"Ready","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"},`+
		`{"type":"ContainersReady","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"},{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"}],`+
		`"containerStatuses":[{"name":"main","ready":true,"started":true,"restartCount":%d,"image":"registry.example.com/team/%s:1.42.0","containerID":"containerd://0123456789abcdef","state":{"running":{"startedAt":"2026-01-02T03:04:05Z"}}}]}}`,
		s.Round, a.Name)
}

// workload is the deployment, or the replica set if there is an owner.
func (a *Application) workload(ownerUID string, pods int) Template {
	labels := ""
	if ownerUID != "" {
		labels = hashLabel
	}
	return func(to []byte, s State) []byte {
		begin := len(to)
		to = a.object(to, s, labels, owner("Deployment", a.Name, ownerUID))
		to = fmt.Appendf(to, `"spec":{"replicas":%d,"selector":{"matchLabels":{"app":%q%s}},"template":{"metadata":{"labels":{"app":%q%s}},"spec":{`, pods, a.Name, labels, a.Name, labels)
		to = a.containers(to, begin, 300, s.Round)
		return fmt.Appendf(to, `}}},"status":{"replicas":%d,"readyReplicas":%d,"availableReplicas":%d,"observedGeneration":%d}}`, pods, pods, pods, s.Round+1)
	}
}

func (a *Application) service(to []byte, s State) []byte {
	to = a.object(to, s, "", "")
	return fmt.Appendf(to, `"spec":{"type":"ClusterIP","clusterIP":"10.2.0.%d","selector":{"app":%q},"ports":[{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}]},"status":{"loadBalancer":{}}}`, s.Round%250, a.Name)
}
