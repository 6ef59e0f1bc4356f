{{/* The rules of a level: "view" or "deploy". cluster: also those that only a ClusterRole can have. */}}
{{- define "fairlead-agent.rules" -}}
# What Clouddriver shows.
- apiGroups: [""]
  resources: [pods, pods/log, services, endpoints, configmaps, serviceaccounts, persistentvolumeclaims, replicationcontrollers, events]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets, daemonsets, controllerrevisions]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, watch]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [get, list]
{{- if .cluster }}
# What it knows of the cluster itself.
- apiGroups: [""]
  resources: [namespaces, nodes, persistentvolumes]
  verbs: [get, list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get, list, watch]
{{- end }}
{{- if eq .level "deploy" }}
# What it deploys. Secrets can be read too: an apply begins with that.
- apiGroups: [""]
  resources: [pods, services, configmaps, secrets, serviceaccounts, persistentvolumeclaims, replicationcontrollers, replicationcontrollers/scale]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [apps]
  resources: [deployments, deployments/scale, replicasets, replicasets/scale, statefulsets, statefulsets/scale, daemonsets]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fairlead-agent.subject" }}
subjects:
  - kind: ServiceAccount
    name: {{ include "fairlead-agent.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
