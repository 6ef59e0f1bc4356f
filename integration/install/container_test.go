package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/testenv"
)

// containers is an environment in containers, on two networks between which there is no route: Spinnaker's, with the database, Clouddriver
// and the bridge in one pod's network namespace; and the cluster's. The agent alone is on both.
//
// Agent, bridge and plugin run from their own images, users and root file systems as their manifests say. The database, Java and the control
// plane come from this machine's file system, mounted read-only into containers that have nothing of their own: no registry is needed.
type containers struct {
	t     *testing.T
	parts *testenv.Parts
	// spinnaker and cluster are the networks.
	spinnaker, cluster *testcontainers.DockerNetwork
	// pod holds the network namespace of Clouddriver's pod, as a kubelet's pause container.
	pod testcontainers.Container
	// at is the IP address of the API server in the cluster's network; kubeconfig is an administrator's, from this machine.
	at, kubeconfig string
	password       string
	version        string
}

const (
	imagePrefix = "fairlead.test"
	// machine is the empty image.
	machine = "fairlead-base:local"
)

// imageVersion is a run's own, so that ./run removes its images and no others.
func imageVersion() string { return cmp.Or(os.Getenv("FAIRLEAD_RUN"), "test") }

// buildImages builds the images that the pods name.
func buildImages(t *testing.T, jar string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "../../images/build", jar)
	build.Env = append(os.Environ(), "PREFIX="+imagePrefix, "VERSION="+imageVersion(), "BASE=local")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("images: %v: %s", err, out)
	}
	t.Logf("images:\n%s", out)
}

// start runs a container; it goes with the test.
func (c *containers) start(name, image string, options ...testcontainers.ContainerCustomizer) testcontainers.Container {
	c.t.Helper()
	var output log
	options = append(options, testcontainers.WithLogConsumers(&consumer{&output}), testcontainers.WithLabels(runLabels()))
	made, err := testcontainers.Run(c.t.Context(), image, options...)
	testcontainers.CleanupContainer(c.t, made, testcontainers.StopTimeout(2*time.Second))
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("end of the log of %s:\n%s", name, tail(output.String()))
		}
	})
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", name, err, tail(output.String()))
	}
	return made
}

// runLabels mark what one run started, so that ./run finds it after an interrupt.
func runLabels() map[string]string {
	return map[string]string{"fairlead.run": os.Getenv("FAIRLEAD_RUN"), "fairlead.suite": "install"}
}

type consumer struct{ to io.Writer }

func (c *consumer) Accept(l testcontainers.Log) { _, _ = c.to.Write(l.Content) }

// ofThisMachine mounts what programs of this machine need.
func (c *containers) ofThisMachine(more ...string) testcontainers.CustomizeRequestOption {
	binds := []string{}
	for _, directory := range []string{"/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/alternatives", "/etc/java-17-openjdk"} {
		if _, err := os.Stat(directory); err == nil {
			binds = append(binds, directory+":"+directory+":ro")
		}
	}
	return host(func(h *container.HostConfig) { h.Binds = append(h.Binds, append(binds, more...)...) }, "0:0")
}

func host(change func(*container.HostConfig), user string) testcontainers.CustomizeRequestOption {
	return func(r *testcontainers.GenericContainerRequest) error {
		before := r.HostConfigModifier
		r.HostConfigModifier = func(h *container.HostConfig) {
			if before != nil {
				before(h)
			}
			change(h)
		}
		r.ConfigModifier = func(config *container.Config) { config.User = user }
		return nil
	}
}

func (c *containers) network() *testcontainers.DockerNetwork {
	c.t.Helper()
	n, err := network.New(c.t.Context(), network.WithLabels(runLabels()))
	testcontainers.CleanupNetwork(c.t, n)
	must(c.t, err)
	return n
}

func newContainers(t *testing.T, version string) *containers {
	t.Helper()
	// A machine that is a container itself is taken for one beside Docker's; and the reaper's image would come from a registry.
	t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	parts, err := testenv.FindParts(t.Context(), version, &log{})
	testenv.SkipMissing(t, "an environment in containers", err)
	c := &containers{t: t, parts: parts, password: "a-password-of-the-test", version: version}
	c.spinnaker, c.cluster = c.network(), c.network()
	c.startCluster()
	c.startDatabase()
	return c
}

