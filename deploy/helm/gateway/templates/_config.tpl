{{/* gateway.toml, and the environment with the secrets that it must not hold. */}}

{{/* A value as TOML has it. Numbers of YAML come as floats, which the gateway would not take for whole ones. */}}
{{- define "gateway.tomlValue" -}}
{{- if or (kindIs "string" .) (kindIs "slice" .) -}}
{{ toJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if eq (float64 .) (float64 (int64 .)) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "gateway.toml" -}}
{{- range $table, $keys := .Values.config }}
{{- with $keys }}
[{{ $table }}]
{{- range $key, $value := . }}
{{ $key }} = {{ include "gateway.tomlValue" $value }}
{{- end }}
{{ end }}
{{- end }}
{{- range .Values.upstreams }}
[[upstreams]]
name = {{ toJson .name }}
base_url = {{ toJson .baseUrl }}
{{- with .models }}
models = {{ toJson . }}
{{- end }}
{{- with .weight }}
weight = {{ int64 . }}
{{- end }}
{{- if .apiKey }}
api_key_env = {{ include "gateway.upstreamVariable" . | quote }}
{{- end }}
{{ end }}
{{- end -}}

{{/* The variable with the credential of an upstream. It follows from the name and not from the place in the list, so that a pod
     of the former release never takes one upstream's credential for another's. */}}
{{- define "gateway.upstreamVariable" -}}
UPSTREAM_API_KEY_{{ regexReplaceAll "[^A-Za-z0-9]" .name "_" | upper }}
{{- end -}}

{{/* One variable from a Secret. Takes a dict of `root`, `variable`, `value` (a path for the message) and `from`. */}}
{{- define "gateway.secretVariable" -}}
{{- $secret := default .root.Values.secrets.existingSecret .from.secret -}}
{{- if not $secret -}}
{{- fail (printf "\n\nNo Secret holds %s. Make one as docs/deploy/kubernetes.md says, and set secrets.existingSecret to its name (or %s.secret)." .variable .value) -}}
{{- end -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ .from.key }}
{{- end -}}

{{- define "gateway.databaseEnv" -}}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_DATABASE_URL" "value" "secrets.databaseUrl" "from" .Values.secrets.databaseUrl) }}
{{- if .Values.secrets.migrateDatabaseUrl.key }}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_MIGRATE_DATABASE_URL" "value" "secrets.migrateDatabaseUrl" "from" .Values.secrets.migrateDatabaseUrl) }}
{{- end }}
{{- end -}}

{{- define "gateway.secretEnv" -}}
{{- $root := . -}}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_DATABASE_URL" "value" "secrets.databaseUrl" "from" .Values.secrets.databaseUrl) }}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_REDIS_URL" "value" "secrets.redisUrl" "from" .Values.secrets.redisUrl) }}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_KEY_PEPPER" "value" "secrets.keyPepper" "from" .Values.secrets.keyPepper) }}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_ADMIN_TOKEN" "value" "secrets.adminToken" "from" .Values.secrets.adminToken) }}
{{- if .Values.secrets.metricsToken.key }}
{{ include "gateway.secretVariable" (dict "root" . "variable" "GATEWAY_METRICS_TOKEN" "value" "secrets.metricsToken" "from" .Values.secrets.metricsToken) }}
{{- end }}
{{- $taken := dict -}}
{{- range .Values.upstreams }}
{{- $variable := include "gateway.upstreamVariable" . }}
{{- if hasKey $taken $variable }}
{{- fail (printf "\n\nTwo upstreams are called %s and %s, which are the same but for their punctuation. Rename one." .name (get $taken $variable)) }}
{{- end }}
{{- $_ := set $taken $variable .name }}
{{- if .apiKey }}
{{ include "gateway.secretVariable" (dict "root" $root "variable" $variable "value" (printf "apiKey of the upstream %s" .name) "from" .apiKey) }}
{{- end }}
{{- end }}
{{- end -}}
