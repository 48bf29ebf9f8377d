{{/* What the service and the keeper know of the database: where it is, and how it is verified. */}}

{{- define "flask-app.databaseHost" -}}
{{- if .Values.postgresql.enabled -}}
{{ include "flask-app.fullname" . }}-database.{{ .Release.Namespace }}.svc
{{- else -}}
{{ .Values.database.host }}
{{- end -}}
{{- end }}

{{- define "flask-app.databasePort" -}}
{{ ternary 5432 (.Values.database.port | int) .Values.postgresql.enabled }}
{{- end }}

{{/* Where the keeper connects: past a pooler, since it holds an advisory lock for a session */}}
{{- define "flask-app.keeperDatabaseHost" -}}
{{ .Values.database.directHost | default (include "flask-app.databaseHost" .) }}
{{- end }}

{{- define "flask-app.keeperDatabasePort" -}}
{{ ternary (.Values.database.directPort | int | toString) (include "flask-app.databasePort" .) (not (empty .Values.database.directHost)) }}
{{- end }}

{{- define "flask-app.databaseAdminSecret" -}}
{{- .Values.database.adminSecret | default (printf "%s-database-admin" (include "flask-app.fullname" .)) -}}
{{- end }}

{{/* Environment variables of the service and of the keeper: (dict "root" $ "host" … "port" …). A
     channel binding that is asked for by name holds for both. Otherwise each requires it where its
     own connection has it: the service's ends at a pooler, if there is one, and the keeper's never. */}}
{{- define "flask-app.databaseEnvironment" -}}
- name: DATABASE_HOST
  value: {{ .host | quote }}
- name: DATABASE_PORT
  value: {{ .port | quote }}
{{- with .root.Values.database }}
- name: DATABASE_NAME
  value: {{ .name | quote }}
- name: DATABASE_SSLMODE
  value: {{ .sslmode | quote }}
- name: DATABASE_TARGET_SESSION_ATTRS
  value: {{ .targetSessionAttrs }}
- name: DATABASE_REQUIRE_AUTH
  value: {{ .requireAuth | nospace | quote }}
{{- with .channelBinding }}
- name: DATABASE_CHANNEL_BINDING
  value: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The file with the certificate authorities of a database of the user's own; may be empty */}}
{{- define "flask-app.ownCAFile" -}}
{{- if or .Values.database.caConfigMap .Values.database.caSecret -}}
/etc/database-ca/ca.crt
{{- else if .Values.database.publicCA -}}
/etc/ssl/certs/ca-certificates.crt
{{- end -}}
{{- end }}

{{/* The volume with them; may be empty */}}
{{- define "flask-app.ownCAVolume" -}}
{{- with .Values.database.caConfigMap }}
- name: database-ca
  configMap:
    name: {{ . | quote }}
    items:
      - key: {{ $.Values.database.caKey }}
        path: ca.crt
{{- end }}
{{- with .Values.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0400
    items:
      - key: {{ $.Values.database.caKey }}
        path: ca.crt
{{- end }}
{{- end }}
