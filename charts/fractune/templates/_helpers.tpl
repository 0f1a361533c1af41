{{/* What the release's objects begin with. 40 characters at most: what is appended must fit into 63. */}}
{{- define "fractune.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The same for objects without a namespace, where releases for one namespace each must not meet. */}}
{{- define "fractune.clusterName" -}}
{{- include "fractune.fullname" . -}}{{- with .Values.watchNamespace -}}.{{ . }}{{- end -}}
{{- end -}}

{{- define "fractune.operatorName" -}}
{{ include "fractune.fullname" . }}-operator
{{- end -}}

{{- define "fractune.agentClusterRole" -}}
{{ include "fractune.clusterName" . }}-agent
{{- end -}}

{{/* The user that the operator is to the API server. */}}
{{- define "fractune.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "fractune.operatorName" . }}
{{- end -}}

{{- define "fractune.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "fractune.labels" -}}
{{ include "fractune.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fractune
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{/* Reference of an image; takes the image's values and the chart's appVersion. */}}
{{- define "fractune.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end -}}

{{/* In which namespaces a policy holds. */}}
{{- define "fractune.policyScope" -}}
{{- with .Values.watchNamespace }}
matchResources:
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
{{- end }}
{{- end -}}
