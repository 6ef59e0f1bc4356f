package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Halyard's own model of what the fragments in halyard/ hold: field names and types of spinnaker/halyard as of 2025-04-09 (23e66d6), each
// with its class. Halyard reads its configuration with a strict mapper: what is not here is refused there too.
type (
	// halConfig is a part of com.netflix.spinnaker.halyard.config.model.v1.node.DeploymentConfiguration.
	halConfig struct {
		DeploymentEnvironment halEnvironment `yaml:"deploymentEnvironment"`
	}

	// halEnvironment is a part of …config.model.v1.node.DeploymentEnvironment. The keys of both maps are names of services
	// ("spin-clouddriver-rw"), or, for all of Clouddriver's services that have no entry of their own, "clouddriver".
	halEnvironment struct {
		// InitContainers is Map<String, List<Map>>: passed on as Kubernetes' own JSON.
		InitContainers map[string][]map[string]any `yaml:"initContainers"`
		Sidecars       map[string][]halSidecar     `yaml:"sidecars"`
	}

	// halSidecar is …config.model.v1.node.SidecarConfig.
	halSidecar struct {
		Name                  string              `yaml:"name"`
		DockerImage           string              `yaml:"dockerImage"`
		Port                  *int                `yaml:"port"`
		Env                   map[string]string   `yaml:"env"`
		Args                  []string            `yaml:"args"`
		Command               []string            `yaml:"command"`
		ConfigMapVolumeMounts []halConfigMapMount `yaml:"configMapVolumeMounts"`
		SecretVolumeMounts    []halSecretMount    `yaml:"secretVolumeMounts"`
		MountPath             string              `yaml:"mountPath"`
		SecurityContext       *halPrivileged      `yaml:"securityContext"`
	}

	// halConfigMapMount is SidecarConfig.ConfigMapVolumeMount, halSecretMount SidecarConfig.SecretVolumeMount, halPrivileged
	// SidecarConfig.SecurityContext.
	halConfigMapMount struct {
		ConfigMapName string `yaml:"configMapName"`
		MountPath     string `yaml:"mountPath"`
	}
	halSecretMount struct {
		SecretName string `yaml:"secretName"`
		MountPath  string `yaml:"mountPath"`
	}
	halPrivileged struct {
		Privileged bool `yaml:"privileged"`
	}

	// halSettings is a part of com.netflix.spinnaker.halyard.deploy.spinnaker.v1.service.ServiceSettings, halKubernetes of
	// …service.KubernetesSettings.
	halSettings struct {
		Kubernetes halKubernetes     `yaml:"kubernetes"`
		Env        map[string]string `yaml:"env"`
	}
	halKubernetes struct {
		Volumes            []halVolume         `yaml:"volumes"`
		SecurityContext    *halSecurityContext `yaml:"securityContext"`
		PodAnnotations     map[string]string   `yaml:"podAnnotations"`
		PodLabels          map[string]string   `yaml:"podLabels"`
		ServiceAccountName string              `yaml:"serviceAccountName"`
		UseExecHealthCheck *bool               `yaml:"useExecHealthCheck"`
	}

	// halVolume is …service.ConfigSource; Type is one of emptyDir, configMap, secret (the default), persistentVolumeClaim.
	halVolume struct {
		ID        string            `yaml:"id"`
		MountPath string            `yaml:"mountPath"`
		Type      string            `yaml:"type"`
		Env       map[string]string `yaml:"env"`
	}

	// halSecurityContext is …service.KubernetesSecurityContext.
	halSecurityContext struct {
		RunAsUser *int64 `yaml:"runAsUser"`
		FSGroup   *int64 `yaml:"fsGroup"`
	}
)

func strict(file string, into any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// HalyardDeployment is the Deployment of Clouddriver that Halyard makes of its configuration and service settings, as KubernetesV2Service
// puts it together: the profile in a Secret below /opt/spinnaker/config, volumes of the settings in Clouddriver's container, a sidecar's
// mountPath as an emptyDir in both. service is "spin-clouddriver" or one of the high-availability ones.
func HalyardDeployment(service, configFile, settingsFile string) (*appsv1.Deployment, error) {
	var config halConfig
	var settings halSettings
	if err := strict(configFile, &config); err != nil {
		return nil, err
	}
	if err := strict(settingsFile, &settings); err != nil {
		return nil, err
	}
	grace := int64(720) // KubernetesV2ClouddriverService: twelve minutes
	labels := map[string]string{"app": "spin", "cluster": service}
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: service, Namespace: "spinnaker", Labels: labels},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace},
		}},
	}
	pod := &d.Spec.Template.Spec
	clouddriver := corev1.Container{
		Name: "clouddriver", Image: "us-docker.pkg.dev/spinnaker-community/docker/clouddriver", Ports: []corev1.ContainerPort{{ContainerPort: 7002}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/health", Port: intstr.FromInt32(7002)}}},
	}
	mount := func(c *corev1.Container, name, path string) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
	volume := func(name string, source corev1.VolumeSource) {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	}
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	secret := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}
	}
	volume("spin-clouddriver-files", secret("spin-clouddriver-files"))
	mount(&clouddriver, "spin-clouddriver-files", "/opt/spinnaker/config")
	for _, v := range settings.Kubernetes.Volumes {
		switch v.Type {
		case "emptyDir":
			volume(v.ID, empty)
		case "", "secret":
			volume(v.ID, secret(v.ID))
		default:
			return nil, fmt.Errorf("volume %s: type %q is not used here", v.ID, v.Type)
		}
		mount(&clouddriver, v.ID, v.MountPath)
	}
	var sidecars []corev1.Container
	for _, s := range forService(config.DeploymentEnvironment.Sidecars, service) {
		c := corev1.Container{Name: s.Name, Image: s.DockerImage, Command: s.Command, Args: s.Args}
		if s.Port != nil {
			c.Ports = []corev1.ContainerPort{{ContainerPort: int32(*s.Port)}} //nolint:gosec // a port
		}
		for name, value := range s.Env {
			c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
		}
		if s.MountPath != "" {
			volume(s.Name, empty)
			mount(&clouddriver, s.Name, s.MountPath)
			mount(&c, s.Name, s.MountPath)
		}
		for _, m := range s.SecretVolumeMounts {
			volume(m.SecretName, secret(m.SecretName))
			mount(&c, m.SecretName, m.MountPath)
		}
		sidecars = append(sidecars, c)
	}
	pod.Containers = append([]corev1.Container{clouddriver}, sidecars...)
	for _, raw := range forService(config.DeploymentEnvironment.InitContainers, service) {
		content, err := json.Marshal(raw)
		if err != nil {
			return nil, err
		}
		var c corev1.Container
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&c); err != nil {
			return nil, fmt.Errorf("init container %v: %w", raw["name"], err)
		}
		pod.InitContainers = append(pod.InitContainers, c)
	}
	if s := settings.Kubernetes.SecurityContext; s != nil {
		pod.SecurityContext = &corev1.PodSecurityContext{RunAsUser: s.RunAsUser, FSGroup: s.FSGroup}
	}
	return d, nil
}

// forService is what Halyard takes for a service: its own entry, or that of Clouddriver as a whole.
func forService[T any](all map[string][]T, service string) []T {
	if own := all[service]; len(own) > 0 {
		return own
	}
	return all["clouddriver"]
}
