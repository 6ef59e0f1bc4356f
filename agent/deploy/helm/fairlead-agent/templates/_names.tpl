{{- define "fairlead-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* At most 52 characters, so that suffixes and a Job's pods find room within 63. */}}
{{- define "fairlead-agent.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "fairlead-agent.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "fairlead-agent.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "fairlead-agent.selector" -}}
app.kubernetes.io/name: {{ include "fairlead-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fairlead-agent.labels" -}}
{{ include "fairlead-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fairlead
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "fairlead-agent.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fairlead-agent.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "fairlead-agent.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{/* The Secret with the enrolment token; empty when the agent shows a certificate instead. */}}
{{- define "fairlead-agent.tokenSecret" -}}
{{- if .Values.token.secretName -}}
{{- .Values.token.secretName -}}
{{- else if .Values.token.value -}}
{{- printf "%s-token" (include "fairlead-agent.fullname" .) -}}
{{- end -}}
{{- end }}
