{{- define "twotower.name" -}}
{{- if contains "twotower" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-twotower" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* labels of an object; (list $ component) */}}
{{- define "twotower.labels" -}}
{{- $root := index . 0 -}}
{{ include "twotower.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "twotower.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: twotower
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* metadata of an object; (list $ component), or (list $ component name) */}}
{{- define "twotower.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "twotower.name" $root }}-{{ last . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "twotower.labels" . | nindent 2 }}
{{- end -}}

{{/* the addresses of the retrieval service: one for each shard, separated by semicolons */}}
{{- define "twotower.retrievalAddress" -}}
{{- $name := printf "%s-retrieval" (include "twotower.name" .) -}}
{{- $shards := int .Values.retrieval.shards -}}
{{- range $shard := until $shards -}}
{{- if $shard }};{{ end }}{{ $name }}{{ if gt $shards 1 }}-{{ $shard }}{{ end }}:50053
{{- end -}}
{{- end -}}

{{/* image and its policy; (list $ name) */}}
{{- define "twotower.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
image: {{ with $image.registry }}{{ . }}/{{ end }}{{ $image.prefix }}{{ index . 1 }}:{{ $image.tag | default $root.Chart.AppVersion }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end -}}

{{- define "twotower.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* what every pod has; (dict "root" $ "component" name "user" 10001) */}}
{{- define "twotower.pod" -}}
serviceAccountName: {{ include "twotower.name" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "twotower.selector" (list .root .component) | nindent 8 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* settings of a component as environment variables */}}
{{- define "twotower.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* the address of Redis under a variable's name; (list $ variable) */}}
{{- define "twotower.redisUrl" -}}
{{- $root := index . 0 }}
- name: {{ index . 1 }}
  {{- if $root.Values.redis.enabled }}
  value: redis://{{ include "twotower.name" $root }}-redis:6379/0
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ required "redis.enabled is false: set redis.urlSecret.name" $root.Values.redis.urlSecret.name }}
      key: {{ $root.Values.redis.urlSecret.key }}
  {{- end }}
{{- end -}}

{{/* the log in Kafka, for the gateway and the recorder: variables, mount and volume */}}
{{- define "twotower.kafkaEnv" -}}
{{- with .Values.kafka }}
{{- if .servers }}
- name: TWOTOWER_KAFKA
  value: {{ .servers }}
- name: TWOTOWER_KAFKA_TOPIC
  value: {{ .topic }}
- name: TWOTOWER_KAFKA_SECURITY
  value: {{ .security }}
{{- if hasPrefix "SASL" .security }}
- name: TWOTOWER_KAFKA_SASL_MECHANISM
  value: {{ .saslMechanism }}
{{- $secret := required "kafka.security has SASL: set kafka.secret" .secret }}
{{- range list "username" "password" }}
- name: TWOTOWER_KAFKA_{{ upper . }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- if .tls }}
- name: TWOTOWER_KAFKA_TLS
  value: /tls/kafka
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "twotower.kafkaMount" -}}
{{- if and .Values.kafka.servers .Values.kafka.tls -}}
- {name: kafka-tls, mountPath: /tls/kafka, readOnly: true}
{{- end }}
{{- end -}}

{{- define "twotower.kafkaVolume" -}}
{{- if and .Values.kafka.servers .Values.kafka.tls }}
{{- include "twotower.secretVolume" (list "kafka-tls" .Values.kafka.tls) }}
{{- end }}
{{- end -}}

{{- define "twotower.fromStorage" -}}
{{- if eq .Values.artifacts.from "storage" }}true{{ end -}}
{{- end -}}

{{/* a container that uploads or downloads; (dict "root" $ "name" name "args" (list ...)) */}}
{{- define "twotower.storageContainer" -}}
{{- $storage := .root.Values.artifacts.storage -}}
- name: {{ .name }}
  {{- include "twotower.image" (list .root "storage") | nindent 2 }}
  args:
    {{- toYaml .args | nindent 4 }}
  env:
    - name: AWS_DEFAULT_REGION
      value: {{ $storage.region | quote }}
    {{- with $storage.endpoint }}
    - name: AWS_ENDPOINT_URL
      value: {{ . | quote }}
    {{- end }}
  {{- with $storage.secret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  {{- include "twotower.containerSecurity" . | nindent 2 }}
  resources:
    requests: {cpu: 20m, memory: 160Mi}
    limits: {memory: 256Mi}
  volumeMounts:
    - {name: artifacts, mountPath: /artifacts}
    - {name: tmp, mountPath: /tmp}
    {{- with .mounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "twotower.storageUrl" -}}
{{- required "artifacts.from is storage: set artifacts.storage.url" .Values.artifacts.storage.url -}}
{{- end -}}

{{/* the container that downloads a version before the others start; (dict "root" $ "private" bool) */}}
{{- define "twotower.fetch" -}}
{{- $args := list "pull" (include "twotower.storageUrl" .root) -}}
{{- if .private }}{{ $args = append $args "--private" }}{{ end -}}
{{- include "twotower.storageContainer" (dict "root" .root "name" "fetch" "args" $args) -}}
{{- end -}}

{{/* the container that follows CURRENT; same arguments */}}
{{- define "twotower.follow" -}}
{{- $args := list "pull" (include "twotower.storageUrl" .root) "--follow" (toString .root.Values.artifacts.storage.followSeconds) -}}
{{- if .private }}{{ $args = append $args "--private" }}{{ end -}}
{{- include "twotower.storageContainer" (dict "root" .root "name" "follow" "args" $args) -}}
{{- end -}}

{{- define "twotower.artifactsClaim" -}}
{{- .Values.artifacts.volume.claim | default (printf "%s-artifacts" (include "twotower.name" .)) -}}
{{- end -}}

{{- define "twotower.privateClaim" -}}
{{- .Values.private.claim | default (printf "%s-private" (include "twotower.name" .)) -}}
{{- end -}}

{{/* the artifact folder of a pod that reads it */}}
{{- define "twotower.artifactsVolume" -}}
- name: artifacts
  {{- if include "twotower.fromStorage" . }}
  emptyDir:
    sizeLimit: {{ .Values.artifacts.storage.podSize }}
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ include "twotower.artifactsClaim" . }}
  {{- end }}
{{- end -}}

{{- define "twotower.secretVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
{{- end -}}

{{/* a claim of the chart's own; (dict "root" $ "component" name "mode" mode "size" size "class" class) */}}
{{- define "twotower.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "twotower.metadata" (list .root .component) | nindent 2 }}
  annotations:
    # models and buyers' data outlive `helm uninstall`
    helm.sh/resource-policy: keep
spec:
  accessModes: [{{ .mode }}]
  {{- with .class }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
{{- end -}}

{{/* asks a service's health; Kubernetes' own probe knows no mutual TLS. (list $ port) */}}
{{- define "twotower.grpcProbe" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.tls.inner -}}
exec: {command: [python, /app/docker/health.py, grpc, {{ index . 1 | quote }}]}
{{- else -}}
grpc: {port: {{ index . 1 }}}
{{- end -}}
{{- end -}}

{{/* asks the gateway over HTTP or HTTPS; (list $ path) */}}
{{- define "twotower.gatewayProbe" -}}
{{- $root := index . 0 -}}
httpGet: {path: {{ index . 1 }}, port: http, scheme: {{ ternary "HTTPS" "HTTP" (ne $root.Values.tls.gateway "") }}}
{{- end -}}

{{- define "twotower.redisClients" -}}
- key: app.kubernetes.io/component
  operator: In
  values: [gateway, buyer, retrieval, recorder, loader]
{{- end -}}
