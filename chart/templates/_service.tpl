{{/* What the service's container gets: its settings, and its secrets in one of two ways. */}}

{{/* The keys of its Secret, which README.md describes */}}
{{- define "flask-app.keys" -}}
{{- concat (list "SECRET_KEY" "SECRET_KEY_FALLBACKS" "DATABASE_USERNAME" "DATABASE_PASSWORD" "GENERATION") (include "flask-app.ownKeys" . | fromJsonArray) | toJson -}}
{{- end }}

{{/* Those of them that the user added */}}
{{- define "flask-app.ownKeys" -}}
{{- concat .Values.secrets.own.made .Values.secrets.own.given | toJson -}}
{{- end }}

{{- define "flask-app.serviceEnvironment" -}}
- name: HOST
  value: 0.0.0.0
- name: PORT
  value: "8443"
- name: METRICS_PORT
  value: "9090"
- name: TLS_DIR
  value: /etc/tls
- name: SECRETS_FROM
  value: {{ .Values.secrets.inject }}
{{- if eq .Values.secrets.inject "files" }}
- name: SECRETS_DIR
  value: /etc/secrets
{{- else }}
{{- range include "flask-app.keys" . | fromJsonArray }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "flask-app.secret" $ | quote }}
      key: {{ include "flask-app.secretKey" (dict "root" $ "key" .) }}
      {{- if and (ne $.Values.secrets.source "keeper") (not (has . (include "flask-app.requiredKeys" $ | fromJsonArray))) }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
- name: SECRETS_CHECK_SECONDS
  value: {{ .Values.secrets.checkSeconds | quote }}
- name: SESSION_LIFETIME_SECONDS
  value: {{ .Values.sessionLifetime | int | quote }}
- name: LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: CLIENT_IDLE_SECONDS
  value: {{ .Values.clientIdleSeconds | quote }}
- name: CLIENT_TOTAL_SECONDS
  value: {{ .Values.clientTotalSeconds | quote }}
- name: KEEP_ALIVE_SECONDS
  value: {{ .Values.keepAliveSeconds | int | quote }}
- name: TRUSTED_PROXIES
  value: {{ .Values.trustedProxies | int | quote }}
{{- with include "flask-app.trustedHosts" . | fromJsonArray }}
- name: TRUSTED_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{ include "flask-app.databaseEnvironment" (dict "root" . "host" (include "flask-app.databaseHost" .) "port" (include "flask-app.databasePort" .)) }}
- name: DATABASE_POOLER
  value: {{ .Values.database.pooler }}
{{- with ternary "/etc/database-ca/ca.crt" (include "flask-app.ownCAFile" .) .Values.postgresql.enabled }}
- name: DATABASE_CA_FILE
  value: {{ . }}
{{- end }}
{{- end }}

{{/* The host names that requests may be for, as a JSON list; empty: any */}}
{{- define "flask-app.trustedHosts" -}}
{{- $isKnown := and (eq .Values.service.type "ClusterIP") (or (not .Values.httpRoute.enabled) .Values.httpRoute.hostnames) -}}
{{- $hosts := .Values.trustedHosts -}}
{{- if kindIs "invalid" $hosts -}}
{{- $hosts = include "flask-app.hostsOfValues" . | fromJsonArray -}}
{{- else -}}
{{- $isKnown = $hosts -}}
{{- end -}}
{{- if $isKnown -}}
{{- concat (include "flask-app.inClusterNames" . | fromJsonArray) $hosts | uniq | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end }}

{{/* Those of other values, as TRUSTED_HOSTS writes a wildcard, as a JSON list */}}
{{- define "flask-app.hostsOfValues" -}}
{{- $hosts := .Values.tls.extraNames -}}
{{- if .Values.ingress.enabled -}}
{{- range .Values.ingress.hosts -}}
{{- $hosts = append $hosts .host -}}
{{- end -}}
{{- end -}}
{{- if .Values.httpRoute.enabled -}}
{{- $hosts = concat $hosts .Values.httpRoute.hostnames -}}
{{- end -}}
{{- $written := list -}}
{{- range $hosts -}}
{{- $written = append $written (regexReplaceAll "^[*][.]" . ".") -}}
{{- end -}}
{{- $written | toJson -}}
{{- end }}

{{- define "flask-app.serviceVolumeMounts" -}}
# whole folders: the kubelet never updates a subPath
{{- if and (eq .Values.secrets.inject "files") (ne .Values.secrets.source "vault-agent") }}
- name: secrets
  mountPath: /etc/secrets
  readOnly: true
{{- if has .Values.secrets.source (list "existing" "external-secrets") }}
- name: secrets-required
  mountPath: /etc/secrets-required
  readOnly: true
{{- end }}
{{- end }}
- name: tls
  mountPath: /etc/tls
  readOnly: true
{{- if or .Values.postgresql.enabled (include "flask-app.ownCAVolume" .) }}
- name: database-ca
  mountPath: /etc/database-ca
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "flask-app.serviceVolumes" -}}
{{- $fullname := include "flask-app.fullname" . -}}
# Keys are named, so that the kubelet itself holds the pod back until they are filled. With
# fsGroup, 0400 becomes 0440.
{{- if eq .Values.secrets.source "vault-agent" }}
{{ include "flask-app.agentVolume" . }}
{{- else if eq .Values.secrets.source "csi" }}
{{ include "flask-app.csiVolume" . }}
{{- else if eq .Values.secrets.inject "files" }}
{{ include "flask-app.secretVolumes" . }}
{{- end }}
- name: tls
  secret:
    secretName: {{ include "flask-app.tlsSecret" . | quote }}
    defaultMode: 0400
    items:
      {{- range list "tls.crt" "tls.key" }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- if .Values.postgresql.enabled }}
- name: database-ca
  secret:
    secretName: {{ $fullname }}-database-tls
    defaultMode: 0400
    items:
      - key: ca.crt
        path: ca.crt
{{- else }}
{{- include "flask-app.ownCAVolume" . }}
{{- end }}
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 16Mi
{{- end }}
