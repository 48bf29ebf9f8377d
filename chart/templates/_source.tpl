{{/* Where the service's secrets are from. Whatever the source, the service finds the same files. */}}

{{/* Which keys a pod can't start without, as a JSON list */}}
{{- define "flask-app.requiredKeys" -}}
{{- concat (list "SECRET_KEY" "DATABASE_USERNAME" "DATABASE_PASSWORD") (include "flask-app.ownKeys" . | fromJsonArray) | toJson -}}
{{- end }}

{{/* The Secret with the service's values; the agent and the CSI driver need none. External Secrets'
     has another name than the keeper's, which Helm removes when the source is changed. */}}
{{- define "flask-app.secret" -}}
{{- if eq .Values.secrets.source "existing" -}}
{{ .Values.secrets.existingSecret }}
{{- else -}}
{{ include "flask-app.fullname" . }}-secrets{{ if eq .Values.secrets.source "external-secrets" }}-synced{{ end }}
{{- end -}}
{{- end }}

{{/* What a key is called at the source: (dict "root" $ "key" "SECRET_KEY") */}}
{{- define "flask-app.remoteKey" -}}
{{- $default := .key -}}
{{- if .root.Values.secrets.vault.databasePath -}}
{{- $default = get (dict "DATABASE_USERNAME" "username" "DATABASE_PASSWORD" "password") .key | default .key -}}
{{- end -}}
{{- get .root.Values.secrets.keys .key | default $default -}}
{{- end }}

{{/* What a key is called in the Secret: (dict "root" $ "key" "SECRET_KEY"). Where External Secrets
     brings two objects into one Secret, each key has its object's name in front. */}}
{{- define "flask-app.secretKey" -}}
{{- $key := include "flask-app.remoteKey" . -}}
{{- if eq .root.Values.secrets.source "external-secrets" -}}
{{- $objects := include "flask-app.objects" .root | fromJsonArray -}}
{{- range $objects -}}
{{- if and (gt (len $objects) 1) (has $.key .keys) -}}
{{- $key = printf "%s.%s" .name $key -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $key -}}
{{- end }}

{{/* The manager's objects, each with the keys that are fetched from it at once, as a JSON list */}}
{{- define "flask-app.objects" -}}
{{- $session := concat (list "SECRET_KEY" "SECRET_KEY_FALLBACKS") (include "flask-app.ownKeys" . | fromJsonArray) -}}
{{- /* the CSI driver's providers know no key that may be missing */ -}}
{{- if or (ne .Values.secrets.source "csi") (get .Values.secrets.keys "GENERATION") -}}
{{- $session = append $session "GENERATION" -}}
{{- end -}}
{{- $database := list "DATABASE_USERNAME" "DATABASE_PASSWORD" -}}
{{- with .Values.secrets.objects -}}
{{- if eq .session .database -}}
{{- list (dict "name" "secrets" "object" .session "keys" (concat $session $database)) | toJson -}}
{{- else if .database -}}
{{- list (dict "name" "session" "object" .session "keys" $session) (dict "name" "database" "object" .database "keys" $database) | toJson -}}
{{- else -}}
{{- list (dict "name" "session" "object" .session "keys" $session) | toJson -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where Vault answers for an object of its KV engine, version 2: (dict "root" $ "object" …) */}}
{{- define "flask-app.vaultPath" -}}
{{ .root.Values.secrets.vault.kvMount }}/data/{{ .object }}
{{- end }}

{{/* The volumes with the values, where a Secret has them. A pod waits for the keys that it needs, and
     the kubelet says which one is missing. One that goes away later goes away in /etc/secrets, too:
     the service keeps what it has, and says so. */}}
{{- define "flask-app.secretVolumes" -}}
{{- $all := list -}}
{{- $required := list -}}
{{- range include "flask-app.keys" . | fromJsonArray -}}
{{- $item := dict "key" (include "flask-app.secretKey" (dict "root" $ "key" .)) "path" . -}}
{{- $all = append $all $item -}}
{{- if has . (include "flask-app.requiredKeys" $ | fromJsonArray) -}}
{{- $required = append $required $item -}}
{{- end -}}
{{- end -}}
- name: secrets
  secret:
    secretName: {{ include "flask-app.secret" . | quote }}
    defaultMode: 0400
    {{- if ne .Values.secrets.source "keeper" }}
    optional: true
    {{- end }}
    items:
      {{- toYaml $all | nindent 6 }}
{{- if ne .Values.secrets.source "keeper" }}
- name: secrets-required
  secret:
    secretName: {{ include "flask-app.secret" . | quote }}
    defaultMode: 0400
    items:
      {{- toYaml $required | nindent 6 }}
{{- end }}
{{- end }}

