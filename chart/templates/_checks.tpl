{{/* What the user adds to the service's container must not bring a secret in by another way. */}}

{{- define "flask-app.checkEnvironment" -}}
{{- $own := list -}}
{{- range include "flask-app.serviceEnvironment" . | fromYamlArray -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- range .Values.env -}}
{{- $where := "secrets come as files, or by secrets.inject" -}}
{{- if or (has .name (include "flask-app.keys" $ | fromJsonArray)) (dig "valueFrom" "secretKeyRef" "" .) -}}
{{- fail (printf "env has %s from outside of the chart's own Secret: %s." .name $where) -}}
{{- end -}}
{{- if or (has .name $own) (has .name (list "SECRETS_DIR" "DATABASE_CA_FILE")) -}}
{{- fail (printf "env has %s, which the chart sets itself: use the value that is made for it." .name) -}}
{{- end -}}
{{- /* a path says where a secret is, as GOOGLE_APPLICATION_CREDENTIALS does */ -}}
{{- if and (include "flask-app.isSecretName" .name) (not (hasPrefix "/" (.value | default ""))) -}}
{{- fail (printf "env has %s, which sounds like a secret: mount it as a file, with volumes and volumeMounts. If it is none, give it another name." .name) -}}
{{- end -}}
{{- if include "flask-app.isSecretValue" (.value | default "") -}}
{{- fail (printf "env has a value under %s that looks like a secret: mount it as a file, with volumes and volumeMounts. If it is none, take it from a ConfigMap, with configMapKeyRef." .name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* "true" or "": a name as of a password, a token or a key, but not of a file with one */}}
{{- define "flask-app.isSecretName" -}}
{{- $words := "passw(or)?d|passphrase|pwd|secret|credential|(api|auth|access|refresh|id|bearer)token" -}}
{{- $keys := "(api|access|private|signing|signature|encryption|master|session|ssh|hmac|jwt|license|account|storage)_?key" -}}
{{- $isSecret := regexMatch (printf "(?i)(%s|%s|(^|_)(token|pass|pat|auth)(_|$))" $words $keys) . -}}
{{- if and $isSecret (not (regexMatch "(?i)_(file|dir|path|url|uri|name|issuer|header|seconds|ttl)$" .)) -}}true{{- end -}}
{{- end }}

{{/* "true" or "": a private key, a URL or a connection string with a password, a token that is known
     by its beginning, a JWT, or as random as a key: in hexadecimal digits (but not a commit's 40), or
     in base64 (but not a path, and no word in it) */}}
{{- define "flask-app.isSecretValue" -}}
{{- $text := trim . -}}
{{- $isString := regexMatch "://[^/@\\s]*:[^/@\\s]+@|(?i)\\b(password|passwd|pwd|secret|token|api_?key)=[^;&\\s]" $text -}}
{{- $isToken := regexMatch "-----BEGIN [A-Z ]*PRIVATE KEY|(?i:^bearer )|\\b(AKIA|ASIA)[0-9A-Z]{16}\\b|\\bgh[opsru]_|\\bglpat-|\\bhvs\\.|\\bxox[abprs]-|\\b[rs]k_(live|test)_|^sk[-_]|\\bnpm_[A-Za-z0-9]{30}|\\bdckr_pat_|hooks\\.slack\\.com/services/|\\beyJ[A-Za-z0-9_-]+\\.eyJ" $text -}}
{{- $isHex := and (regexMatch "^[0-9a-fA-F]{32,}$" $text) (ne (len $text) 40) -}}
{{- $isMixed := and (regexMatch "[a-z]" $text) (regexMatch "[A-Z]" $text) (regexMatch "[0-9]" $text) -}}
{{- $isReadable := regexMatch "^/|[a-z]{7}" $text -}}
{{- $isBase64 := and (regexMatch "^[A-Za-z0-9+/_-]{24,}={0,2}$" $text) $isMixed (not $isReadable) -}}
{{- if or $isString $isToken $isHex $isBase64 -}}true{{- end -}}
{{- end }}

{{- define "flask-app.checkVolumes" -}}
{{- $own := list "secrets" "secrets-required" "vault-token" "vault-secrets" "tls" "database-ca" "tmp" -}}
{{- $secrets := list -}}
{{- range .Values.volumes -}}
{{- if has .name $own -}}
{{- fail (printf "volumes has %s, which is a volume of the chart's: take another name." .name) -}}
{{- end -}}
{{- if or .secret .projected .csi -}}
{{- $secrets = append $secrets .name -}}
{{- end -}}
{{- end -}}
{{- range .Values.volumeMounts -}}
{{- if and (or .subPath .subPathExpr) (has .name (concat $own $secrets)) -}}
{{- fail (printf "volumeMounts has a subPath of %s: the kubelet never updates one, and a rotation would go unseen. Mount the whole folder." .name) -}}
{{- end -}}
{{- $folder := clean .mountPath -}}
{{- $isIn := regexMatch "^/(etc/(secrets|secrets-required|tls|database-ca|ssl)|srv|opt/venv|tmp)(/|$)" $folder -}}
{{- if or $isIn (has $folder (list "/" "/etc" "/opt" "/usr" "/bin" "/lib" "/proc" "/sys" "/dev")) -}}
{{- fail (printf "volumeMounts has %s, where the image or the chart has something of its own: take another folder." .mountPath) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* One source of secrets, and all that it needs */}}
{{- define "flask-app.checkSource" -}}
{{- $source := .Values.secrets.source -}}
{{- $vault := .Values.secrets.vault -}}
{{- $aws := .Values.secrets.aws -}}
{{- $objects := .Values.secrets.objects -}}
{{- $store := .Values.secrets.externalSecrets.store.name -}}
{{- $class := .Values.secrets.csi.secretProviderClass -}}
{{- $manager := list "external-secrets" "vault-agent" "csi" -}}

{{- /* each of these belongs to some sources, and would be a second one elsewhere */ -}}
{{- $belongs := dict
  "secrets.existingSecret" (list .Values.secrets.existingSecret (list "existing"))
  "secrets.externalSecrets.store.name" (list $store (list "external-secrets"))
  "secrets.csi.secretProviderClass" (list $class (list "csi"))
  "secrets.vault.address" (list $vault.address $manager)
  "secrets.vault.role" (list $vault.role $manager)
  "secrets.vault.databasePath" (list $vault.databasePath (list "vault-agent" "csi"))
  "secrets.aws.region" (list $aws.region (list "external-secrets" "csi"))
  "secrets.aws.roleARN" (list $aws.roleARN (list "external-secrets" "csi"))
  "secrets.objects.session" (list $objects.session $manager)
  "secrets.objects.database" (list $objects.database $manager)
-}}
{{- range $path := keys $belongs | sortAlpha -}}
{{- $value := index $belongs $path | first -}}
{{- $sources := index $belongs $path | last -}}
{{- if and $value (not (has $source $sources)) -}}
{{- fail (printf "two sources of secrets: secrets.source is %s, and %s belongs to %s. Set secrets.source=%s, or leave %s empty." $source $path (join ", " $sources) (first $sources) $path) -}}
{{- end -}}
{{- end -}}
{{- range $file := keys .Values.secrets.keys | sortAlpha -}}
{{- if include "flask-app.isSecretValue" (get $.Values.secrets.keys $file) -}}
{{- fail (printf "secrets.keys has something under %s that looks like a secret: it takes the name of a key, and the value stays at its source." $file) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $source "keeper") .Values.secrets.keys -}}
{{- fail "secrets.keys says what keys are called at another source, and secrets.source is keeper, which makes them itself: leave it empty." -}}
{{- end -}}
{{- if and (eq .Values.secrets.inject "env") (has $source (list "vault-agent" "csi")) -}}
{{- fail (printf "secrets.inject is env, and secrets.source %s writes files alone: there is no Secret to take variables from. Use secrets.inject=files." $source) -}}
{{- end -}}

