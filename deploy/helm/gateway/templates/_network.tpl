{{/* Rules of egress that the gateway and its migration share. */}}

{{/* One rule: to any of `to` (empty: anything) on `ports`. */}}
{{- define "gateway.egressRule" -}}
- ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ int64 . }}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "gateway.egressToDns" -}}
- ports:
    - protocol: UDP
      port: {{ int64 .port }}
    - protocol: TCP
      port: {{ int64 .port }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The ports of the model servers: of those in `upstreams`, and those listed besides. */}}
{{- define "gateway.upstreamPorts" -}}
{{- $ports := list -}}
{{- range .Values.upstreams -}}
{{- $url := urlParse .baseUrl -}}
{{- $given := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $given | int64) -}}
{{- end -}}
{{- range .Values.networkPolicy.upstreams.ports -}}
{{- $ports = append $ports (int64 .) -}}
{{- end -}}
{{- dict "ports" (uniq $ports) | toYaml -}}
{{- end -}}
