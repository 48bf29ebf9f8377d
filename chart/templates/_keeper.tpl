{{/* The pod of the Job and of the CronJob: both do whatever is due. */}}
{{- define "flask-app.keeperPod" -}}
{{- $fullname := include "flask-app.fullname" . -}}
metadata:
  labels:
    {{- include "flask-app.labels" (dict "root" . "component" "keeper") | nindent 4 }}
spec:
  serviceAccountName: {{ $fullname }}-keeper
  {{- include "flask-app.podSecurity" (dict "root" . "user" (include "flask-app.user" .) "token" true) | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: keeper
      image: {{ include "flask-app.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [python, -m, app.keeper]
      args: [run]
      {{- include "flask-app.containerSecurity" . | nindent 6 }}
      env:
        - name: SERVICE_SECRET
          value: {{ $fullname }}-secrets
        - name: CA_SECRET
          value: {{ $fullname }}-ca
        - name: TLS_SECRET
          value: {{ $fullname }}-tls
        - name: TLS_NAMES
          value: {{ concat (list (include "flask-app.serviceNames" (dict "root" . "name" $fullname)) "localhost" "127.0.0.1") .Values.tls.extraNames | join "," | quote }}
        - name: DATABASE_ADMIN_SECRET
          value: {{ include "flask-app.databaseAdminSecret" . }}
        {{- if .Values.postgresql.enabled }}
        - name: DATABASE_ADMIN_USERNAME
          value: postgres
        - name: DATABASE_TLS_SECRET
          value: {{ $fullname }}-database-tls
        - name: DATABASE_TLS_NAMES
          value: {{ include "flask-app.serviceNames" (dict "root" . "name" (printf "%s-database" $fullname)) | quote }}
        {{- else if .Values.database.caConfigMap }}
        - name: DATABASE_CA_FILE
          value: /etc/database-ca/ca.crt
        {{- end }}
        {{- include "flask-app.databaseEnvironment" . | nindent 8 }}
        # found by DNS and asked for their metrics: no permission on pods is needed
        - name: PODS_HOST
          value: {{ $fullname }}-metrics.{{ .Release.Namespace }}.svc
        - name: PODS_METRICS_PORT
          value: "9090"
        - name: PODS_TLS_PORT
          value: "8443"
        - name: WAIT_SECONDS
          value: {{ .Values.keeper.waitSeconds | int | quote }}
        - name: SETTLE_SECONDS
          value: {{ .Values.keeper.settleSeconds | int | quote }}
        - name: ROTATION_INTERVAL_SECONDS
          value: {{ .Values.keeper.rotation.interval | int | quote }}
        - name: SESSION_LIFETIME_SECONDS
          value: {{ .Values.sessionLifetime | int | quote }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources:
        {{- toYaml .Values.keeper.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if .Values.database.caConfigMap }}
        - name: database-ca
          mountPath: /etc/database-ca
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 16Mi
    {{- if .Values.database.caConfigMap }}
    - name: database-ca
      configMap:
        name: {{ .Values.database.caConfigMap }}
        items:
          - key: ca.crt
            path: ca.crt
    {{- end }}
{{- end -}}
