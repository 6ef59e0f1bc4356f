package install

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Pod is a pod that runs as ordinary processes of this machine. What a kubelet does is done: volumes are filled from ConfigMaps and Secrets,
// containers get the arguments and variables of their specification. Two things differ, because processes share the machine's files and
// ports: each path of a mount is a directory of the pod's own, wherever it is named, and Edit may give other ports to what listens.
type Pod struct {
	Spec      corev1.PodSpec
	Namespace string
	// Objects are what volumes and variables refer to.
	Objects []*unstructured.Unstructured
	// Dir is the pod's own.
	Dir string
	// Verbatim leaves paths in files and variables as they are: the containers are real ones, which mount the volumes where the specification says.
	Verbatim bool
	// Programs are what images start, with the arguments of the image's entry point, by the image's name without registry, path and tag.
	Programs map[string][]string
	// Edit changes a file of a ConfigMap before it is written; nil changes nothing.
	Edit func(name string, content []byte) ([]byte, error)
	// Variables changes those of containers; a variable that is not there is "" before.
	Variables map[string]func(string) string
	// Ports are those that processes listen on in place of those of the specification.
	Ports map[int32]int
}

// Prepare fills the volumes.
func (p *Pod) Prepare() error {
	for _, v := range p.Spec.Volumes {
		files, err := p.files(v.VolumeSource)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		directory := p.volume(v.Name)
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return err
		}
		for name, content := range files {
			content = []byte(p.text(string(content)))
			if p.Edit != nil {
				if content, err = p.Edit(name, content); err != nil {
					return fmt.Errorf("volume %s: %s: %w", v.Name, name, err)
				}
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(directory, name)), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// Path is where a path of the pod's containers is.
func (p *Pod) Path(path string) string { return p.local(path) }

func (p *Pod) volume(name string) string { return filepath.Join(p.Dir, "volumes", name) }

func (p *Pod) text(text string) string {
	if p.Verbatim {
		return text
	}
	return p.local(text)
}

// local puts the directories of volumes in the place of the paths where containers mount them.
func (p *Pod) local(text string) string {
	at := map[string]string{}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			at[strings.TrimRight(m.MountPath, "/")] = filepath.Join(p.volume(m.Name), m.SubPath)
		}
	}
	if len(at) == 0 {
		return text
	}
	paths := slices.SortedFunc(maps.Keys(at), func(a, b string) int { return len(b) - len(a) })
	for i := range paths {
		paths[i] = regexp.QuoteMeta(paths[i])
	}
	// A path, and not the middle of a longer one.
	mounted := regexp.MustCompile(`(^|[^\w./-])(` + strings.Join(paths, "|") + `)(/|[^\w.-]|$)`)
	return mounted.ReplaceAllStringFunc(text, func(found string) string {
		part := mounted.FindStringSubmatch(found)
		return part[1] + at[part[2]] + part[3]
	})
}

// files are what a volume holds, by name.
func (p *Pod) files(v corev1.VolumeSource) (map[string][]byte, error) {
	switch {
	case v.ConfigMap != nil:
		return p.keys("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items)
	case v.Secret != nil:
		return p.keys("Secret", v.Secret.SecretName, v.Secret.Items)
	case v.Projected != nil:
		all := map[string][]byte{}
		for _, s := range v.Projected.Sources {
			var files map[string][]byte
			var err error
			switch {
			case s.ConfigMap != nil:
				files, err = p.keys("ConfigMap", s.ConfigMap.Name, s.ConfigMap.Items)
			case s.Secret != nil:
				files, err = p.keys("Secret", s.Secret.Name, s.Secret.Items)
			default:
				err = errors.New("a source that is neither ConfigMap nor Secret")
			}
			if err != nil {
				return nil, err
			}
			maps.Copy(all, files)
		}
		return all, nil
	case v.EmptyDir != nil:
		return nil, nil
	}
	return nil, errors.New("a kind of volume that is not known here")
}

func (p *Pod) keys(kind, name string, items []corev1.KeyToPath) (map[string][]byte, error) {
	data, err := p.data(kind, name)
	if err != nil || len(items) == 0 {
		return data, err
	}
	chosen := map[string][]byte{}
	for _, item := range items {
		content, there := data[item.Key]
		if !there {
			return nil, fmt.Errorf("%s %s has no key %s", kind, name, item.Key)
		}
		chosen[item.Path] = content
	}
	return chosen, nil
}

func (p *Pod) data(kind, name string) (map[string][]byte, error) {
	for _, o := range p.Objects {
		if o.GetKind() != kind || o.GetName() != name || o.GetNamespace() != "" && p.Namespace != "" && o.GetNamespace() != p.Namespace {
			continue
		}
		all := map[string][]byte{}
		plain, _, err := unstructured.NestedStringMap(o.Object, "data")
		if err != nil {
			return nil, err
		}
		for key, value := range plain {
			content := []byte(value)
			if kind == "Secret" {
				if content, err = base64.StdEncoding.DecodeString(value); err != nil {
					return nil, err
				}
			}
			all[key] = content
		}
		written, _, err := unstructured.NestedStringMap(o.Object, "stringData")
		for key, value := range written {
			all[key] = []byte(value)
		}
		return all, err
	}
	return nil, fmt.Errorf("%s %s/%s is not among the %d objects", kind, p.Namespace, name, len(p.Objects))
}

// Container is a container of the pod, of either sort.
func (p *Pod) Container(name string) (*corev1.Container, error) {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == name {
			return &c, nil
		}
	}
	return nil, fmt.Errorf("the pod has no container %s", name)
}

