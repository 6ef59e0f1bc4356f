package operations

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	manyObjects = 20_000
	objectBytes = 3_000
	// growthBytes is what a list or log may add to the memory of bridge and agent, however long it is: a page of 500 objects as text and
	// as values, windows of flow control (8 MiB), and what a garbage collector leaves lying. A log four times as long adds no more.
	growthBytes = 40 << 20
)

// manyAreStreamed lists many objects and looks at the memory that bridge and agent need for it.
func (c *chain) manyAreStreamed(t *testing.T) {
	count := manyObjects
	if testing.Short() {
		count /= 4
	}
	const namespace = "many"
	c.admin(t)("", "create", "namespace", namespace)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	must(t, c.makeMany(ctx, namespace, count))

	list := []string{"--namespace=" + namespace, "-o", "json", "get", "configMap", "-l=many=yes"}
	// A first time, for what stays: buffers, connections, code.
	if _, err := c.countItems(ctx, []string{"--namespace=" + namespace, "-o", "json", "get", "configMap", "-l=first=yes"}); err != nil {
		t.Fatal(err)
	}
	c.staysSmall(t, fmt.Sprintf("a list of %d objects of %d bytes", count, objectBytes), func() {
		found, err := c.countItems(ctx, list)
		must(t, err)
		if found != count {
			t.Errorf("%d objects were listed, want %d", found, count)
		}
	})
}

// staysSmall looks at the memory that bridge and agent need while something large passes through them.
func (c *chain) staysSmall(t *testing.T, what string, pass func()) {
	t.Helper()
	pids := map[string]int{"bridge": c.Bridges[0].PID, "agent": c.Agents[0].PID}
	before := map[string]int{}
	for part, pid := range pids {
		must(t, resetPeak(pid))
		before[part] = peak(t, pid)
	}
	began := time.Now()
	pass()
	for part, pid := range pids {
		grown := peak(t, pid) - before[part]
		t.Logf("%s: %d MiB before %s, at most %d MiB more during it (%s)", part, before[part]>>20, what, grown>>20, time.Since(began))
		if grown > growthBytes {
			t.Errorf("the %s needed %d MiB more for %s", part, grown>>20, what)
		}
	}
}

// longLogIsStreamed reads a long log as it comes.
func (c *chain) longLogIsStreamed(t *testing.T) {
	const namespace = "longlog"
	c.admin(t)("", "create", "namespace", namespace)
	c.admin(t)(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"long","namespace":"`+namespace+`"},
"spec":{"nodeName":"`+loggingNode+`","containers":[{"name":"long","image":"i"}]}}`, "create", "-f", "-")
	c.admin(t)("", "wait", "--namespace="+namespace, "--for=condition=Ready", "pod/long")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()

	want := sha256.New()
	must(t, writeLongLog(want))
	c.staysSmall(t, fmt.Sprintf("a log of %d MiB", longLogBytes>>20), func() {
		got := sha256.New()
		var stderr strings.Builder
		exit, err := c.stream(ctx, c.Clusters[0].Account, []string{"--namespace=" + namespace, "logs", "long", "-c=long"}, "", got, &stderr)
		must(t, err)
		if exit != 0 || stderr.Len() > 0 {
			t.Fatalf("exit code %d: %s", exit, stderr.String())
		}
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Error("the log that arrived is not the one that was sent")
		}
	})
}

// makeMany makes ConfigMaps; the first 1,000 have a label of their own.
func (c *chain) makeMany(ctx context.Context, namespace string, count int) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Clusters[0].Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // as fast as the API server takes them
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	text := strings.Repeat("x", objectBytes)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for n := range count {
		group.Go(func() error {
			labels := map[string]string{"many": "yes"}
			if n < 1000 {
				labels["first"] = "yes"
			}
			_, err := kube.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%05d", n), Labels: labels}, Data: map[string]string{"text": text},
			}, metav1.CreateOptions{})
			return err
		})
	}
	return group.Wait()
}

// countItems reads a list as it comes and checks that it is in order and complete.
func (c *chain) countItems(ctx context.Context, list []string) (int, error) {
	reader, writer := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		var stderr strings.Builder
		exit, err := c.stream(ctx, c.Clusters[0].Account, list, "", writer, &stderr)
		if err == nil && (exit != 0 || stderr.Len() > 0) {
			err = fmt.Errorf("exit code %d: %s", exit, stderr.String())
		}
		return writer.CloseWithError(err)
	})
	count, err := readItems(reader)
	_ = reader.CloseWithError(err)
	if other := group.Wait(); err == nil {
		err = other
	}
	return count, err
}

func readItems(list io.Reader) (int, error) {
	decoder := json.NewDecoder(list)
	for {
		token, err := decoder.Token()
		if err != nil {
			return 0, err
		}
		if token == "items" {
			break
		}
	}
	if _, err := decoder.Token(); err != nil {
		return 0, err
	}
	count, last := 0, ""
	for decoder.More() {
		var item struct {
			Kind     string
			Metadata struct{ Name string }
			Data     struct{ Text string }
		}
		if err := decoder.Decode(&item); err != nil {
			return count, err
		}
		if item.Kind != "ConfigMap" || item.Metadata.Name <= last || len(item.Data.Text) != objectBytes {
			return count, fmt.Errorf("%s %s after %s, with %d bytes", item.Kind, item.Metadata.Name, last, len(item.Data.Text))
		}
		last = item.Metadata.Name
		count++
	}
	_, err := io.Copy(io.Discard, io.MultiReader(decoder.Buffered(), list))
	return count, err
}

// resetPeak begins a new peak of a process's resident memory (proc_pid_clear_refs(5)).
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peak is the largest resident memory of a process since then, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(content), "VmHWM:")
	var kilobytes int
	_, err = fmt.Sscan(rest, &kilobytes)
	must(t, err)
	return kilobytes << 10
}
