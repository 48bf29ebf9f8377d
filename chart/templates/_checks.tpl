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
{{- if or (has .name $own) (has .name (list "SECRETS_DIR" "DATABASE_CA_FILE" "DATABASE_CHANNEL_BINDING" "TRUSTED_HOSTS")) -}}
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