// Command is the process of a container.
func (p *Pod) Command(ctx context.Context, c *corev1.Container, output io.Writer) (*exec.Cmd, error) {
	image := c.Image[strings.LastIndex(c.Image, "/")+1:]
	image, _, _ = strings.Cut(image, "@")
	image, _, _ = strings.Cut(image, ":")
	program, known := p.Programs[image]
	if !known {
		return nil, fmt.Errorf("container %s: image %s is not one of ours", c.Name, c.Image)
	}
	if len(c.Command) > 0 {
		// Another program of the image in the place of the one that it starts by itself.
		if program, known = p.Programs[filepath.Base(c.Command[0])]; !known || len(c.Command) > 1 {
			return nil, fmt.Errorf("container %s: command %v is not a program of ours", c.Name, c.Command)
		}
	}
	arguments := append([]string{}, program[1:]...)
	for _, a := range c.Args {
		arguments = append(arguments, p.text(a))
	}
	cmd := exec.CommandContext(ctx, program[0], arguments...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range c.Env {
		value, err := p.value(e)
		if err != nil {
			return nil, fmt.Errorf("container %s: %s: %w", c.Name, e.Name, err)
		}
		cmd.Env = append(cmd.Env, e.Name+"="+value)
	}
	for name, change := range p.Variables {
		i := slices.IndexFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if i < 0 {
			cmd.Env, i = append(cmd.Env, name+"="), len(cmd.Env)
		}
		cmd.Env[i] = name + "=" + change(strings.TrimPrefix(cmd.Env[i], name+"="))
	}
	return cmd, nil
}

// Variable is the value of a container's variable.
func (p *Pod) value(e corev1.EnvVar) (string, error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return p.text(e.Value), nil
	case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.namespace":
		return p.Namespace, nil
	case from.SecretKeyRef != nil:
		data, err := p.data("Secret", from.SecretKeyRef.Name)
		return string(data[from.SecretKeyRef.Key]), err
	case from.ConfigMapKeyRef != nil:
		data, err := p.data("ConfigMap", from.ConfigMapKeyRef.Name)
		return string(data[from.ConfigMapKeyRef.Key]), err
	}
	return "", errors.New("a source that is not known here")
}

// Probe evaluates an HTTP probe of a container as the kubelet does: any status from 200 to 399 within the probe's time is success.
func (p *Pod) Probe(ctx context.Context, c *corev1.Container, probe *corev1.Probe) error {
	if probe == nil || probe.HTTPGet == nil {
		return errors.New("no HTTP probe")
	}
	port, err := p.port(c, probe.HTTPGet.Port)
	if err != nil {
		return err
	}
	timeout := time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, probe.HTTPGet.Path), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, 10<<10))
	if err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP %d: %s", response.StatusCode, said)
	}
	return nil
}

func (p *Pod) port(c *corev1.Container, at intstr.IntOrString) (int, error) {
	number := at.IntVal
	if at.Type == intstr.String {
		for _, port := range c.Ports {
			if port.Name == at.StrVal {
				number = port.ContainerPort
			}
		}
	}
	if number == 0 {
		return 0, fmt.Errorf("container %s has no port %s", c.Name, at.String())
	}
	if mapped, there := p.Ports[number]; there {
		return mapped, nil
	}
	return int(number), nil
}
