{{/* What everything else is made of: names, labels, images, and how a pod is hardened. */}}

{{- define "flask-app.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end }}

{{/* The name of every object, or the first part of it: at most 40 characters, so that the longest
     suffix and what controllers add to it fit into 63. What is cut off leaves a digest,
     or two long names would be the same. */}}
{{- define "flask-app.fullname" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (contains (include "flask-app.name" .) $name) -}}
{{- $name = printf "%s-%s" $name (include "flask-app.name" .) -}}
{{- end -}}
{{- $name = .Values.fullnameOverride | default $name -}}
{{- if gt (len $name) 40 -}}
{{- $name = printf "%s-%s" ($name | trunc 31 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Which pods are meant: (dict "root" $ "component" "service") */}}
{{- define "flask-app.selectorLabels" -}}
app.kubernetes.io/name: {{ include "flask-app.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object or a pod: (dict "root" $ "component" "service" "labels" …) */}}
{{- define "flask-app.labels" -}}
{{ include "flask-app.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with mergeOverwrite (dict) .root.Values.commonLabels (.labels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "component" "service" "suffix" "-metrics" "labels" … "annotations" …) */}}
{{- define "flask-app.metadata" -}}
metadata:
  name: {{ .name | default (printf "%s%s" (include "flask-app.fullname" .root) (.suffix | default "")) | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "flask-app.labels" . | nindent 4 }}
  {{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Where an image is: (dict "image" .Values.image "version" .Chart.AppVersion) */}}
{{- define "flask-app.imageOf" -}}
{{- $tag := .image.tag | default (ternary "" .version (not (empty .image.digest))) -}}
{{ .image.repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "flask-app.image" -}}
image: {{ include "flask-app.imageOf" (dict "image" .Values.image "version" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "flask-app.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "flask-app.fullname" .) }}
{{- end }}

{{- define "flask-app.keeperServiceAccountName" -}}
{{ .Values.keeper.serviceAccount.name | default (printf "%s-keeper" (include "flask-app.fullname" .)) }}
{{- end }}

{{/* What every pod has: no token unless it is asked for, no root, no privilege.
     (dict "root" $ "user" .Values.securityContext "groups" (list 0) "placement" .Values.keeper "token" true) */}}
{{- define "flask-app.pod" -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if kindIs "bool" .root.Values.hostUsers }}
hostUsers: {{ .root.Values.hostUsers }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.placement $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- range $field, $id := .user }}
  {{- with $id }}
  {{ $field }}: {{ . | int64 }}
  {{- end }}
  {{- end }}
  {{- with .groups }}
  # whose files the CSI driver writes
  supplementalGroups: {{ toJson . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* How the service's pods and the keeper's find others */}}
{{- define "flask-app.names" -}}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "flask-app.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* What a Service is called inside the cluster, as a JSON list: (dict "root" $ "name" …) */}}
{{- define "flask-app.serviceNames" -}}
{{- $namespaced := printf "%s.%s" .name .root.Release.Namespace -}}
{{- list .name $namespaced (printf "%s.svc" $namespaced) (printf "%s.svc.cluster.local" $namespaced) | toJson -}}
{{- end }}

{{/* What the service is called inside the cluster and on its own, as a JSON list */}}
{{- define "flask-app.inClusterNames" -}}
{{- $names := include "flask-app.serviceNames" (dict "root" . "name" (include "flask-app.fullname" .)) | fromJsonArray -}}
{{- concat $names (list "localhost" "127.0.0.1") | toJson -}}
{{- end }}

{{/* The Secret with the service's certificate. cert-manager's has another name than the keeper's:
     Helm could neither take over nor leave behind one that somebody else made. */}}
{{- define "flask-app.tlsSecret" -}}
{{- if eq .Values.tls.source "existing" -}}
{{ .Values.tls.existingSecret }}
{{- else -}}
{{ include "flask-app.fullname" . }}-tls{{ if eq .Values.tls.source "cert-manager" }}-issued{{ end }}
{{- end -}}
{{- end }}

{{/* A name that is in the service's certificate: the Service's, or else the first of the user's */}}
{{- define "flask-app.certificateName" -}}
{{- $name := printf "%s.%s.svc" (include "flask-app.fullname" .) .Release.Namespace -}}
{{- if or (eq .Values.tls.source "existing") (and (eq .Values.tls.source "cert-manager") (not .Values.tls.certManager.inClusterNames)) -}}
{{- $name = .Values.tls.extraNames | first | default $name -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Whether the keeper has a certificate to make: "true" or "" */}}
{{- define "flask-app.keeperIssues" -}}
{{- if or (eq .Values.tls.source "keeper") .Values.postgresql.enabled -}}true{{- end -}}
{{- end }}

{{/* The label `job` of the service's metrics, as the Prometheus Operator makes it; "" where nothing
     of the chart has them scraped */}}
{{- define "flask-app.metricsJob" -}}
{{- if .Values.monitoring.serviceMonitor.enabled -}}
{{ include "flask-app.fullname" . }}-metrics
{{- else if .Values.monitoring.podMonitor.enabled -}}
{{ .Release.Namespace }}/{{ include "flask-app.fullname" . }}
{{- end -}}
{{- end }}