// startCluster starts the control plane, what stands before its API server, and the nodes.
func (c *containers) startCluster() {
	dir := c.t.TempDir()
	relay := filepath.Join(scratch, "relay")
	build := exec.CommandContext(c.t.Context(), "go", "build", "-o", relay, "./cmd/relay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	kube := c.start("control plane", machine,
		c.ofThisMachine(c.parts.Kube+":/kube:ro", dir+":"+dir),
		testcontainers.WithCmd("/kube", "plane", "--dir="+dir, "--port=16443", "--etcd-port=12379", "--etcd-peer-port=12380"),
		testcontainers.WithExposedPorts("6443/tcp"),
		network.WithNetwork([]string{"kubernetes.default.svc"}, c.cluster),
		testcontainers.WithWaitStrategyAndDeadline(3*time.Minute, wait.ForLog("kube ready")))
	beside := c.beside(kube)
	c.start("relay", machine, c.ofThisMachine(relay+":/relay:ro"), beside, testcontainers.WithCmd("/relay", "0.0.0.0:6443", "127.0.0.1:16443"))
	c.start("kwok", machine, c.ofThisMachine(c.parts.Kwok+":/kwok:ro", c.parts.KwokStages+":/stages.yaml:ro", dir+":"+dir), beside,
		testcontainers.WithCmd("/kwok", "--config=/stages.yaml", "--kubeconfig="+filepath.Join(dir, "kubeconfig"), "--manage-all-nodes=true", "--server-address=127.0.0.1:10247"))

	inspected, err := kube.Inspect(c.t.Context())
	must(c.t, err)
	c.at = inspected.NetworkSettings.Networks[c.cluster.Name].IPAddress.String()
	published, err := kube.PortEndpoint(c.t.Context(), "6443/tcp", "https")
	must(c.t, err)
	config, err := clientcmd.LoadFromFile(filepath.Join(dir, "kubeconfig"))
	must(c.t, err)
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.TLSServerName = published, "kubernetes.default.svc"
	}
	c.kubeconfig = filepath.Join(c.t.TempDir(), "kubeconfig")
	must(c.t, clientcmd.WriteToFile(*config, c.kubeconfig))
	must(c.t, testenv.MakeNodes(within(c.t, 2*time.Minute), c.kubeconfig))
}

// beside puts a container into another one's network namespace.
func (c *containers) beside(other testcontainers.Container) testcontainers.CustomizeRequestOption {
	return func(r *testcontainers.GenericContainerRequest) error {
		before := r.HostConfigModifier
		r.HostConfigModifier = func(h *container.HostConfig) {
			if before != nil {
				before(h)
			}
			h.NetworkMode = container.NetworkMode("container:" + other.GetContainerID())
		}
		return nil
	}
}

