package install

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/testenv"
)

const repositoryPath = "Halyard, plugin from its repository"

// TestClouddriverFetchesThePluginFromItsRepository has a real Clouddriver download the plugin from a plugins.json as a release makes it, with the
// profile for that; deploys with it; and does not start with a bundle whose hash is another one.
func TestClouddriverFetchesThePluginFromItsRepository(t *testing.T) {
	if *environment != "process" {
		t.Skip("the repository is on this machine, which containers do not reach; -env=process runs this")
	}
	served := newRepository(t)
	pod := newSpinnakerPod(t, spinnakerPath{name: repositoryPath, deployment: served.byHalyard})
	versions := testenv.Versions()
	version := versions[len(versions)-1]
	env := pod.up(version)
	if got := served.fetched("/bundles/"); got != 1 {
		t.Errorf("the bundle was fetched %d times", got)
	}
	x := world(t, env, pod.bridge)
	t.Run("main job", func(inner *testing.T) {
		m := x.mainJob(inner, t, "agent")
		m.path, m.version, m.mode = repositoryPath, version, "agent"
		measurements{m}.check(inner)
	})

	t.Run("another hash", func(t *testing.T) {
		must(t, served.spoil())
		must(t, env.Stop(t.Context(), "clouddriver", 0, false))
		plugins := filepath.Join(filepath.Dir(filepath.Dir(env.Clouddriver.Log)), "clouddriver", "plugins")
		there, err := os.ReadDir(plugins)
		must(t, err)
		if len(there) == 0 {
			t.Error("nothing was downloaded into " + plugins)
		}
		for _, f := range there {
			must(t, os.RemoveAll(filepath.Join(plugins, f.Name())))
		}
		before, err := os.Stat(env.Clouddriver.Log)
		must(t, err)
		if err := env.Start(within(t, 4*time.Minute), "clouddriver", 0); err == nil {
			t.Error("Clouddriver starts with a bundle that is not the one of the repository")
		}
		content, err := os.ReadFile(env.Clouddriver.Log)
		must(t, err)
		if said := string(content[before.Size():]); !strings.Contains(said, "SHA512 checksum of downloaded file fairlead-bridge-") || strings.Contains(said, "Fairlead 0.") {
			t.Errorf("Clouddriver does not refuse the bundle; it says\n%s", tail(said))
		}
	})
	t.Run("beside the replaced product", func(t *testing.T) { x.besideTheReplacedProduct(t, served) })
}

// besideTheReplacedProduct starts Clouddriver with the settings of both ways to have the replaced agent: the plugin does nothing, says which keys to
// change, and Clouddriver serves what it served.
func (x *agentWorld) besideTheReplacedProduct(t *testing.T, served *repository) {
	must(t, served.restore())
	file := filepath.Join(filepath.Dir(filepath.Dir(x.env.Clouddriver.Log)), "clouddriver", "config", "clouddriver.yml")
	config := map[string]any{}
	must(t, yaml.Unmarshal([]byte(read(t, file)), &config))
	on := map[string]any{"enabled": true}
	merge(config, map[string]any{
		"armory":    map[string]any{"kubesvc": on},
		"spinnaker": map[string]any{"extensibility": map[string]any{"plugins": map[string]any{"Armory.Kubesvc": on}}},
	})
	content, err := yaml.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(file, content, 0o600))
	before, err := os.Stat(x.env.Clouddriver.Log)
	must(t, err)
	must(t, x.env.Start(within(t, 4*time.Minute), "clouddriver", 0))
	log, err := os.ReadFile(x.env.Clouddriver.Log)
	must(t, err)
	for _, key := range []string{"spinnaker.extensibility.plugins.Armory.Kubesvc.enabled", "armory.kubesvc.enabled"} {
		if !regexp.MustCompile(`Fairlead does nothing: .*set ` + regexp.QuoteMeta(key) + ` to false \(https://`).Match(log[before.Size():]) {
			t.Errorf("the plugin does not say to set %s to false:\n%s", key, tail(string(log)))
		}
	}
	names, err := x.env.REST().Accounts(within(t, time.Minute))
	must(t, err)
	if len(names) > 0 {
		t.Errorf("Clouddriver has accounts %v", names)
	}
}

// repository is a plugin repository as a release makes it.
type repository struct {
	*httptest.Server

	directory string
	asked     chan string
	spoilt    []byte // the index before it was spoilt
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	built, err := programs()
	must(t, err)
	jar, err := testenv.PluginJar(t.Context(), &log{})
	testenv.SkipMissing(t, "the plugin", err)
	r := &repository{directory: t.TempDir(), asked: make(chan string, 1000)}
	files := http.NewServeMux()
	files.Handle("/plugins.json", http.FileServer(http.Dir(r.directory)))
	files.Handle("/bundles/", http.StripPrefix("/bundles", http.FileServer(http.Dir(r.directory))))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodGet {
			r.asked <- request.URL.Path
		}
		files.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	release := exec.CommandContext(t.Context(), built["plugin-release"][0], "-jar", jar, "-url", r.URL+"/bundles", "-index", "../../plugin-descriptor/plugins.json", "-out", r.directory)
	if out, err := release.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// fetched counts the requests for paths that begin so.
func (r *repository) fetched(prefix string) (n int) {
	for {
		select {
		case path := <-r.asked:
			if strings.HasPrefix(path, prefix) {
				n++
			}
		default:
			return n
		}
	}
}

// spoil gives the release another hash than its bundle has.
func (r *repository) spoil() error {
	file := filepath.Join(r.directory, "plugins.json")
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sum := regexp.MustCompile(`"sha512sum": "[0-9a-f]{128}"`)
	if !sum.Match(content) {
		return fmt.Errorf("%s names no SHA-512", file)
	}
	r.spoilt = content
	return os.WriteFile(file, sum.ReplaceAll(content, []byte(`"sha512sum": "`+strings.Repeat("0", 128)+`"`)), 0o644)
}

// restore undoes spoil.
func (r *repository) restore() error {
	return os.WriteFile(filepath.Join(r.directory, "plugins.json"), r.spoilt, 0o644)
}

// byHalyard is Halyard's Deployment with the profile for the repository: without an init container and its volume.
func (r *repository) byHalyard(t *testing.T) (*appsv1.Deployment, []*object) {
	t.Helper()
	d, _ := byHalyard(t)
	pod := &d.Spec.Template.Spec
	pod.InitContainers = nil
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "fairlead-plugin" })
	c := &pod.Containers[0]
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "fairlead-plugin" })
	profile := read(t, filepath.Join(halyardFolder, "clouddriver-local-repository.yml"))
	url := regexp.MustCompile(`url: https://\S+/plugins\.json`)
	if len(url.FindAllString(profile, -1)) != 1 {
		t.Errorf("the profile names not one repository:\n%s", profile)
	}
	profile = url.ReplaceAllString(profile, "url: "+r.URL+"/plugins.json")
	return d, []*object{secretOf("spin-clouddriver-files", map[string]string{"clouddriver-local.yml": profile})}
}
