package fakekube

import (
	"context"
	"testing"

	"github.com/fairlead/fairlead/proto/cats"
)

func TestAPopulationIsWhatCatsTakesAndHasItsSize(t *testing.T) {
	c := newCluster(nil, "c")
	p := Population{Applications: 3, Pods: 4, Bytes: 4096}
	applications := c.Populate(p)
	count := 0
	for _, plural := range []string{"deployments", "replicasets", "services", "pods"} {
		count += c.Count(plural)
		k := c.find("", plural)
		for key, o := range k.objects {
			content, err := decode(whole(&k.resource, o, false))
			if err != nil {
				t.Fatalf("%s: %v\n%s", key, err, o.appendTo(nil))
			}
			delete(metadataOf(content), "managedFields")
			if found, err := cats.KeyOf(content); err != nil || found.Path() != key {
				t.Error(found, err)
			}
			if size := len(encode(content)); plural != "services" && (size < 3900 || size > 4300) {
				t.Errorf("%s %s has %d bytes", plural, key, size)
			}
		}
	}
	if count != p.Objects() {
		t.Errorf("%d objects, want %d", count, p.Objects())
	}
	a := applications[1]
	before := c.Version()
	a.RemovePod(0)
	a.AddPod()
	if c.Count("pods") != 12 || c.Version() != before+2 || len(a.Pods) != 4 {
		t.Error(c.Count("pods"), c.Version()-before, a.Pods)
	}
}

func TestChurnKeepsTheNumberOfObjects(t *testing.T) {
	c := newCluster(nil, "c")
	applications := c.Populate(Population{Applications: 2, Pods: 5, Bytes: 500})
	before := c.Version()
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan int)
	go func() { made <- Churn(ctx, applications, 10_000, 1) }()
	for c.Version() < before+200 {
		c.mu.Lock()
		changed := c.find("", "pods").changed
		c.mu.Unlock()
		<-changed
	}
	cancel()
	if n := <-made; c.Version() != before+int64(n) || c.Count("pods") != 10 {
		t.Errorf("%d changes are said, %d were made; %d pods", n, c.Version()-before, c.Count("pods"))
	}
}

func TestAKeptHistoryIsBoundedAndSaysSo(t *testing.T) {
	c := newCluster(nil, "c")
	applications := c.Populate(Population{Applications: 1, Pods: 2, Bytes: 10})
	before := c.Version()
	for range historyLength + 1 {
		c.Touch("pods", applications[0].Namespace, applications[0].Pods[0])
	}
	k := c.find("", "pods")
	if _, known := k.after(before); known || len(k.history) > historyLength {
		t.Errorf("known: %v, %d changes are kept", known, len(k.history))
	}
	if list, known := k.after(c.Version() - 10); !known || len(list) != 10 {
		t.Error(known, len(list))
	}
}