{{- if eq $source "existing" -}}
{{- if not .Values.secrets.existingSecret -}}
{{- fail "secrets.source is existing: name a Secret with SECRET_KEY, DATABASE_USERNAME and DATABASE_PASSWORD in secrets.existingSecret, and say in secrets.keys what they are called there, if it is otherwise." -}}
{{- end -}}
{{- if eq .Values.secrets.existingSecret (printf "%s-secrets" (include "flask-app.fullname" .)) -}}
{{- fail (printf "secrets.existingSecret is %s, which is the keeper's, and is removed with it: copy what you need into another." .Values.secrets.existingSecret) -}}
{{- end -}}
{{- end -}}

{{- if has $source $manager -}}
{{- $named := get (dict "external-secrets" (list "secrets.externalSecrets.store.name" $store) "csi" (list "secrets.csi.secretProviderClass" $class)) $source | default (list "" "") -}}
{{- $isNamed := last $named -}}
{{- if and $vault.address $aws.region -}}
{{- fail "two managers: secrets.vault.address and secrets.aws.region are both set. Keep the one that has the secrets." -}}
{{- end -}}
{{- if and $isNamed (or $vault.address $vault.role $aws.region $aws.roleARN) -}}
{{- fail (printf "two sources of secrets: %s names one of yours, and secrets.vault or secrets.aws would make another. Keep one of them." (first $named)) -}}
{{- end -}}
{{- if and (eq $source "vault-agent") (not $vault.address) -}}
{{- fail "secrets.source is vault-agent: set secrets.vault.address, as in https://vault.example.org:8200." -}}
{{- end -}}
{{- if not (or $isNamed $vault.address $aws.region) -}}
{{- fail (printf "secrets.source is %s, and no manager is named: set secrets.vault.address and secrets.vault.role, or secrets.aws.region and secrets.aws.roleARN, or name one of yours in %s." $source (first $named)) -}}
{{- end -}}
{{- if and $vault.address (not $vault.role) -}}
{{- fail "secrets.vault.role is empty: name the role of Vault's Kubernetes auth method that may read the objects." -}}
{{- end -}}
{{- if and $aws.region (not $aws.roleARN) (or (eq $source "external-secrets") .Values.serviceAccount.create) -}}
{{- fail "secrets.aws.roleARN is empty: name the IAM role that may read the objects." -}}
{{- end -}}

{{- if eq $class "" -}}
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
{{- else if or $objects.session $objects.database $vault.databasePath .Values.secrets.keys -}}
{{- fail "two sources of secrets: secrets.csi.secretProviderClass names one of yours, which says what is written, and so do secrets.objects, secrets.keys or secrets.vault.databasePath. Keep one of them." -}}
{{- end -}}
{{- if and (eq $source "csi") (not (regexMatch "^$|/static-creds/" $vault.databasePath)) -}}
{{- fail (printf "secrets.vault.databasePath %s makes a new login each time that the CSI driver looks: use its static-creds, or secrets.source=vault-agent, which keeps one for as long as it is valid." $vault.databasePath) -}}
{{- end -}}
{{- end -}}

{{- if eq $source "vault-agent" -}}
{{- $own := include "flask-app.agentAnnotations" . | fromYaml -}}
{{- range $name := keys .Values.podAnnotations | sortAlpha -}}
{{- if hasKey $own $name -}}
{{- fail (printf "podAnnotations has %s, which the chart sets itself: use the value under secrets.vault that is made for it." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
