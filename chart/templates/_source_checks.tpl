{{/* One source of secrets, and all that it needs: what contradicts that stops with a sentence. */}}

{{- define "flask-app.checkSource" -}}
{{- $source := .Values.secrets.source -}}
{{- include "flask-app.checkBelongings" . -}}
{{- include "flask-app.checkKeys" . -}}
{{- if and (eq .Values.secrets.inject "env") (has $source (list "vault-agent" "csi")) -}}
{{- fail (printf "secrets.inject is env, and secrets.source %s writes files alone: there is no Secret to take variables from. Use secrets.inject=files." $source) -}}
{{- end -}}
{{- if eq $source "existing" -}}
{{- include "flask-app.checkExisting" . -}}
{{- else if ne $source "keeper" -}}
{{- include "flask-app.checkManager" . -}}
{{- include "flask-app.checkObjects" . -}}
{{- end -}}
{{- if eq $source "vault-agent" -}}
{{- include "flask-app.checkAgentAnnotations" . -}}
{{- end -}}
{{- end }}

{{/* Each of these belongs to some sources, and would be a second one elsewhere. */}}
{{- define "flask-app.checkBelongings" -}}
{{- $source := .Values.secrets.source -}}
{{- $manager := list "external-secrets" "vault-agent" "csi" -}}
{{- with .Values.secrets -}}
{{- $belongs := dict
  "secrets.existingSecret" (list .existingSecret (list "existing"))
  "secrets.externalSecrets.store.name" (list .externalSecrets.store.name (list "external-secrets"))
  "secrets.csi.secretProviderClass" (list .csi.secretProviderClass (list "csi"))
  "secrets.vault.address" (list .vault.address $manager)
  "secrets.vault.role" (list .vault.role $manager)
  "secrets.vault.databasePath" (list .vault.databasePath (list "vault-agent" "csi"))
  "secrets.aws.region" (list .aws.region (list "external-secrets" "csi"))
  "secrets.aws.roleARN" (list .aws.roleARN (list "external-secrets" "csi"))
  "secrets.objects.session" (list .objects.session $manager)
  "secrets.objects.database" (list .objects.database $manager)
-}}
{{- range $path := keys $belongs | sortAlpha -}}
{{- $value := index $belongs $path | first -}}
{{- $sources := index $belongs $path | last -}}
{{- if and $value (not (has $source $sources)) -}}
{{- fail (printf "two sources of secrets: secrets.source is %s, and %s belongs to %s. Set secrets.source=%s, or leave %s empty." $source $path (join ", " $sources) (first $sources) $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "flask-app.checkKeys" -}}
{{- range .Values.secrets.own.made -}}
{{- if has . $.Values.secrets.own.given -}}
{{- fail (printf "secrets.own has %s under made and under given: the keeper makes it, or you do." .) -}}
{{- end -}}
{{- end -}}
{{- range $file := keys .Values.secrets.keys | sortAlpha -}}
{{- if not (has $file (include "flask-app.keys" $ | fromJsonArray)) -}}
{{- fail (printf "secrets.keys has %s, which the service does not read: name a key of secrets.own, or one of the chart's." $file) -}}
{{- end -}}
{{- if include "flask-app.isSecretValue" (get $.Values.secrets.keys $file) -}}
{{- fail (printf "secrets.keys has something under %s that looks like a secret: it takes the name of a key, and the value stays at its source." $file) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.secrets.source "keeper") .Values.secrets.keys -}}
{{- fail "secrets.keys says what keys are called at another source, and secrets.source is keeper, which makes them itself: leave it empty." -}}
{{- end -}}
{{- end }}

{{- define "flask-app.checkExisting" -}}
{{- if not .Values.secrets.existingSecret -}}
{{- fail "secrets.source is existing: name a Secret with SECRET_KEY, DATABASE_USERNAME and DATABASE_PASSWORD in secrets.existingSecret, and say in secrets.keys what they are called there, if it is otherwise." -}}
{{- end -}}
{{- if eq .Values.secrets.existingSecret (printf "%s-secrets" (include "flask-app.fullname" .)) -}}
{{- fail (printf "secrets.existingSecret is %s, which is the keeper's, and is removed with it: copy what you need into another." .Values.secrets.existingSecret) -}}
{{- end -}}
{{- end }}