// startDatabase starts MariaDB as mysql and as mariadb, the names that the fragments have.
func (c *containers) startDatabase() {
	dir := c.t.TempDir()
	statements := []string{"CREATE DATABASE clouddriver CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"}
	for user, rights := range map[string]string{
		"clouddriver":         "ALL",
		"clouddriver_migrate": "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, LOCK TABLES, EXECUTE, SHOW VIEW",
	} {
		statements = append(statements, "CREATE USER "+user+"@'%' IDENTIFIED BY '"+c.password+"'", "GRANT "+rights+" ON clouddriver.* TO "+user+"@'%'")
	}
	first := filepath.Join(dir, "first.sql")
	must(c.t, os.WriteFile(first, []byte(strings.Join(statements, ";\n")+";\n"), 0o644))
	c.start("database", machine, c.ofThisMachine(first+":/first.sql:ro"),
		host(func(h *container.HostConfig) { h.Tmpfs = map[string]string{"/data": "rw", "/tmp": "rw"} }, "0:0"),
		testcontainers.WithEnv(map[string]string{"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}),
		testcontainers.WithCmd("/bin/bash", "-c", c.parts.MariaDBInstall+" --no-defaults --user=root --datadir=/data --tmpdir=/tmp --skip-test-db --auth-root-authentication-method=normal >/dev/null && exec "+
			c.parts.MariaDB+" --no-defaults --user=root --datadir=/data --tmpdir=/tmp --init-file=/first.sql --socket=/tmp/s --bind-address=0.0.0.0 --port=3306 --skip-name-resolve --skip-log-bin --innodb-flush-log-at-trx-commit=2 --max-connections=600"),
		testcontainers.WithExposedPorts("3306/tcp"),
		network.WithNetwork([]string{"mysql", "mariadb"}, c.spinnaker),
		// It says so after the first statements have run.
		testcontainers.WithWaitStrategyAndDeadline(2*time.Minute, wait.ForLog("ready for connections")))
}

// run starts one of a pod's containers as its specification says: its own image, arguments, variables, user, root file system, rights.
func (c *containers) run(pod *Pod, spec *corev1.Container, options ...testcontainers.ContainerCustomizer) testcontainers.Container {
	c.t.Helper()
	image := spec.Image[strings.LastIndex(spec.Image, "/")+1:]
	image, _, _ = strings.Cut(image, "@")
	image, _, _ = strings.Cut(image, ":")
	variables := map[string]string{}
	for _, e := range spec.Env {
		value, err := pod.value(e)
		must(c.t, err)
		variables[e.Name] = value
	}
	user := ""
	if s := pod.Spec.SecurityContext; s != nil && s.RunAsUser != nil {
		user = fmt.Sprintf("%d:%d", *s.RunAsUser, *s.RunAsUser)
	}
	change := func(h *container.HostConfig) {
		for _, m := range spec.VolumeMounts {
			bind := pod.volume(m.Name) + ":" + m.MountPath
			if m.ReadOnly {
				bind += ":ro"
			}
			h.Binds = append(h.Binds, bind)
		}
		if s := spec.SecurityContext; s != nil {
			h.ReadonlyRootfs = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
			if s.Capabilities != nil {
				for _, capability := range s.Capabilities.Drop {
					h.CapDrop = append(h.CapDrop, string(capability))
				}
			}
			h.SecurityOpt = append(h.SecurityOpt, "no-new-privileges")
		}
	}
	if s := spec.SecurityContext; s != nil && s.RunAsUser != nil {
		user = fmt.Sprintf("%d:%d", *s.RunAsUser, *s.RunAsUser)
	}
	all := append([]testcontainers.ContainerCustomizer{host(change, user), testcontainers.WithEnv(variables), testcontainers.WithCmd(spec.Args...)}, options...)
	return c.start(spec.Name, imagePrefix+"/"+image+":"+imageVersion(), all...)
}

// giveTo makes a directory's files those of a user, which fsGroup does with volumes in a cluster.
func giveTo(t *testing.T, directory string, uid int) {
	t.Helper()
	must(t, filepath.Walk(directory, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	}))
	for dir := filepath.Dir(directory); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			must(t, os.Chmod(dir, info.Mode()|0o011))
		}
	}
}

