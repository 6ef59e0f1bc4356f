{{/* What has to be so, said at install and not by a pod that does not start. */}}
{{- define "fairlead-agent.check" -}}
{{- if not .Values.bridge.address -}}
{{- fail "bridge.address: is not set; HOST:PORT of the bridges (fairlead agent join prints a command with everything that is needed)" -}}
{{- end -}}
{{- if not (or .Values.bridge.caPin .Values.bridge.ca.secretName .Values.bridge.plaintext) -}}
{{- fail "bridge.caPin: is not set; the agent must know its bridge: give the CA PIN that fairlead status shows, or bridge.ca.secretName" -}}
{{- end -}}
{{- if not (or (include "fairlead-agent.tokenSecret" .) .Values.clientCertificate.secretName .Values.serviceAccountToken.audience) -}}
{{- fail "token: is not set; give token.value (fairlead token create makes one), token.secretName, clientCertificate.secretName, or serviceAccountToken.audience" -}}
{{- end -}}
{{- if and .Values.token.certificateSecret (not (include "fairlead-agent.tokenSecret" .)) -}}
{{- fail "token.certificateSecret: means nothing without an enrolment token (token.value or token.secretName)" -}}
{{- end -}}
{{- if and .Values.bridge.proxied (not .Values.bridge.caPin) -}}
{{- fail "bridge.proxied: needs bridge.caPin, by which the bridge behind the proxy is known" -}}
{{- end -}}
{{- if and .Values.token.value .Values.token.secretName -}}
{{- fail "token.value and token.secretName: give one of them" -}}
{{- end -}}
{{- if dig "clouddriver" "auth" "token" "" (.Values.config | default dict) -}}
{{- fail "config.clouddriver.auth.token: would stand in a ConfigMap for everybody to read; use token.value or token.secretName" -}}
{{- end -}}
{{- $names := dict -}}
{{- range .Values.accounts -}}
{{- if hasKey $names .name -}}{{- fail (printf "accounts: %q is there twice" .name) -}}{{- end -}}
{{- $_ := set $names .name true -}}
{{- if and $.Values.rbac.create $.Values.rbac.namespaces .serviceAccount -}}
{{- if not (and .namespaces .onlyNamespacedResources) -}}
{{- fail (printf "accounts: %q needs namespaces and onlyNamespacedResources: true, because rbac.namespaces gives the agent no more than Roles" .name) -}}
{{- end -}}
{{- range $namespace := .namespaces -}}
{{- if not (has $namespace $.Values.rbac.namespaces) -}}
{{- fail (printf "accounts: namespace %q is not among rbac.namespaces, the agent would have no rights there" $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $account, $_ := .Values.kubeconfigs -}}
{{- if not (hasKey $names $account) -}}{{- fail (printf "kubeconfigs: %q is not among accounts" $account) -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* fairlead-agent.yml. */}}
{{- define "fairlead-agent.config" -}}
{{- $tls := dict -}}
{{- with .Values.bridge.caPin }}{{- $_ := set $tls "pin" . }}{{- end -}}
{{- if .Values.bridge.ca.secretName }}{{- $_ := set $tls "cacertFile" (printf "/etc/fairlead/ca/%s" .Values.bridge.ca.key) }}{{- end -}}
{{- with .Values.bridge.serverName }}{{- $_ := set $tls "serverName" . }}{{- end -}}
{{- if .Values.bridge.proxied }}{{- $_ := set $tls "proxied" true }}{{- end -}}
{{- if .Values.clientCertificate.secretName }}
{{- $_ := set $tls "clientCertFile" "/etc/fairlead/client/tls.crt" }}
{{- $_ := set $tls "clientKeyFile" "/etc/fairlead/client/tls.key" }}
{{- end -}}
{{- $clouddriver := dict "grpc" .Values.bridge.address "insecure" .Values.bridge.plaintext -}}
{{- if $tls }}{{- $_ := set $clouddriver "tls" $tls }}{{- end -}}
{{- $auth := dict -}}
{{- if include "fairlead-agent.tokenSecret" . }}{{- $_ := set $auth "tokenFile" (printf "/etc/fairlead/token/%s" .Values.token.key) }}{{- end -}}
{{- with .Values.token.certificateSecret }}{{- $_ := set $auth "certificateSecret" . }}{{- end -}}
{{- if .Values.serviceAccountToken.audience }}{{- $_ := set $auth "serviceAccountTokenFile" "/var/run/fairlead/identity/token" }}{{- end -}}
{{- if $auth }}{{- $_ := set $clouddriver "auth" $auth }}{{- end -}}
{{- $accounts := list -}}
{{- range .Values.accounts -}}
{{- $account := deepCopy . -}}
{{- if hasKey $.Values.kubeconfigs .name }}{{- $_ := set $account "kubeconfigFile" (printf "/kubeconfigfiles/%s" .name) }}{{- end -}}
{{- $accounts = append $accounts $account -}}
{{- end -}}
{{- $config := dict
  "clouddriver" $clouddriver
  "kubernetes" (dict "accounts" $accounts)
  "server" (dict "port" 8082)
  "prometheus" (dict "enabled" true "port" 8008)
  "logging" (dict "format" "json") -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}
