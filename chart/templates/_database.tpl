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

{{- define "flask-app.databaseAdminSecret" -}}
{{- .Values.database.adminSecret | default (printf "%s-database-admin" (include "flask-app.fullname" .)) -}}
{{- end }}

{{/* Environment variables of the service and of the keeper */}}
{{- define "flask-app.databaseEnvironment" -}}
- name: DATABASE_HOST
  value: {{ include "flask-app.databaseHost" . | quote }}
- name: DATABASE_PORT
  value: {{ include "flask-app.databasePort" . | quote }}
- name: DATABASE_NAME
  value: {{ .Values.database.name | quote }}
- name: DATABASE_SSLMODE
  value: {{ .Values.database.sslmode | quote }}
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
