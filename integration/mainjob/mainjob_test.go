package mainjob

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

func TestDeployReachesTheClusterAndShowsInCachedViews(t *testing.T) {
	for _, version := range testenv.Versions() {
		t.Run(version, func(t *testing.T) {
			env := testenv.UpForTest(t, testenv.Options{Clouddriver: version})
			s := on(t, env, "storefront")
			ctx := within(t, 2*time.Minute)

			_, err := s.Deploy(ctx, s.Manifests(3, "one")...)
			must(t, err)
			_, _, err = s.AwaitViews(ctx, story.Running(3))
			must(t, err)
			liveObjects(ctx, t, s)
			rows(ctx, t, env, s)

			must(t, s.ScaleBehind(ctx, 5))
			_, _, err = s.AwaitViews(ctx, story.Running(5))
			must(t, err)

			if version == testenv.DefaultClouddriver {
				t.Run("second deploy makes a new version of the ConfigMap", func(t *testing.T) { secondDeploy(t, env, s) })
				t.Run("delete", func(t *testing.T) { deleted(t, env, on(t, env, "shortlived")) })
				t.Run("restarts", func(t *testing.T) { restarts(t, env, s) })
				t.Run("faults", func(t *testing.T) { faults(t, env, s) })
				t.Run("secrets", func(t *testing.T) { secrets(t, env) })
			}
		})
	}
}

// liveObjects asserts what is in the cluster.
func liveObjects(ctx context.Context, t *testing.T, s *story.Story) {
	t.Helper()
	d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, s.App+"-web", metav1.GetOptions{})
	must(t, err)
	if app := d.Annotations["moniker.spinnaker.io/application"]; app != s.App {
		t.Errorf("the deployment's application is %q, want %q", app, s.App)
	}
	if d.Annotations["kubectl.kubernetes.io/last-applied-configuration"] == "" {
		t.Error("the deployment has no last-applied-configuration, which kubectl apply would have left")
	}
	if name := d.Spec.Template.Spec.Volumes[0].ConfigMap.Name; name != s.App+"-settings-v000" {
		t.Errorf("the deployment mounts ConfigMap %q, want the versioned %s-settings-v000", name, s.App)
	}
	_, err = s.Kube.CoreV1().Services(s.Namespace).Get(ctx, s.App+"-front", metav1.GetOptions{})
	must(t, err)
}

// rows asserts what is in Clouddriver's tables: bodies by the agent that stock Clouddriver would have, links in the _rel tables.
func rows(ctx context.Context, t *testing.T, env *testenv.Env, s *story.Story) {
	t.Helper()
	db := database(t, env)
	agent := s.Account + "/KubernetesCoreCachingAgent[1/1]"
	for kind, want := range map[string]int{"deployment": 1, "replicaSet": 1, "pod": 3, "service": 1} {
		var n int
		must(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM cats_v1_"+kind+" WHERE agent = ? AND id LIKE ?", agent, //nolint:gosec // one of four names
			fmt.Sprintf("kubernetes.v2:infrastructure:%s:%s:%s:%%", kind, s.Account, s.Namespace)).Scan(&n))
		if n != want {
			t.Errorf("%d rows in cats_v1_%s, want %d", n, kind, want)
		}
	}
	for query, want := range map[string]int{
		"SELECT COUNT(*) FROM cats_v1_replicaSet_rel WHERE id LIKE ? AND rel_type = 'pod'":     3,
		"SELECT COUNT(*) FROM cats_v1_replicaSet_rel WHERE id LIKE ? AND rel_type = 'service'": 1,
	} {
		var n int
		must(t, db.QueryRowContext(ctx, query, fmt.Sprintf("kubernetes.v2:infrastructure:replicaSet:%s:%s:%%", s.Account, s.Namespace)).Scan(&n))
		if n != want {
			t.Errorf("%d links by %q, want %d", n, query, want)
		}
	}
}

func secondDeploy(t *testing.T, env *testenv.Env, s *story.Story) {
	ctx := within(t, 2*time.Minute)
	_, err := s.Deploy(ctx, s.Manifests(3, "two")...)
	must(t, err)
	for name, want := range map[string]string{"-settings-v000": "one", "-settings-v001": "two"} {
		c, err := s.Kube.CoreV1().ConfigMaps(s.Namespace).Get(ctx, s.App+name, metav1.GetOptions{})
		must(t, err)
		if c.Data["setting"] != want {
			t.Errorf("%s holds %q, want %q", c.Name, c.Data["setting"], want)
		}
	}
	d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, s.App+"-web", metav1.GetOptions{})
	must(t, err)
	if name := d.Spec.Template.Spec.Volumes[0].ConfigMap.Name; name != s.App+"-settings-v001" {
		t.Errorf("the deployment mounts %q, want the new version", name)
	}
	_, _, err = s.AwaitViews(ctx, func(v story.Views) error {
		if len(v.ServerGroups) != 2 || v.Up != 3 {
			return fmt.Errorf("views show %+v, want both server groups and 3 instances up", v)
		}
		return nil
	})
	must(t, err)
}

func deleted(t *testing.T, env *testenv.Env, s *story.Story) {
	ctx := within(t, 2*time.Minute)
	_, err := s.Deploy(ctx, s.Manifests(1, "one")...)
	must(t, err)
	_, _, err = s.AwaitViews(ctx, story.Running(1))
	must(t, err)
	_, err = s.Delete(ctx)
	must(t, err)
	_, _, err = s.AwaitViews(ctx, story.Gone)
	must(t, err)
	db := database(t, env)
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		for _, table := range []string{"deployment", "replicaSet", "pod", "service", "applications", "clusters", "replicaSet_rel", "deployment_rel", "service_rel", "applications_rel", "clusters_rel"} {
			var n int
			if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM cats_v1_"+table+" WHERE id LIKE ?", "%shortlived%").Scan(&n); err != nil { //nolint:gosec // one of eleven names
				return err
			}
			if n > 0 {
				return fmt.Errorf("cats_v1_%s still has %d rows of the deleted application", table, n)
			}
		}
		return nil
	}))
}

// written returns how many rows were written in each cats table since the counts before.
func written(ctx context.Context, t *testing.T, env *testenv.Env, before map[string]int64) map[string]int64 {
	t.Helper()
	after, err := env.RowsChanged(ctx)
	must(t, err)
	changed := map[string]int64{}
	for table, n := range after {
		if strings.HasPrefix(table, "cats_v1_") && n > before[table] {
			changed[table] = n - before[table]
		}
	}
	return changed
}
