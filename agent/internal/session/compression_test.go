package session

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// workload is a deployment's pod as a cluster has it, of about 4 KiB, with what differs from pod to pod.
func workload(i int) map[string]any {
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"checkout-%[1]d-7d9f8c6b5-%05[2]x","namespace":"team-%[3]d","uid":"%08[2]x-11d2-4f0a-9d55-%012[2]x","resourceVersion":"%[4]d",
"creationTimestamp":"2026-01-01T00:%02[5]d:%02[6]dZ","labels":{"app":"checkout-%[1]d","pod-template-hash":"7d9f8c6b5","app.kubernetes.io/managed-by":"spinnaker","app.kubernetes.io/name":"checkout"},
"annotations":{"moniker.spinnaker.io/application":"checkout","moniker.spinnaker.io/cluster":"deployment checkout-%[1]d","artifact.spinnaker.io/location":"team-%[3]d","artifact.spinnaker.io/name":"checkout-%[1]d","artifact.spinnaker.io/type":"kubernetes/deployment"},
"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"checkout-%[1]d-7d9f8c6b5","uid":"%08[1]x-aaaa-bbbb","controller":true,"blockOwnerDeletion":true}]},
"spec":{"containers":[{"name":"checkout","image":"registry.example.com/shop/checkout:1.%[7]d.3","ports":[{"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"JAVA_OPTS","value":"-Xmx512m -XX:+UseG1GC"},{"name":"SPRING_PROFILES_ACTIVE","value":"prod"},
{"name":"DB_URL","value":"jdbc:mysql://mysql.team-%[3]d.svc:3306/checkout"},{"name":"POD_NAME","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}}],"resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"100m","memory":"512Mi"}},
"livenessProbe":{"httpGet":{"path":"/health/live","port":8080,"scheme":"HTTP"},"initialDelaySeconds":30,"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},
"readinessProbe":{"httpGet":{"path":"/health/ready","port":8080,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},
"volumeMounts":[{"name":"kube-api-access-%05[2]x","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],
"volumes":[{"name":"kube-api-access-%05[2]x","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],
"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","nodeName":"node-%[3]d","schedulerName":"default-scheduler","priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},
"status":{"phase":"Running","conditions":[{"type":"Initialized","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:%02[5]d:%02[6]dZ"},{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:%02[5]d:%02[6]dZ"},
{"type":"ContainersReady","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:%02[5]d:%02[6]dZ"},{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:%02[5]d:%02[6]dZ"}],
"hostIP":"10.0.%[3]d.1","podIP":"10.1.%[3]d.%[6]d","startTime":"2026-01-01T00:%02[5]d:%02[6]dZ","containerStatuses":[{"name":"checkout","state":{"running":{"startedAt":"2026-01-01T00:%02[5]d:%02[6]dZ"}},"lastState":{},"ready":true,"restartCount":0,
"image":"registry.example.com/shop/checkout:1.%[7]d.3","imageID":"registry.example.com/shop/checkout@sha256:%064[2]x","containerID":"containerd://%064[8]x","started":true}],"qosClass":"Burstable"}}`,
		i/10, i*2654435761%0xfffff, i%50, 100_000+i*37, i%60, i*7%60, i%30, i*40503)
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		panic(err)
	}
	return object
}

// batch is a frame as the inventory stream carries it, of so many pods.
func batch(tb testing.TB, pods int) []byte {
	tb.Helper()
	inventory := cats.NewInventory("production-eu", cats.Options{})
	frame := &linkv1.Batch{}
	for i := range pods {
		changes, err := inventory.Put(workload(i))
		if err != nil {
			tb.Fatal(err)
		}
		frame.Changes = append(frame.Changes, toLink(changes)...)
	}
	message, err := proto.Marshal(&linkv1.InventoryUp{Account: "production-eu", Epoch: 1, Seq: 1, Step: &linkv1.InventoryUp_Batch{Batch: frame}})
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

// BenchmarkCompression measures what docs/benchmarks.md says about compressing inventory: the ratio, and processor time for each MB in both
// directions, for a batch of a first load and for one of a single change.
func BenchmarkCompression(b *testing.B) {
	fast, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	reader, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	zipper := func(level int) func([]byte) []byte {
		z, err := gzip.NewWriterLevel(io.Discard, level)
		if err != nil {
			b.Fatal(err)
		}
		return func(message []byte) []byte {
			var out bytes.Buffer
			z.Reset(&out)
			_, _ = z.Write(message)
			_ = z.Close()
			return out.Bytes()
		}
	}
	unzip := func(packed []byte) int {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, z)
		if err != nil {
			b.Fatal(err)
		}
		return int(n)
	}
	unzstd := func(packed []byte) int {
		out, err := reader.DecodeAll(packed, nil)
		if err != nil {
			b.Fatal(err)
		}
		return len(out)
	}
	for _, pods := range []int{1, 60} {
		message := batch(b, pods)
		for _, c := range []struct {
			name   string
			pack   func([]byte) []byte
			unpack func([]byte) int
		}{
			{"gzip-1", zipper(1), unzip}, {"gzip-6", zipper(6), unzip},
			{"zstd-fastest", func(m []byte) []byte { return fast.EncodeAll(m, nil) }, unzstd},
		} {
			packed := c.pack(message)
			if c.unpack(packed) != len(message) {
				b.Fatal("it does not come back")
			}
			b.Run(fmt.Sprintf("%s/pods=%d/pack", c.name, pods), func(b *testing.B) {
				b.SetBytes(int64(len(message)))
				b.ReportAllocs()
				for b.Loop() {
					c.pack(message)
				}
				b.ReportMetric(float64(len(message))/float64(len(packed)), "ratio")
				b.ReportMetric(float64(len(message)), "message-bytes")
			})
			b.Run(fmt.Sprintf("%s/pods=%d/unpack", c.name, pods), func(b *testing.B) {
				b.SetBytes(int64(len(message)))
				for b.Loop() {
					c.unpack(packed)
				}
			})
		}
	}
}