// startPod starts Clouddriver's pod: what holds its network, the init container, the bridge, Clouddriver.
func (c *containers) startPod(path spinnakerPath) testenv.Bridge {
	c.t.Helper()
	d, all := path.deployment(c.t)
	all = append(all, secretOf("fairlead-keys", map[string]string{"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "database-password": c.password}))
	pod := &Pod{Spec: d.Spec.Template.Spec, Namespace: "spinnaker", Objects: all, Dir: c.t.TempDir(), Verbatim: true}
	must(c.t, pod.Prepare())
	giveTo(c.t, filepath.Join(pod.Dir, "volumes"), 10111)

	c.pod = c.start("pod", machine, c.ofThisMachine(), testcontainers.WithCmd("/bin/sleep", "infinity"),
		testcontainers.WithExposedPorts("7002/tcp", "8082/tcp"),
		network.WithNetwork([]string{"spin-clouddriver-grpc"}, c.spinnaker))
	plugin, err := pod.Container("fairlead-plugin")
	must(c.t, err)
	c.run(pod, plugin, testcontainers.WithWaitStrategyAndDeadline(time.Minute, wait.ForExit()))
	bridge, err := pod.Container("fairlead-bridge")
	must(c.t, err)
	c.run(pod, bridge, c.beside(c.pod), testcontainers.WithWaitStrategyAndDeadline(2*time.Minute, wait.ForLog("bridge is ready")))
	c.startClouddriver(pod)

	admin, err := c.pod.PortEndpoint(c.t.Context(), "8082/tcp", "http")
	must(c.t, err)
	return testenv.Bridge{Admin: admin, Agents: "spin-clouddriver-grpc:9091", AdminTokenFile: pod.Path("/var/run/fairlead/admin-token")}
}

// startClouddriver runs Clouddriver with the pod's own directories where the pod mounts them; beside them stands what its surroundings need.
func (c *containers) startClouddriver(pod *Pod) {
	c.t.Helper()
	spec, err := pod.Container("clouddriver")
	must(c.t, err)
	dir := c.t.TempDir()
	surroundings, err := yaml.Marshal(clouddriverSurroundings(c.password, c.version))
	must(c.t, err)
	must(c.t, os.WriteFile(filepath.Join(dir, "clouddriver.yml"), surroundings, 0o644))
	giveTo(c.t, dir, 10111)
	jars := map[string]bool{}
	for _, jar := range filepath.SplitList(c.parts.ClassPath) {
		jars["/"+strings.Split(strings.TrimPrefix(jar, "/"), "/")[0]] = true
	}
	// As root, which may read this machine's Maven repository; in a cluster it has a user of its own, and the same secret.
	change := func(h *container.HostConfig) {
		for directory := range jars {
			if directory != "/usr" {
				h.Binds = append(h.Binds, directory+":"+directory+":ro")
			}
		}
		for _, m := range spec.VolumeMounts {
			h.Binds = append(h.Binds, pod.volume(m.Name)+":"+m.MountPath)
		}
		h.Binds = append(h.Binds, dir+":/surroundings:ro")
		h.Tmpfs = map[string]string{"/tmp": "rw"}
	}
	c.start("clouddriver", machine, c.ofThisMachine(), host(change, "0:0"), c.beside(c.pod),
		testcontainers.WithCmd(c.parts.Java, "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-Dspring.config.additional-location=optional:file:/surroundings/,optional:file:/opt/spinnaker/config/,optional:file:/opt/spinnaker/config/*/",
			"-cp", c.parts.ClassPath, c.parts.ClouddriverMain))
}

// clouddriverSurroundings is what Clouddriver has of its own, beside what the install path adds.
func clouddriverSurroundings(password, version string) map[string]any {
	pool := map[string]any{"jdbcUrl": "jdbc:mysql://mysql:3306/clouddriver", "user": "clouddriver", "password": password}
	if version != "1.38" {
		pool["dialect"] = "MARIADB"
	}
	primary := map[string]any{"default": true}
	merge(primary, pool)
	off := map[string]any{"enabled": false}
	return map[string]any{
		"server": map[string]any{"port": 7002},
		"spring": map[string]any{"application": map[string]any{"name": "clouddriver"}},
		"sql": map[string]any{
			"enabled": true, "taskRepository": map[string]any{"enabled": true}, "cache": map[string]any{"enabled": true}, "scheduler": map[string]any{"enabled": true},
			"connectionPools": map[string]any{"default": primary, "tasks": pool}, "migration": pool,
		},
		"redis":     map[string]any{"enabled": false, "cache": off, "scheduler": off, "taskRepository": off},
		"services":  map[string]any{"fiat": map[string]any{"baseUrl": "http://fiat.invalid"}, "front50": map[string]any{"baseUrl": "http://front50.invalid"}},
		"spinnaker": map[string]any{"extensibility": map[string]any{"enable-default-repositories": false}},
	}
}

// startAgent runs the agent of a mode from its image, on both networks.
func (c *containers) startAgent(x *agentWorld, mode, account string) {
	c.t.Helper()
	all := objects(c.t, func() ([]byte, error) { return configured(c.t, x, mode, account) })
	d := deploymentOf(c.t, all, "fairlead-agent")
	pod := &Pod{Spec: d.Spec.Template.Spec, Namespace: d.Namespace, Objects: all, Dir: c.t.TempDir(), Verbatim: true}
	must(c.t, pod.Prepare())
	spec := &pod.Spec.Containers[0]
	if mode == "agent" {
		x.apply(c.t, all)
		c.serviceAccount(x, pod, spec)
	}
	giveTo(c.t, filepath.Join(pod.Dir, "volumes"), int(*pod.Spec.SecurityContext.RunAsUser))
	c.run(pod, spec, network.WithNetwork([]string{"agent-" + mode}, c.spinnaker), network.WithNetwork([]string{"agent-" + mode}, c.cluster),
		testcontainers.WithExposedPorts("8082/tcp"),
		testcontainers.WithWaitStrategyAndDeadline(time.Minute, wait.ForHTTP(spec.ReadinessProbe.HTTPGet.Path).WithPort("8082/tcp")))
}

// serviceAccount gives a pod what the kubelet gives to each: the service account's token, and where the API server is.
func (c *containers) serviceAccount(x *agentWorld, pod *Pod, spec *corev1.Container) {
	c.t.Helper()
	config, err := clientcmd.Load(serviceAccountKubeconfig(c.t, x.env, pod.Namespace, pod.Spec.ServiceAccountName))
	must(c.t, err)
	current := config.Contexts[config.CurrentContext]
	authority := config.Clusters[current.Cluster].CertificateAuthorityData
	if len(authority) == 0 {
		authority, err = os.ReadFile(config.Clusters[current.Cluster].CertificateAuthority)
		must(c.t, err)
	}
	directory := pod.volume("service-account")
	must(c.t, os.MkdirAll(directory, 0o700))
	for name, content := range map[string][]byte{"token": []byte(config.AuthInfos[current.AuthInfo].Token), "ca.crt": authority, "namespace": []byte(pod.Namespace)} {
		must(c.t, os.WriteFile(filepath.Join(directory, name), content, 0o600))
	}
	spec.VolumeMounts = append(spec.VolumeMounts, corev1.VolumeMount{Name: "service-account", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true})
	spec.Env = append(spec.Env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "kubernetes.default.svc"}, corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: "6443"})
}

// reaches tells whether a TCP connection can be made out of a container's network namespace.
func (c *containers) reaches(from testcontainers.Container, address string) error {
	host, port, err := net.SplitHostPort(address)
	must(c.t, err)
	code, out, err := from.Exec(within(c.t, time.Minute), []string{"/usr/bin/timeout", "3", "/bin/bash", "-c", "</dev/tcp/" + host + "/" + port}, tcexec.Multiplexed())
	must(c.t, err)
	if code == 0 {
		return nil
	}
	said, _ := io.ReadAll(out)
	return fmt.Errorf("exit code %d: %s", code, bytes.TrimSpace(said))
}

// inContainers is the main job of an install path in containers.
func inContainers(t *testing.T, path spinnakerPath, version string) (rows measurements) {
	c := newContainers(t, version)
	bridge := c.startPod(path)
	url, err := c.pod.PortEndpoint(t.Context(), "7002/tcp", "http")
	must(t, err)
	env := &testenv.Env{Clouddriver: &testenv.Clouddriver{URL: url, Version: version}, Kubectl: c.parts.Kubectl,
		Clusters: []testenv.KubeCluster{{Name: "far", Kubeconfig: c.kubeconfig}}}
	must(t, testenv.Wait(within(t, 5*time.Minute), func(ctx context.Context) error { return env.REST().Get(ctx, "/health", nil) }))
	x := world(t, env, bridge)
	x.apiServer = "https://kubernetes.default.svc:6443"

	inside := net.JoinHostPort(c.at, "6443")
	if err := c.reaches(c.pod, inside); err == nil {
		t.Errorf("Clouddriver's pod reaches the API server at %s", inside)
	}
	near := c.start("neighbour", machine, c.ofThisMachine(), testcontainers.WithCmd("/bin/sleep", "infinity"), network.WithNetwork([]string{"neighbour"}, c.cluster))
	if err := c.reaches(near, inside); err != nil {
		t.Errorf("nothing answers at %s even in the cluster's own network: %v", inside, err)
	}

	for _, mode := range modes {
		account := "by-" + mode
		c.startAgent(x, mode, account)
		m := x.deploys(t, account)
		m.path, m.version, m.mode = path.name, version, mode
		rows = append(rows, m)
	}
	return rows
}

// leftovers fails if containers or networks of the suite are still there.
func leftovers(t *testing.T) {
	t.Helper()
	for _, list := range [][]string{{"ps", "-aq", "--filter", "label=fairlead.run=" + os.Getenv("FAIRLEAD_RUN")}, {"network", "ls", "-q", "--filter", "label=fairlead.run=" + os.Getenv("FAIRLEAD_RUN")}} {
		out, err := exec.Command("docker", append(list, "--filter", "label=fairlead.suite=install")...).Output()
		must(t, err)
		if left := strings.Fields(string(out)); len(left) > 0 {
			t.Errorf("docker %s: %v are left", strings.Join(list, " "), left)
		}
	}
}

// dockerMissing says why there is no Docker.
func dockerMissing(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(bytes.TrimSpace(out))))
	}
	return nil
}
