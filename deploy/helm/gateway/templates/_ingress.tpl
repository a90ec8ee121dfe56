{{/* Annotations that have a controller pass streams on as they come, take the bodies that the gateway takes, and wait for as long
     as the gateway itself waits for an upstream. */}}

{{/* A size such as `32MiB` in bytes. */}}
{{- define "gateway.bytes" -}}
{{- if kindIs "string" . -}}
{{- $factors := dict "" 1 "B" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "kB" 1000 "KB" 1000 "MB" 1000000 "GB" 1000000000 -}}
{{- $size := trim . -}}
{{- mul (regexFind "^[0-9]+" $size | int64) (get $factors (regexReplaceAll "^[0-9]+" $size "" | trim) | int64) -}}
{{- else -}}
{{- int64 . -}}
{{- end -}}
{{- end -}}

{{/* The longest that nothing may come from the gateway, and ten seconds. */}}
{{- define "gateway.silentSeconds" -}}
{{- $upstream := .Values.config.upstream -}}
{{- add (ceil (maxf $upstream.first_byte_seconds $upstream.idle_seconds)) 10 -}}
{{- end -}}

{{- define "gateway.ingressAnnotations" -}}
{{- $seconds := include "gateway.silentSeconds" . -}}
{{- $bytes := include "gateway.bytes" .Values.config.server.max_body_bytes -}}
{{- $own := dict -}}
{{- if eq .Values.ingress.controller "ingress-nginx" -}}
{{- $own = dict
      "nginx.ingress.kubernetes.io/proxy-buffering" "off"
      "nginx.ingress.kubernetes.io/proxy-request-buffering" "off"
      "nginx.ingress.kubernetes.io/proxy-body-size" $bytes
      "nginx.ingress.kubernetes.io/proxy-read-timeout" $seconds
      "nginx.ingress.kubernetes.io/proxy-send-timeout" $seconds -}}
{{- else if eq .Values.ingress.controller "nginx" -}}
{{- $own = dict
      "nginx.org/proxy-buffering" "False"
      "nginx.org/client-max-body-size" $bytes
      "nginx.org/proxy-read-timeout" (printf "%ss" $seconds)
      "nginx.org/proxy-send-timeout" (printf "%ss" $seconds) -}}
{{- else if eq .Values.ingress.controller "haproxy" -}}
{{- $own = dict "haproxy.org/timeout-server" (printf "%ss" $seconds) -}}
{{- end -}}
{{- with merge (dict) .Values.ingress.annotations $own -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
