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
{{- if include "flask-app.isSecretName" .name -}}
{{- fail (printf "env has %s, which sounds like a secret: mount it as a file, with volumes and volumeMounts. If it is none, give it another name." .name) -}}
{{- end -}}
{{- if include "flask-app.isSecretValue" (.value | default "") -}}
{{- fail (printf "env has a value under %s that looks like a secret: mount it as a file, with volumes and volumeMounts. If it is none, take it from a ConfigMap, with configMapKeyRef." .name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* "true" or "": a name as of a password, a token or a key, but not of a file with one */}}
{{- define "flask-app.isSecretName" -}}
{{- $isSecret := regexMatch "(?i)(passw(or)?d|passphrase|pwd|secret|token|credential|(api|access|private|signing|encryption)_?key)" . -}}
{{- if and $isSecret (not (regexMatch "(?i)_(file|dir|path|url|uri|name|issuer|header|seconds|ttl)$" .)) -}}true{{- end -}}
{{- end }}

{{/* "true" or "": a private key, a URL with a password, a token that is known by its beginning, a
     JWT, or as random as a key: in hexadecimal digits (but not a commit's 40), or in base64 */}}
{{- define "flask-app.isSecretValue" -}}
{{- $text := trim . -}}
{{- $isKnown := regexMatch "-----BEGIN |://[^/@\\s]*:[^/@\\s]+@|^(AKIA|ASIA)[0-9A-Z]{16}$|^gh[opsru]_|^glpat-|^hvs\\.|^xox[abprs]-|^sk[-_]|^eyJ[A-Za-z0-9_-]+\\.eyJ" $text -}}
{{- $isHex := and (regexMatch "^[0-9a-fA-F]{32,}$" $text) (ne (len $text) 40) -}}
{{- $isMixed := and (regexMatch "[a-z]" $text) (regexMatch "[A-Z]" $text) (regexMatch "[0-9]" $text) -}}
{{- $isBase64 := and (regexMatch "^[A-Za-z0-9+/_-]{24,}={0,2}$" $text) $isMixed -}}
{{- if or $isKnown $isHex $isBase64 -}}true{{- end -}}
{{- end }}

{{- define "flask-app.checkVolumes" -}}
{{- $own := list "secrets" "tls" "database-ca" "tmp" -}}
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
{{- if regexMatch "^/(etc/(secrets|tls|database-ca)|srv|opt/venv|tmp)?(/|$)" .mountPath -}}
{{- fail (printf "volumeMounts has %s, where the image or the chart has something of its own: take another folder." .mountPath) -}}
{{- end -}}
{{- end -}}
{{- end }}
