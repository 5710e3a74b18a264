{{/* The name of everything in the release: the release's name, with the chart's unless that is in it. */}}
{{- define "gpucheck.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gpucheck.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gpucheck.labels" -}}
{{ include "gpucheck.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gpucheck.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "gpucheck.fullname" .) -}}
{{- end -}}

{{- define "gpucheck.image" -}}
{{- $repository := required "image.repository is not set: push gpu-capable/agent (make images ARGS='--only agent' builds it) and name it, for example --set image.repository=registry.example.com/gpu-capable/agent" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The name of the volume for a host path: /home/kubernetes/bin is host-home-kubernetes-bin. */}}
{{- define "gpucheck.volume" -}}
{{- $name := . | trimPrefix "/" | lower | replace "/" "-" | replace "_" "-" | replace "." "-" -}}
{{- printf "host-%s" $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
