{{/* The name of every object, or the first part of it. Cut so that the longest
     suffix and what controllers add to it still fit into 63 characters. */}}
{{- define "flask-app.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Which pods are meant: (dict "root" $ "component" "service") */}}
{{- define "flask-app.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "flask-app.labels" -}}
{{ include "flask-app.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "flask-app.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What every pod has: no token unless it is asked for, no root, no privilege.
     (dict "root" $ "user" 10001 "token" true) */}}
{{- define "flask-app.podSecurity" -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "flask-app.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The user of the image of the service and the keeper, as in the Dockerfile */}}
{{- define "flask-app.user" -}}10001{{- end }}

{{- define "flask-app.databaseHost" -}}
{{- if .Values.postgresql.enabled -}}
{{ include "flask-app.fullname" . }}-database.{{ .Release.Namespace }}.svc
{{- else -}}
{{ .Values.database.host }}
{{- end -}}
{{- end }}

{{- define "flask-app.databaseAdminSecret" -}}
{{- .Values.database.adminSecret | default (printf "%s-database-admin" (include "flask-app.fullname" .)) -}}
{{- end }}

{{/* Where the database is: the environment of the service and of the keeper */}}
{{- define "flask-app.databaseEnvironment" -}}
- name: DATABASE_HOST
  value: {{ include "flask-app.databaseHost" . | quote }}
- name: DATABASE_PORT
  value: {{ ternary 5432 .Values.database.port .Values.postgresql.enabled | quote }}
- name: DATABASE_NAME
  value: {{ .Values.database.name | quote }}
- name: DATABASE_SSLMODE
  value: {{ .Values.database.sslmode | quote }}
{{- end }}

{{/* What a Service is called inside the cluster: (dict "root" $ "name" …) */}}
{{- define "flask-app.serviceNames" -}}
{{- $namespace := .root.Release.Namespace -}}
{{ .name }},{{ .name }}.{{ $namespace }},{{ .name }}.{{ $namespace }}.svc,{{ .name }}.{{ $namespace }}.svc.cluster.local
{{- end }}
