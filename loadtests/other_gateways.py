"""Two gateways of others, measured beside this one by `make bench-peers`: Portkey's gateway and LiteLLM's proxy.

Each has an environment of its own below loadtests/.peers, which the Makefile makes from a lock file, and is set as its own
documentation sets it for speed: one process, since one core is measured; no database, no callbacks, no logs but errors. Neither
counts limits or writes a ledger here. Of the environment variables around them, which could change how they work, they see none.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from loadtests.peers import MEASURED_CORE, ROOT, Missing, Peer, process, wait_for, with_children
from loadtests.upstream import MODELS

ENVIRONMENTS = ROOT / "loadtests" / ".peers"
_PATH = "/v1/chat/completions"
_KEY = "sk-" + "1" * 38
_NO_LIMITS = "no limit is counted there"


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str], folder: str, port: int) -> Iterator[int]:
    """A process with this environment and no other; what it started ends with it."""
    settings = [f"{name}={value}" for name, value in {"PATH": os.environ["PATH"], "HOME": folder, **env}.items()]
    with process(["env", "-i", *settings, *command], MEASURED_CORE, cwd=Path(folder), port=port) as pid:
        try:
            yield pid
        finally:
            # A worker whose parent has to be killed, because streams are open, would stay behind.
            for child in [each for each in with_children([pid]) if each != pid]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def _litellm_settings(upstream_port: int) -> dict[str, Any]:
    """As the pages "Production Best Practices", "Server Tuning" and "Benchmarks" of LiteLLM's documentation have them.

    Of the providers for a server that speaks OpenAI's protocol, `hosted_vllm` is the faster one: it calls over aiohttp, `openai`
    over OpenAI's client. `aiohttp_openai` is faster still, and cannot stream.
    """
    base = f"http://127.0.0.1:{upstream_port}/v1"
    return {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"hosted_vllm/{name}", "api_base": base, "api_key": "none"}}
            for name in MODELS
        ],
        "litellm_settings": {"set_verbose": False, "json_logs": True, "callbacks": [], "num_retries": 0, "request_timeout": 600},
        "router_settings": {"routing_strategy": "simple-shuffle"},
        "general_settings": {"master_key": _KEY, "disable_spend_logs": True, "disable_error_logs": True},
    }


_LITELLM_ENV = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",  # else it takes our upstream for a model that has lost its mind
}


@contextmanager
def litellm(port: int, upstream_port: int) -> Iterator[Peer]:
    """LiteLLM's proxy: one worker of Granian, which its documentation offers for throughput, and the master key as the key."""
    environment = ENVIRONMENTS / "litellm"
    found = next(environment.glob("lib/python*/site-packages/litellm-[0-9]*.dist-info"), None)
    if found is None:
        raise Missing("LiteLLM is missing: make bench-peers installs it")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        settings = Path(folder) / "config.yaml"
        settings.write_text(json.dumps(_litellm_settings(upstream_port)))  # JSON is YAML
        command = [str(environment / "bin" / "litellm"), "--config", str(settings), "--host", "127.0.0.1", "--port", str(port)]
        pid = stack.enter_context(_running([*command, "--num_workers", "1", "--run_granian"], _LITELLM_ENV, folder, port))
        wait_for(pid, port, "/health/liveliness")
        yield Peer(
            "LiteLLM",
            port,
            [_KEY],
            [pid],
            path=_PATH,
            warm_up=5,
            connections=8,
            cannot={"limited": _NO_LIMITS},
            about=f"LiteLLM is {found.stem.removeprefix('litellm-')} under Granian, without a database. It gets 8 connections, "
            "with which it is as fast as with 32: with more, a run would be over before its streams are.",
        )


@contextmanager
def portkey(port: int, upstream_port: int) -> Iterator[Peer]:
    """Portkey's gateway under Node, without its console; it takes the upstream from headers, and any key."""
    folder = ENVIRONMENTS / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
    node = shutil.which("node")
    if node is None or not folder.exists():
        raise Missing("Portkey's gateway is missing: make bench-peers installs it where there is npm (apt-get install npm)")
    version = json.loads((folder / "package.json").read_text())["version"]
    runtime = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, ExitStack() as stack:
        command = [node, str(folder / "build" / "start-server.js"), f"--port={port}", "--headless"]
        pid = stack.enter_context(_running(command, {"NODE_ENV": "production"}, home, port))
        wait_for(pid, port)
        yield Peer(
            "Portkey",
            port,
            [_KEY],
            [pid],
            path=_PATH,
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1"},
            warm_up=8,
            cannot={"refused": "no key is known there", "limited": _NO_LIMITS},
            about=f"Portkey's gateway is {version} on Node {runtime.removeprefix('v')}, headless.",
        )