{{/* The volume that the CSI driver fills. Its files are root's, and fsGroup does not change that. */}}
{{- define "flask-app.csiVolume" -}}
- name: secrets
  csi:
    driver: secrets-store.csi.k8s.io
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ .Values.secrets.csi.secretProviderClass | default (include "flask-app.fullname" .) | quote }}
{{- end }}

{{/* The token that Vault's agent logs in with: it is mounted in the agent's container alone, by the
     injector. */}}
{{- define "flask-app.agentVolume" -}}
- name: vault-token
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken:
          audience: {{ .Values.secrets.vault.audience | quote }}
          expirationSeconds: 3600
          path: token
{{- end }}

{{/* What the injector reads: where Vault is, and what the agent writes into which file */}}
{{- define "flask-app.agentAnnotations" -}}
{{- $prefix := "vault.hashicorp.com" -}}
{{- with .Values.secrets.vault -}}
{{ $prefix }}/agent-inject: "true"
# before any other container, and for the service alone
{{ $prefix }}/agent-init-first: "true"
{{ $prefix }}/agent-inject-containers: service
{{ $prefix }}/service: {{ .address | quote }}
{{ $prefix }}/role: {{ .role | quote }}
{{ $prefix }}/auth-path: {{ printf "auth/%s" .authPath | quote }}
{{- with .namespace }}
{{ $prefix }}/namespace: {{ . | quote }}
{{- end }}
{{- if .caSecret }}
{{ $prefix }}/tls-secret: {{ .caSecret | quote }}
{{ $prefix }}/ca-cert: {{ printf "/vault/tls/%s" .caKey | quote }}
{{- end }}
{{ $prefix }}/agent-service-account-token-volume-name: vault-token
{{ $prefix }}/secret-volume-path: /etc/secrets
{{ $prefix }}/preserve-secret-case: "true"
{{ $prefix }}/template-static-secret-render-interval: {{ $.Values.secrets.refreshInterval | quote }}
{{- end }}
{{- range include "flask-app.objects" . | fromJsonArray }}
{{- $path := include "flask-app.vaultPath" (dict "root" $ "object" .object) }}
{{- range .keys }}
{{- include "flask-app.agentFile" (dict "prefix" $prefix "file" . "path" $path "field" (printf "index .Data.data %q" (include "flask-app.remoteKey" (dict "root" $ "key" .)))) }}
{{- end }}
{{- end }}
{{- with .Values.secrets.vault.databasePath }}
{{- range list "DATABASE_USERNAME" "DATABASE_PASSWORD" }}
{{- include "flask-app.agentFile" (dict "prefix" $prefix "file" . "path" $.Values.secrets.vault.databasePath "field" (printf "index .Data %q" (include "flask-app.remoteKey" (dict "root" $ "key" .)))) }}
{{- end }}
{{- end }}
{{- end }}

{{/* One file. Templates that name one path share one answer of Vault's: a pair is of one lease. A key
     that is missing leaves an empty file, which the service refuses and names. */}}
{{- define "flask-app.agentFile" }}
{{ .prefix }}/agent-inject-secret-{{ .file }}: {{ .path | quote }}
{{ .prefix }}/agent-inject-perms-{{ .file }}: "0440"
{{ .prefix }}/agent-inject-template-{{ .file }}: {{ printf "{{ with secret %q }}{{ with %s }}{{ . }}{{ end }}{{ end }}" .path .field | squote }}
{{- end }}

{{/* The annotation by which an account gets its IAM role; none without one */}}
{{- define "flask-app.roleAnnotation" -}}
{{- with .Values.secrets.aws.roleARN -}}
eks.amazonaws.com/role-arn: {{ . }}
{{- end -}}
{{- end }}

{{/* Where they are from, for a reader */}}
{{- define "flask-app.sourceInWords" -}}
{{- $manager := .Values.secrets.aws.region | empty | ternary "HashiCorp Vault" "AWS Secrets Manager" -}}
{{- if or .Values.secrets.externalSecrets.store.name .Values.secrets.csi.secretProviderClass -}}
{{- $manager = "your secret manager" -}}
{{- end -}}
{{- get (dict
  "existing" (printf "those of the Secret %s" .Values.secrets.existingSecret)
  "external-secrets" (printf "brought from %s by External Secrets" $manager)
  "vault-agent" "brought from HashiCorp Vault by its agent"
  "csi" (printf "brought from %s by the Secrets Store CSI driver" $manager)
) .Values.secrets.source -}}
{{- end }}
