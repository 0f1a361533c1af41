{{- define "fractune.nodeName" -}}
{{ include "fractune.fullname" . }}-node
{{- end -}}

{{/* The same for objects without a namespace. */}}
{{- define "fractune.nodeClusterName" -}}
{{ include "fractune.clusterName" . }}-node
{{- end -}}

{{- define "fractune.nodeSelectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "fractune.nodeLabels" -}}
{{ include "fractune.nodeSelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fractune
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}
