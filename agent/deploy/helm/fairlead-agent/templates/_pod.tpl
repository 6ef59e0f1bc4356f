{{/* What the agent and its leave have in common. */}}
{{- define "fairlead-agent.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "fairlead-agent.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "fairlead-agent.env" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with .Values.proxy.http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.exclude }}
- {name: NO_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fairlead-agent.mounts" -}}
- {name: config, mountPath: /opt/fairlead/config, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "fairlead-agent.tokenSecret" . }}
- {name: token, mountPath: /etc/fairlead/token, readOnly: true}
{{- end }}
{{- if .Values.bridge.ca.secretName }}
- {name: ca, mountPath: /etc/fairlead/ca, readOnly: true}
{{- end }}
{{- if .Values.clientCertificate.secretName }}
- {name: client, mountPath: /etc/fairlead/client, readOnly: true}
{{- end }}
{{- if .Values.serviceAccountToken.audience }}
- {name: identity, mountPath: /var/run/fairlead/identity, readOnly: true}
{{- end }}
{{- if .Values.kubeconfigs }}
- {name: kubeconfigs, mountPath: /kubeconfigfiles, readOnly: true}
{{- end }}
{{- end }}

{{- define "fairlead-agent.volumes" -}}
- name: config
  configMap: {name: {{ include "fairlead-agent.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with include "fairlead-agent.tokenSecret" . }}
- name: token
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.bridge.ca.secretName }}
- name: ca
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.clientCertificate.secretName }}
- name: client
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.serviceAccountToken.audience }}
- name: identity
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.serviceAccountToken.audience | quote }}
          expirationSeconds: {{ .Values.serviceAccountToken.expirationSeconds }}
{{- end }}
{{- if .Values.kubeconfigs }}
- name: kubeconfigs
  projected:
    defaultMode: 0440
    sources:
      {{- range $account, $at := .Values.kubeconfigs }}
      - secret:
          name: {{ $at.secretName }}
          items: [{key: {{ default "kubeconfig" $at.key | quote }}, path: {{ $account | quote }}}]
      {{- end }}
{{- end }}
{{- end }}
