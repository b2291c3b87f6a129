{{- define "gnnrl.selector" -}}
app.kubernetes.io/name: gnnrl
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gnnrl.labels" -}}
{{ include "gnnrl.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "gnnrl.target" -}}
{{ .Values.targetNamespace | default .Release.Namespace }}
{{- end }}
