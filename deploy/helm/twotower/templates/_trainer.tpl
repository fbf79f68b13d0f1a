{{/* arguments of a command of the trainer on the shop's files; (dict "root" $ "command" name "args" list) */}}
{{- define "twotower.trainerArgs" -}}
{{- $trainer := .root.Values.trainer -}}
- {{ .command }}
- --events
{{- range $trainer.events }}
- {{ printf "/input/%s" . | quote }}
{{- end }}
{{- if $trainer.withLog }}
- log:/artifacts/private/log
{{- end }}
- --products
{{- range $trainer.products }}
- {{ printf "/input/%s" . | quote }}
{{- end }}
- --artifacts
- /artifacts
- --config
- /app/trainer/config/offline.yaml
{{- range concat $trainer.args .args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* the container that trains; (dict "root" $ "command" name "args" list "ports" bool) */}}
{{- define "twotower.trainerContainer" -}}
- name: trainer
  {{- include "twotower.image" (list .root "trainer") | nindent 2 }}
  {{- if .root.Values.trainer.events }}
  command: [python, -m, trainer]
  args:
    {{- include "twotower.trainerArgs" . | nindent 4 }}
  {{- else }}
  # without files of a shop the image trains on the synthetic demo market
  args: {{ toJson (prepend .root.Values.trainer.args .command) }}
  {{- end }}
  {{- if .ports }}
  ports:
    - {name: metrics, containerPort: 9100}
  readinessProbe:
    httpGet: {path: /readyz, port: metrics}
    periodSeconds: 10
    timeoutSeconds: 5
  livenessProbe:
    httpGet: {path: /healthz, port: metrics}
    periodSeconds: 30
    timeoutSeconds: 5
    failureThreshold: 10
  {{- end }}
  {{- include "twotower.containerSecurity" . | nindent 2 }}
  resources:
    {{- toYaml .root.Values.trainer.resources | nindent 4 }}
  volumeMounts:
    - {name: artifacts, mountPath: /artifacts}
    - {name: private, mountPath: /artifacts/private}
    - {name: tmp, mountPath: /tmp}
    {{- if .root.Values.trainer.inputClaim }}
    - {name: input, mountPath: /input, readOnly: true}
    {{- end }}
{{- end -}}

{{- define "twotower.trainerVolumes" -}}
- name: artifacts
  persistentVolumeClaim:
    {{- if include "twotower.fromStorage" . }}
    claimName: {{ .Values.trainer.volume.claim | default (printf "%s-trainer" (include "twotower.name" .)) }}
    {{- else }}
    claimName: {{ include "twotower.artifactsClaim" . }}
    {{- end }}
- name: private
  persistentVolumeClaim:
    claimName: {{ include "twotower.privateClaim" . }}
- name: tmp
  emptyDir: {}
{{- with .Values.trainer.inputClaim }}
- name: input
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: true
{{- end }}
{{- end -}}

{{/* what uploads after a training: (dict "root" $ "args" extra arguments) */}}
{{- define "twotower.upload" -}}
{{- $args := concat (list "push" (include "twotower.storageUrl" .root)) .args -}}
{{- $mounts := list (dict "name" "private" "mountPath" "/artifacts/private" "readOnly" true) -}}
{{- include "twotower.storageContainer" (dict "root" .root "name" "upload" "args" $args "mounts" $mounts) -}}
{{- end -}}

{{/* a pod that trains once, and then uploads; same arguments as twotower.trainerContainer */}}
{{- define "twotower.trainingPod" -}}
metadata:
  labels:
    {{- include "twotower.labels" (list .root "trainer") | nindent 4 }}
spec:
  {{- include "twotower.pod" (dict "root" .root "component" "trainer") | nindent 2 }}
  restartPolicy: Never
  terminationGracePeriodSeconds: 60
  {{- if include "twotower.fromStorage" .root }}
  initContainers:
    {{- include "twotower.trainerContainer" . | nindent 4 }}
  containers:
    {{- include "twotower.upload" (dict "root" .root "args" list) | nindent 4 }}
  {{- else }}
  containers:
    {{- include "twotower.trainerContainer" . | nindent 4 }}
  {{- end }}
  volumes:
    {{- include "twotower.trainerVolumes" .root | nindent 4 }}
{{- end -}}

{{/* a training that was interrupted resumes at its last checkpoint */}}
{{- define "twotower.retries" -}}
backoffLimit: 2
podFailurePolicy:
  rules:
    # the input or a setting is wrong, or the gate kept the version back: another run says the same
    - action: FailJob
      onExitCodes: {containerName: trainer, operator: In, values: [2, 3]}
{{- end -}}
