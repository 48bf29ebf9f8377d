{{/* Whether there is anything that the keeper does, secrets, certificates or tables: "true" or "" */}}
{{- define "flask-app.keeperRuns" -}}
{{- if or (include "flask-app.keeperSecrets" . | fromJsonArray) .Values.database.adminSecret -}}true{{- end -}}
{{- end }}

{{/* Whether it has the database's administrator, and so the database to prepare: "true" or "" */}}
{{- define "flask-app.keeperAdministers" -}}
{{- if or .Values.postgresql.enabled .Values.database.adminSecret -}}true{{- end -}}
{{- end }}

{{/* The volume with what it verifies a database of the user's own with; may be empty */}}
{{- define "flask-app.keeperCAVolume" -}}
{{- if include "flask-app.keeperAdministers" . -}}
{{- include "flask-app.ownCAVolume" . -}}
{{- end -}}
{{- end }}

{{/* The Secrets that it fills, as a JSON list, without the release's name in front */}}
{{- define "flask-app.keeperSecrets" -}}
{{- $names := list -}}
{{- if eq .Values.secrets.source "keeper" -}}
{{- $names = append $names "secrets" -}}
{{- end -}}
{{- if eq .Values.tls.source "keeper" -}}
{{- $names = append $names "tls" -}}
{{- end -}}
{{- if include "flask-app.keeperIssues" . -}}
{{- $names = append $names "ca" -}}
{{- end -}}
{{- if .Values.postgresql.enabled -}}
{{- $names = concat $names (list "database-admin" "database-tls") -}}
{{- end -}}
{{- $names | toJson -}}
{{- end }}

{{/* The pod of the Job and of the CronJob: both do whatever is due. */}}
{{- define "flask-app.keeperPod" -}}
metadata:
  labels:
    {{- include "flask-app.labels" (dict "root" . "component" "keeper" "labels" .Values.keeper.podLabels) | nindent 4 }}
  {{- with .Values.keeper.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "flask-app.keeperServiceAccountName" . | quote }}
  {{- include "flask-app.pod" (dict "root" . "user" .Values.securityContext "placement" .Values.keeper "token" true) | nindent 2 }}
  {{- with include "flask-app.names" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  restartPolicy: Never
  containers:
    - name: keeper
      {{- include "flask-app.image" . | nindent 6 }}
      command: [python, -m, keeper]
      args: [run]
      {{- include "flask-app.containerSecurity" . | nindent 6 }}
      env:
        {{- include "flask-app.keeperEnvironment" . | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources:
        {{- toYaml .Values.keeper.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if include "flask-app.keeperCAVolume" . }}
        - name: database-ca
          mountPath: /etc/database-ca
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 16Mi
    {{- with include "flask-app.keeperCAVolume" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* What checkov is told of the Job and the CronJob */}}
{{- define "flask-app.keeperLint" -}}
checkov.io/skip1: CKV_K8S_38=the keeper talks to the API server, and nobody else has a token
{{- end }}

{{- define "flask-app.keeperEnvironment" -}}
{{- $fullname := include "flask-app.fullname" . -}}
{{- if eq .Values.secrets.source "keeper" }}
- name: SERVICE_SECRET
  value: {{ $fullname }}-secrets
{{- with .Values.secrets.own.made }}
- name: OWN_KEYS
  value: {{ join "," . }}
{{- end }}
{{- end }}
{{- if include "flask-app.keeperIssues" . }}
- name: CA_SECRET
  value: {{ $fullname }}-ca
{{- end }}
{{- if eq .Values.tls.source "keeper" }}
- name: TLS_SECRET
  value: {{ $fullname }}-tls
- name: TLS_NAMES
  value: {{ concat (include "flask-app.inClusterNames" . | fromJsonArray) .Values.tls.extraNames | join "," | quote }}
{{- end }}
{{- if include "flask-app.keeperAdministers" . }}
- name: TABLES_DIR
  value: /srv/app/tables
- name: DATABASE_ADMIN_SECRET
  value: {{ include "flask-app.databaseAdminSecret" . | quote }}
{{- if .Values.postgresql.enabled }}
- name: DATABASE_ADMIN_USERNAME
  value: postgres
- name: DATABASE_TLS_SECRET
  value: {{ $fullname }}-database-tls
- name: DATABASE_TLS_NAMES
  value: {{ include "flask-app.serviceNames" (dict "root" . "name" (printf "%s-database" $fullname)) | fromJsonArray | join "," | quote }}
{{- else }}
{{- with include "flask-app.ownCAFile" . }}
- name: DATABASE_CA_FILE
  value: {{ . }}
{{- end }}
{{- end }}
{{ include "flask-app.databaseEnvironment" (dict "root" . "host" (include "flask-app.keeperDatabaseHost" .) "port" (include "flask-app.keeperDatabasePort" .)) }}
{{- end }}
# found by DNS and asked for their metrics: no permission on pods is needed
- name: PODS_HOST
  value: {{ $fullname }}-metrics.{{ .Release.Namespace }}.svc
- name: PODS_METRICS_PORT
  value: "9090"
{{- if eq .Values.tls.source "keeper" }}
- name: PODS_TLS_PORT
  value: "8443"
{{- end }}
- name: WAIT_SECONDS
  value: {{ .Values.keeper.waitSeconds | int | quote }}
- name: SETTLE_SECONDS
  value: {{ .Values.keeper.settleSeconds | int | quote }}
- name: ROTATION_INTERVAL_SECONDS
  value: {{ .Values.keeper.rotation.interval | int | quote }}
- name: SESSION_LIFETIME_SECONDS
  value: {{ .Values.sessionLifetime | int | quote }}
{{- end -}}