{{/* Where an object of the user's own can be named in place of the chart's, and its name, as JSON */}}
{{- define "flask-app.named" -}}
{{- if eq .Values.secrets.source "external-secrets" -}}
{{- dict "path" "secrets.externalSecrets.store.name" "name" .Values.secrets.externalSecrets.store.name | toJson -}}
{{- else -}}
{{- dict "path" "secrets.csi.secretProviderClass" "name" .Values.secrets.csi.secretProviderClass | toJson -}}
{{- end -}}
{{- end }}

{{/* One manager, and the right to read from it */}}
{{- define "flask-app.checkManager" -}}
{{- $source := .Values.secrets.source -}}
{{- $vault := .Values.secrets.vault -}}
{{- $aws := .Values.secrets.aws -}}
{{- $named := include "flask-app.named" . | fromJson -}}
{{- if and $vault.address $aws.region -}}
{{- fail "two managers: secrets.vault.address and secrets.aws.region are both set. Keep the one that has the secrets." -}}
{{- end -}}
{{- if and $named.name (or $vault.address $vault.role $aws.region $aws.roleARN) -}}
{{- fail (printf "two sources of secrets: %s names one of yours, and secrets.vault or secrets.aws would make another. Keep one of them." $named.path) -}}
{{- end -}}
{{- if and (eq $source "vault-agent") (not $vault.address) -}}
{{- fail "secrets.source is vault-agent: set secrets.vault.address, as in https://vault.example.org:8200." -}}
{{- end -}}
{{- if not (or $named.name $vault.address $aws.region) -}}
{{- fail (printf "secrets.source is %s, and no manager is named: set secrets.vault.address and secrets.vault.role, or secrets.aws.region and secrets.aws.roleARN, or name one of yours in %s." $source $named.path) -}}
{{- end -}}
{{- if and $vault.address (not $vault.role) -}}
{{- fail "secrets.vault.role is empty: name the role of Vault's Kubernetes auth method that may read the objects." -}}
{{- end -}}
{{- /* an account of the user's own has its annotation already */ -}}
{{- if and $aws.region (not $aws.roleARN) (or (eq $source "external-secrets") .Values.serviceAccount.create) -}}
{{- fail "secrets.aws.roleARN is empty: name the IAM role that may read the objects." -}}
{{- end -}}
{{- end }}

{{/* What is read there, once */}}
{{- define "flask-app.checkObjects" -}}
{{- $source := .Values.secrets.source -}}
{{- $objects := .Values.secrets.objects -}}
{{- $vault := .Values.secrets.vault -}}
{{- if .Values.secrets.csi.secretProviderClass -}}
{{- if or $objects.session $objects.database $vault.databasePath .Values.secrets.keys -}}
{{- fail "two sources of secrets: secrets.csi.secretProviderClass names one of yours, which says what is written, and so do secrets.objects, secrets.keys or secrets.vault.databasePath. Keep one of them." -}}
{{- end -}}
{{- else -}}
{{- if not $objects.session -}}
{{- fail "secrets.objects.session is empty: name the manager's object with SECRET_KEY and SECRET_KEY_FALLBACKS." -}}
{{- end -}}
{{- if and $objects.database $vault.databasePath -}}
{{- fail "two sources of the database's login: secrets.objects.database and secrets.vault.databasePath are both set. Keep one of them." -}}
{{- end -}}
{{- if not (or $objects.database $vault.databasePath) -}}
{{- fail (printf "secrets.objects.database is empty: name the manager's object with DATABASE_USERNAME and DATABASE_PASSWORD%s." (ternary "" ", or set secrets.vault.databasePath" (eq $source "external-secrets"))) -}}
{{- end -}}
{{- if and $vault.databasePath (not $vault.address) -}}
{{- fail "secrets.vault.databasePath is set, and secrets.vault.address is not." -}}
{{- end -}}
{{- if and (eq $source "csi") (not (regexMatch "^$|/static-creds/" $vault.databasePath)) -}}
{{- fail (printf "secrets.vault.databasePath %s makes a new login each time that the CSI driver looks: use its static-creds, or secrets.source=vault-agent, which keeps one for as long as it is valid." $vault.databasePath) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "flask-app.checkAgentAnnotations" -}}
{{- $own := include "flask-app.agentAnnotations" . | fromYaml -}}
{{- range $name := keys .Values.podAnnotations | sortAlpha -}}
{{- if hasKey $own $name -}}
{{- fail (printf "podAnnotations has %s, which the chart sets itself: use the value under secrets.vault that is made for it." $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
