{{- define "twinlens.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "twinlens.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "twinlens.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "twinlens.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "twinlens.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "twinlens.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Arguments: root, role. */}}
{{- define "twinlens.selector" -}}
app.kubernetes.io/name: {{ include "twinlens.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "twinlens.image" -}}
{{- printf "%s:%s" (required "image.repository: name your own build of the image, see docs/kubernetes.md" .Values.image.repository) (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{/* The settings of setup and workers. */}}
{{- define "twinlens.config" -}}
{{- toYaml .Values.config }}
{{- end }}

{{/* The public address: the setting, else what the Ingress says. */}}
{{- define "twinlens.publicUrl" -}}
{{- $api := default dict .Values.config.api }}
{{- if $api.public_url }}
{{- $api.public_url }}
{{- else if .Values.ingress.enabled }}
{{- printf "%s://%s%s" (ternary "https" "http" (ne .Values.ingress.tlsSecret "")) .Values.ingress.host (trimSuffix "/" .Values.ingress.prefix) }}
{{- end }}
{{- end }}

{{/* The query service's settings: nothing of Kafka, and the names that it is asked by. */}}
{{- define "twinlens.queryConfig" -}}
{{- $name := printf "%s-query" (include "twinlens.fullname" .) }}
{{- $inside := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) }}
{{- $api := default dict .Values.config.api }}
{{- $hosts := concat $inside (default list $api.allowed_hosts) | uniq }}
{{- $api = merge (dict "allowed_hosts" $hosts) $api }}
{{- with include "twinlens.publicUrl" . }}
{{- $api = merge (dict "public_url" .) $api }}
{{- end }}
{{- $kafka := pick (default dict .Values.config.kafka) "retention_days" }}
{{- toYaml (merge (dict "api" $api "kafka" $kafka) (omit .Values.config "api" "kafka")) }}
{{- end }}

{{- define "twinlens.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.securityContext.runAsUser }}
runAsGroup: {{ .Values.securityContext.runAsGroup }}
fsGroup: {{ .Values.securityContext.fsGroup }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "twinlens.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Arguments: root, secret (its name), kafka (whether the role uses it), config (the file of the ConfigMap), extra. */}}
{{- define "twinlens.env" -}}
- {name: TWINLENS_CONFIG, value: /etc/twinlens/config/{{ .config }}}
{{- $secret := .secret }}
{{- range $variable, $key := dict "DATABASE__URL" "database-url" "OBJECTS__ACCESS_KEY" "objects-access-key" "OBJECTS__SECRET_KEY" "objects-secret-key" "VECTORS__TOKEN" "vectors-token" }}
- name: TWINLENS_{{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- if .kafka }}
{{- if hasPrefix "SASL" (default "" (default dict .root.Values.config.kafka).security_protocol) }}
{{- range $variable, $key := dict "KAFKA__SASL_USERNAME" "kafka-sasl-username" "KAFKA__SASL_PASSWORD" "kafka-sasl-password" }}
- name: TWINLENS_{{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- end }}
{{- with .root.Values.kafka }}
{{- if .caSecret.name }}
- {name: TWINLENS_KAFKA__SSL_CA_FILE, value: /etc/twinlens/kafka-ca/{{ .caSecret.key }}}
{{- end }}
{{- if .clientSecret.name }}
- {name: TWINLENS_KAFKA__SSL_CERT_FILE, value: /etc/twinlens/kafka-client/{{ .clientSecret.certKey }}}
- {name: TWINLENS_KAFKA__SSL_KEY_FILE, value: /etc/twinlens/kafka-client/{{ .clientSecret.keyKey }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Arguments: root, kafka. */}}
{{- define "twinlens.mounts" -}}
- {name: config, mountPath: /etc/twinlens/config, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if and .kafka .root.Values.kafka.caSecret.name }}
- {name: kafka-ca, mountPath: /etc/twinlens/kafka-ca, readOnly: true}
{{- end }}
{{- if and .kafka .root.Values.kafka.clientSecret.name }}
- {name: kafka-client, mountPath: /etc/twinlens/kafka-client, readOnly: true}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Arguments: root, kafka, configMap, item (the one file of it that is mounted). */}}
{{- define "twinlens.volumes" -}}
- name: config
  configMap: {name: {{ .configMap }}, items: [{key: {{ .item }}, path: {{ .item }}}]}
- name: tmp
  emptyDir: {sizeLimit: {{ .root.Values.tmpSize }}}
{{- if and .kafka .root.Values.kafka.caSecret.name }}
- name: kafka-ca
  secret: {secretName: {{ .root.Values.kafka.caSecret.name }}, defaultMode: 288}
{{- end }}
{{- if and .kafka .root.Values.kafka.clientSecret.name }}
- name: kafka-client
  secret: {secretName: {{ .root.Values.kafka.clientSecret.name }}, defaultMode: 288}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every pod of ours has. Arguments: root, role (its values, or an empty dict). */}}
{{- define "twinlens.pod" -}}
serviceAccountName: {{ .root.Values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .role.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .role.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .role.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "twinlens.podSecurity" .root | nindent 2 }}
{{- end }}

{{/* Argument: the name of a port. */}}
{{- define "twinlens.probes" -}}
# It imports its libraries and loads the model first.
startupProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 6
{{- end }}
