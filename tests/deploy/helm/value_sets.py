"""Values that the chart is rendered with in the tests: what an operator would write."""

from typing import Any

Values = dict[str, Any]

MINIMAL: Values = {"secrets": {"existingSecret": "gateway"}}

AUTOSCALED: Values = {**MINIMAL, "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 20}}

CUSTOM_METRIC: Values = {
    **MINIMAL,
    "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0, "customMetric": {"enabled": True}},
}

SEVERAL_SECRETS: Values = {
    "secrets": {
        "databaseUrl": {"secret": "postgres-app", "key": "uri"},
        "migrateDatabaseUrl": {"secret": "postgres-owner", "key": "uri"},
        "redisUrl": {"secret": "redis", "key": "url"},
        "keyPepper": {"secret": "pepper", "key": "value"},
        "adminToken": {"secret": "admin", "key": "token"},
        "metricsToken": {"secret": "scrape", "key": "token"},
    },
}

ONE_POD: Values = {
    **MINIMAL,
    "fullnameOverride": "gw",
    "replicaCount": 1,
    "podDisruptionBudget": {"enabled": False},
    "topologySpread": {"enabled": False},
    "migration": {"enabled": False},
    "serviceAccount": {"create": False, "name": "existing"},
    "preStopSleepSeconds": 0,
    "terminationGracePeriodSeconds": 600,
    "image": {"digest": "sha256:" + "0123456789abcdef" * 4},
}

INGRESS: Values = {
    **MINIMAL,
    "config": {"server": {"public_url": "https://llm.example.com", "trusted_proxies": ["10.0.0.0/8", "192.0.2.1"]}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "controller": "ingress-nginx",
        "hosts": ["llm.example.com", "models.example.com"],
        "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
        "tls": [{"secretName": "llm-tls", "hosts": ["llm.example.com", "models.example.com"]}],
    },
}

EVERYTHING: Values = {
    "image": {"repository": "images.example.com/llm/gateway", "tag": "0.1.0-custom", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "server": {
            "host": "::",
            "port": 9090,
            "workers": 2,
            "public_url": "https://llm.example.com",
            "trusted_proxies": ["10.0.0.0/8"],
            "max_body_bytes": 1_000_000,
            "drain_seconds": 2.5,
            "graceful_timeout_seconds": 300,
        },
        "storage": {"pgbouncer": True, "pool_size": 5},
        "upstream": {"connect_seconds": 0.5, "first_byte_seconds": 60, "idle_seconds": 600},
        "limits": {"default_rpm": 1_000_000, "when_unavailable": "deny"},
        "ledger": {"strict": True},
        "log": {"level": "debug"},
    },
    "upstreams": [
        {"name": "local", "baseUrl": "http://vllm.models.svc:8000/v1", "models": ["small", 'large="own" name'], "weight": 3},
        {"name": "hosted.eu-1", "baseUrl": "https://models.example/v1", "apiKey": {"key": "hosted-api-key"}},
        {"name": "other", "baseUrl": "http://other.example/v1", "apiKey": {"secret": "other-upstream", "key": "token"}},
    ],
    "secrets": {
        "existingSecret": "gateway",
        "migrateDatabaseUrl": {"key": "migrate-database-url"},
        "metricsToken": {"key": "metrics-token"},
    },
    "migration": {"podAnnotations": {"sidecar.istio.io/inject": "false"}},
    "serviceAccount": {"annotations": {"team": "llm"}},
    "podAnnotations": {"team": "llm"},
    "podLabels": {"team": "llm"},
    "resources": {"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"team": "llm"}},
    "ingress": {**INGRESS["ingress"], "controller": "nginx"},
    "autoscaling": {"enabled": True, "customMetric": {"enabled": True, "name": "gateway_open_streams", "averageValue": "1500"}},
    "podDisruptionBudget": {"maxUnavailable": "20%"},
    "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
    "networkPolicy": {
        "enabled": True,
        "clients": [{"podSelector": {"matchLabels": {"app": "chat"}}}],
        "dns": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]},
        "postgresql": {"to": [{"ipBlock": {"cidr": "192.0.2.0/28"}}], "ports": [5432, 6432]},
        "redis": {"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}], "ports": [6379, 26379]},
        "upstreams": {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "ports": [8443]},
        "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4317}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboards": {"enabled": True, "annotations": {"grafana_folder": "LLM"}},
    "extraEnv": [
        {"name": "PGSSLMODE", "value": "verify-full"},
        {"name": "PROXY_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "password"}}},
    ],
    "extraVolumes": [{"name": "certificates", "configMap": {"name": "certificates"}}],
    "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/certificates", "readOnly": True}],
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "llm", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "important",
}

SETS: dict[str, Values] = {
    "minimal": MINIMAL,
    "autoscaled": AUTOSCALED,
    "custom metric": CUSTOM_METRIC,
    "several secrets": SEVERAL_SECRETS,
    "one pod": ONE_POD,
    "ingress": INGRESS,
    "everything": EVERYTHING,
}
