"""Listening: the demo upstream as a process of its own."""

import contextlib
import json
import os
import socket
import sys
import threading

import uvicorn

from gateway.demo.app import Demo

_STDIN = 0
_BACKLOG = 128
_SHUTDOWN_SECONDS = 30


def run(host: str, port: int, *, announce: bool, exit_with_parent: bool) -> None:
    """Serve on `host` and `port` (0: any free one) until told to stop by SIGINT or SIGTERM.

    Once connections are accepted, a line goes to standard output: `{"base_url": "http://HOST:PORT/v1"}` with `announce`. With
    `exit_with_parent`, the end of standard input ends the process: give it a pipe, and it never outlives whoever holds the
    other end, not even one that was killed. Raises OSError where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listener:
        config = uvicorn.Config(
            Demo(), lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=_SHUTDOWN_SECONDS
        )
        server = uvicorn.Server(config)
        if exit_with_parent:
            threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
        shown = f"[{host}]" if family is socket.AF_INET6 else host
        base_url = f"http://{shown}:{listener.getsockname()[1]}/v1"
        told = f"The demo upstream listens on {base_url} and answers without any real model. Stop it with Ctrl+C."
        sys.stdout.write((json.dumps({"base_url": base_url}) if announce else told) + "\n")
        sys.stdout.flush()
        # uvicorn raises the signal that stopped it once more when it is done.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    # Not sys.stdin: its lock would be held by this thread while the interpreter shuts down.
    while os.read(_STDIN, 4096):
        pass
    server.should_exit = True
    server.force_exit = True
