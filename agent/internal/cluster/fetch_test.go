package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/testenv/fakekube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A fake API server counts the pages; that the answers are right is tested on a real one.
func TestAFetchOfManyObjectsListsNoFurtherThanItHasTo(t *testing.T) {
	fake := fakekube.Start(t).Add("fetch")
	const objects = 3*pageSize + 1
	for i := range objects {
		if err := fake.Put("configmaps", "default", fmt.Sprintf("c-%05d", i), []byte(`{"data":{}}`)); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig, err := fake.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	account := config.Account{Name: "acct", KubeconfigFile: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(account.KubeconfigFile, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(account, Options{UserAgent: "fairlead-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, test := range []struct {
		last         string
		pages, found int
	}{
		{"c-00030", 1, 30},
		{fmt.Sprintf("c-%05d", pageSize+1), 2, 30},
		{"not-there", 4, 29},
	} {
		var keys []cats.Key
		for i := range few + 9 {
			keys = append(keys, cats.Key{Type: "configMap", Scope: "default", Name: fmt.Sprintf("c-%05d", i)})
		}
		keys = append(keys, cats.Key{Type: "configMap", Scope: "default", Name: test.last})
		before, found, missing := fake.Asked("list", "configmaps"), 0, 0
		err := c.Fetch(context.Background(), "configMap", keys, func(_ cats.Key, object map[string]any, err error) error {
			switch {
			case apierrors.IsNotFound(err):
				missing++
			case err != nil:
				return err
			case object["kind"] == "ConfigMap":
				found++
			}
			return nil
		})
		if pages := fake.Asked("list", "configmaps") - before; err != nil || pages != test.pages || found != test.found || found+missing != len(keys) {
			t.Errorf("up to %s: %d pages, %d found, %d missing, %v; want %d pages, %d found", test.last, pages, found, missing, err, test.pages, test.found)
		}
	}
}
